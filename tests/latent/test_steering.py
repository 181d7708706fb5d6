from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vvae.core.errors import ConfigError
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import DimensionPrior, Prior
from vvae.latent.profile import Profile, Ranked
from vvae.latent.space import load_space
from vvae.latent.steering import (
    Demand,
    Knob,
    Reach,
    Steered,
    Steering,
    check_steering,
    merged,
    steer,
    steering_from_json,
    steering_from_text,
    steering_to_text,
)

SPACE = load_space()
VALUES = {
    "tone": "playful",
    "topic": "food",
    "vibe": "warm",
    "relationship": "friend",
    "hobby": "chess",
}
PRIOR = Prior(
    {n: DimensionPrior({VALUES.get(n, "a"): 3, "b": 2, "c": 5}, 90) for n in SPACE.names}, "e", "c"
)
ANA = Profile("Ana", 9, {"catchphrase": (Ranked("oh no", 4),), "tone": (Ranked("warm", 2),)})

texts = st.text(min_size=1, max_size=12)
knobs = st.one_of(
    st.builds(Knob, st.just("fixed"), st.one_of(st.none(), texts)),
    st.builds(Knob, st.sampled_from(["auto", "sample"]), st.none()),
)
names = st.sampled_from(SPACE.names)
asked = st.builds(
    Steering,
    st.one_of(st.none(), texts),
    st.one_of(st.none(), texts),
    st.one_of(st.none(), st.integers(0, 2**63 - 1)),
    st.dictionaries(names, knobs),
    st.dictionaries(names, st.one_of(st.none(), st.floats(0, 1))),
    st.dictionaries(names, st.floats(-10, 10)),
    st.one_of(st.none(), st.integers(1, 32)),
)


@given(asked)
def test_what_is_asked_survives_text(one: Steering) -> None:
    assert steering_from_text(steering_to_text(one)) == one


@given(st.one_of(st.text(max_size=60), st.text('abtone=;".\\ \n', max_size=30)))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ConfigError):
        found = steering_from_text(text)
        assert steering_from_text(steering_to_text(found)) == found


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.one_of(
    names,
    st.sampled_from(["speaker", "seed", "conversation", "mode", "value", "rate", "strength"]),
    st.text(max_size=6),
)


@given(
    st.one_of(
        json_values,
        st.dictionaries(keys, st.one_of(json_values, st.dictionaries(keys, json_values))),
    )
)
def test_any_json_is_read_or_refused(data: object) -> None:
    with suppress(ConfigError):
        steering_from_json(data)


def test_the_words_and_the_literal_values() -> None:
    said = steering_from_text(
        'Ana; tone=playful; topic=auto; vibe=sample; nickname=none; hobby="auto"; seed=7'
    )
    same = {
        "speaker": "Ana",
        "tone": "playful",
        "topic": "auto",
        "vibe": {"mode": "sample"},
        "nickname": None,
        "hobby": {"value": "auto"},
        "seed": 7,
    }
    assert said == steering_from_json(same)
    assert said.knobs["hobby"] == Knob("fixed", "auto")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tone=a; tone=b", "stands twice"),
        ("tone=a; what", "no NAME=VALUE"),
        ("Ana; speaker=Ben", "stands twice"),
        ('tone="open', "not closed"),
        ("catchphrase.rate=2", "between 0 and 1"),
        ("catchphrase.rate=often", "between 0 and 1"),
        ("seed=-1", "whole number"),
        ("tone.strength=11", "from -10 to 10"),
        ("tone.strength=nan", "from -10 to 10"),
        ("candidates=0", "from 1 to 32"),
        ("candidates=many", "from 1 to 32"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        steering_from_text(text)


@pytest.mark.parametrize("off", ["catchphrase.rate=none", {"catchphrase": {"rate": None}}])
def test_a_rate_kept_elsewhere_can_be_taken_back(off: object) -> None:
    kept = steering_from_text("catchphrase.rate=0.1; tone=warm")
    found = merged([steering_from_json(off), kept])
    assert found.rates["catchphrase"] is None
    steered_ = steer(found, SPACE, PRIOR, ANA, conversation="c", turn=1, seed=0)
    assert steered_.dimensions["catchphrase"].rate is None
    assert steered_.persona.value("catchphrase") == "oh no"


@given(st.lists(asked, min_size=1, max_size=4))
def test_the_first_place_that_says_something_of_a_dimension_wins(layers: list[Steering]) -> None:
    found = merged(layers)
    for name in SPACE.names:
        assert found.knobs.get(name) == next(
            (one.knobs[name] for one in layers if name in one.knobs), None
        )
        assert found.rates.get(name) == next(
            (one.rates[name] for one in layers if name in one.rates), None
        )
    assert found.seed == next((one.seed for one in layers if one.seed is not None), None)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown dimension 'mood'"):
        check_steering(steering_from_text("mood=x"), SPACE)
    with pytest.raises(ConfigError, match="unknown label 'angry'"):
        check_steering(steering_from_text("tone=angry"), SPACE)
    with pytest.raises(ConfigError, match="empty value"):
        check_steering(steering_from_text('hobby=" "'), SPACE)


def steered(
    text: str,
    turn: int = 1,
    reach: Mapping[str, Reach] | None = None,
    told: Collection[str] | None = None,
    draws: bool = True,
    **heard: str,
) -> Steered:
    read = Persona({name: Slot(value, "observed") for name, value in heard.items()})
    return steer(
        steering_from_text(text),
        SPACE,
        PRIOR,
        ANA,
        conversation="c",
        turn=turn,
        seed=3,
        read=lambda: read,
        reach=reach.__getitem__ if reach else None,
        told=told,
        draws=draws,
    )


def test_an_adapter_is_told_what_it_was_trained_with_alone() -> None:
    found = steered("tone=tender; hobby=chess", told={"tone", "catchphrase"})
    assert {name for name, _ in found.persona} == {"tone", "catchphrase"}
    assert found.dimensions["hobby"].value is None, "what is not told is not said to be"
    assert found.dimensions["vibe"].value is None
    assert found.notes == ("hobby: this adapter is not told it",)
    wanted = steered("hobby=chess; hobby.rate=1; candidates=4", told={"tone"})
    assert wanted.demands == {"hobby": Demand("chess", True)}, "a reply can be looked for"
    assert wanted.persona["hobby"] is None
    assert wanted.notes == found.notes


def test_a_prompted_model_is_told_nothing_that_was_drawn_unasked() -> None:
    found = steered("topic=auto; vibe=auto; hobby=sample", draws=False, topic="food")
    told = {name: slot.value for name, slot in found.persona}
    assert told.pop("hobby"), "asked for"
    assert told == {"tone": "warm", "catchphrase": "oh no", "topic": "food"}
    rated = steered("hobby.rate=0.5; candidates=4", draws=False)
    assert rated.notes == ("hobby: a rate is asked for, and no value",)


def test_each_dimension_says_where_its_value_comes_from() -> None:
    found = steered("tone=tender; topic=auto; vibe=auto; nickname=none; hobby=sample", topic="food")
    assert found.dimensions["tone"][:3] == ("tender", "fixed", "given")
    assert found.dimensions["topic"][:3] == ("food", "auto", "conversation")
    assert found.dimensions["vibe"][1:3] == ("auto", "sampled")
    assert found.dimensions["nickname"][:3] == (None, "fixed", None)
    assert found.dimensions["hobby"][1:3] == ("sample", "sampled")
    assert found.dimensions["catchphrase"][:3] == ("oh no", "profile", "profile")
    assert found.persona["nickname"] is None
    assert {name for name, _ in found.persona} == set(SPACE.names) - {"nickname"}


def test_draws_are_shared_by_scope() -> None:
    by_turn = [steered("", turn) for turn in range(20)]
    assert len({one.persona.value("hobby") for one in by_turn}) == 1, "a speaker's"
    assert len({one.persona.value("relationship") for one in by_turn}) == 1, "a conversation's"
    assert len({one.persona.value("topic") for one in by_turn}) > 1, "a turn's"
    assert len({steered("hobby=sample", turn).persona.value("hobby") for turn in range(20)}) > 1
    assert steered("", 4) == steered("", 4)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25])
def test_a_rate_shows_the_value_in_so_many_turns_that_replies_have_it_at_that_rate(
    rate: float,
) -> None:
    shown, hidden = 0.3, 0.05
    reach = {"catchphrase": Reach(shown, hidden, "measured")}
    turns = [
        steered(f"catchphrase.rate={rate}", turn, reach).dimensions["catchphrase"]
        for turn in range(4000)
    ]
    share = sum(one.value == "oh no" for one in turns) / len(turns)
    assert share * shown + (1 - share) * hidden == pytest.approx(rate, abs=0.012)
    assert {one.value for one in turns} <= {"oh no", None}


def test_a_rate_out_of_reach_is_answered_with_the_nearest_and_a_note() -> None:
    reach = {"catchphrase": Reach(0.12, 0.02, "measured by vvae control, n = 48")}
    found = steered("catchphrase.rate=0.5", reach=reach)
    assert found.dimensions["catchphrase"].rate == (0.5, 0.12, True)
    assert found.notes == (
        "catchphrase: a rate of 0.5 is out of reach (0.02 to 0.12, measured by vvae control, n = "
        "48); given 0.12",
    )
    none = steered("catchphrase.rate=0", reach=reach)
    assert none.persona["catchphrase"] is None
    assert none.dimensions["catchphrase"].rate == (0, 0.02, False)


def test_with_candidates_a_rate_is_demanded_of_its_share_of_replies() -> None:
    one = steered("tone=playful; tone.rate=1; hobby=chess; candidates=8")
    assert one.demands == {"tone": Demand("playful", True)}, "a trait need not show"
    assert one.candidates == 8
    turns = [steered("catchphrase.rate=0.4; candidates=8", turn) for turn in range(4000)]
    share = sum(turn.demands["catchphrase"].shown for turn in turns) / len(turns)
    assert share == pytest.approx(0.4, abs=0.025)
    for turn in turns[:50]:
        demand = turn.demands["catchphrase"]
        assert demand.value == "oh no"
        assert (turn.persona["catchphrase"] is not None) == demand.shown
    nothing = steered("tone=playful; candidates=8")
    assert (nothing.demands, nothing.candidates) == ({}, 1), "nothing is asked, nothing is read"


def test_a_strength_is_that_of_a_value_that_is_shown() -> None:
    found = steered("tone=playful; tone.strength=1.5; nickname=none; nickname.strength=2")
    assert found.strengths == {"tone": 1.5}
    ((without, weight),) = found.set_off(lambda persona: persona)
    assert weight == 1.5
    assert without == found.persona.without("tone")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.floats(0, 1))
def test_the_strength_for_a_rate_gives_that_rate_or_the_nearest_measured(
    shown: list[float], target: float
) -> None:
    reach = Reach(shown[0], 0.0, "", by_strength=tuple(enumerate(shown[1:], start=1)))
    reached = reach.at(reach.strength_for(target)).shown
    if target <= shown[0]:
        assert reach.strength_for(target) == 0, "training alone is enough"
    elif target <= max(shown):
        assert reached == pytest.approx(target)
    else:
        assert reached == pytest.approx(max(shown))


def test_a_rate_beyond_training_takes_the_least_strength_that_meets_it() -> None:
    measured = ((1.0, 0.3), (2.0, 0.5))
    reach = {"catchphrase": Reach(0.1, 0.02, "measured", by_strength=measured)}
    found = steered("catchphrase.rate=0.4", reach=reach)
    assert found.strengths == {"catchphrase": pytest.approx(1.5)}
    rate = found.dimensions["catchphrase"].rate
    assert rate is not None
    assert rate.given == pytest.approx(0.4)
    assert found.notes == ()
    weak = steered("catchphrase.rate=0.4; catchphrase.strength=0", reach=reach)
    assert weak.strengths == {}
    assert "out of reach (0.02 to 0.1" in weak.notes[0]
