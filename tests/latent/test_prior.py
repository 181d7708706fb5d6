from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vvae.core.dialogue import Pair
from vvae.core.errors import DataError
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import DimensionPrior, Prior, count
from vvae.latent.sampling import (
    SamplingConfig,
    chat_keys,
    fill,
    fill_all,
    pair_keys,
    predicted_range,
    predicted_rate,
)
from vvae.latent.space import LatentSpace, Scope, load_space


@pytest.fixture(scope="module")
def space() -> LatentSpace:
    return load_space()


def prior_of(space: LatentSpace, friends: int, lovers: int, nulls: int) -> Prior:
    values = ["friend"] * friends + ["lover"] * lovers
    personas = [Persona({"relationship": Slot(v, "observed")}) for v in values] + [
        Persona()
    ] * nulls
    return count(personas, space, encoder="e", corpus="c")


def test_the_papers_example(space: LatentSpace) -> None:
    prior = prior_of(space, 60, 40, 100)["relationship"]
    assert prior.ordered == [("friend", 60), ("lover", 40)]
    assert (prior.rate, prior.nulls) == (0.5, 100)
    draws = [prior.draw("draw", i) for i in range(10_000)]
    assert 0.58 < draws.count("friend") / 10_000 < 0.62


def test_only_observed_values_count(space: LatentSpace) -> None:
    sampled = Persona({"tone": Slot("sad", "sampled")})
    assert count([sampled], space, encoder="e", corpus="c")["tone"] == DimensionPrior({}, 1)


def test_json_round_trip_and_sums_over_shards(space: LatentSpace) -> None:
    one, two, both = prior_of(space, 3, 1, 2), prior_of(space, 4, 0, 5), prior_of(space, 7, 1, 7)
    assert Prior.from_json(one.to_json()) == one
    assert (one + two).dimensions == both.dimensions
    with pytest.raises(DataError, match="not a prior"):
        Prior.from_json('{"dimensions": {"tone": {}}}')


def test_golden_draws(space: LatentSpace) -> None:
    prior = prior_of(space, 60, 40, 0)
    dimension = space.by_name["relationship"]
    drawn = [
        fill(Persona(), prior[dimension.name], dimension.name, f"d{i}#1", seed=0).value(
            "relationship"
        )
        for i in range(8)
    ]
    assert drawn == GOLDEN


GOLDEN = ["friend", "lover", "friend", "lover", "lover", "friend", "friend", "friend"]


@given(st.permutations([f"d{i}#{j}" for i in range(5) for j in range(4)]), st.integers(1, 19))
def test_draws_do_not_depend_on_order_or_partition(ids: list[str], cut: int) -> None:
    space = load_space()
    prior, dimension = prior_of(space, 6, 4, 0), space.by_name["relationship"]

    def drawn(part: list[str]) -> dict[str, str | None]:
        return {
            i: fill(Persona(), prior[dimension.name], dimension.name, i, seed=3, s=0.5).value(
                "relationship"
            )
            for i in part
        }

    assert drawn(sorted(ids)) == drawn(ids[:cut]) | drawn(ids[cut:])


def test_a_value_is_never_overwritten_and_s_is_the_share_filled(space: LatentSpace) -> None:
    prior, dimension = prior_of(space, 6, 4, 0), space.by_name["relationship"]
    held = Persona({"relationship": Slot("family", "observed")})
    assert fill(held, prior[dimension.name], dimension.name, "x", seed=0) is held
    filled = [
        fill(Persona(), prior[dimension.name], dimension.name, f"p{i}", seed=0, s=0.25)[
            "relationship"
        ]
        for i in range(4000)
    ]
    share = sum(slot is not None for slot in filled) / 4000
    assert 0.22 < share < 0.28
    assert {slot.source for slot in filled if slot} == {"sampled"}


def test_a_dimension_never_observed_stays_null(space: LatentSpace) -> None:
    assert fill(Persona(), prior_of(space, 1, 0, 0)["hobby"], "hobby", "x", seed=0)["hobby"] is None


def test_scopes_share_draws() -> None:
    def pair(dialogue: str, turn: int, listener: str) -> Pair:
        return Pair(f"{dialogue}#{turn}", dialogue, turn, 0, "ana", (listener,), "train", "hi")

    a, b, c = pair("d1", 1, "ben"), pair("d1", 3, "ben"), pair("d2", 1, "cleo")
    of_a, of_b, of_c = map(pair_keys, (a, b, c))
    assert of_a["turn"] != of_b["turn"]
    assert of_a["dialogue"] == of_b["dialogue"] != of_c["dialogue"]
    assert of_a["pair"] == of_b["pair"] != of_c["pair"]
    assert of_a["speaker"] == of_b["speaker"] == of_c["speaker"]


def test_a_chat_shares_draws_as_far_as_a_scope_reaches() -> None:
    now, later, elsewhere = (chat_keys(c, "ana", t) for c, t in (("x", 1), ("x", 3), ("y", 1)))
    assert now["turn"] != later["turn"]
    assert now["dialogue"] == later["dialogue"] != elsewhere["dialogue"]
    assert now["pair"] == later["pair"] != elsewhere["pair"]
    assert now["speaker"] == later["speaker"] == elsewhere["speaker"]
    assert now["speaker"] != chat_keys("x", "ben", 1)["speaker"]


@pytest.mark.parametrize(
    ("old", "new"), [("pair", "turn"), ("dialogue", "dialogue"), ("speaker", "speaker")]
)
def test_the_former_words_for_scopes_are_read(old: str, new: str) -> None:
    assert SamplingConfig.model_validate({"scope": old, "s": 0.5}).draw_per == new


def test_training_fills_each_null_with_its_own_probability(space: LatentSpace) -> None:
    prior = prior_of(space, 6, 4, 0)
    values = {"relationship": prior["relationship"]}
    sampling = SamplingConfig(draw_per="speaker", s={"relationship": 0.5})
    pairs = [
        Pair(f"d{i}#1", f"d{i}", 1, 0, f"s{i % 200}", ("x",), "train", "hi") for i in range(400)
    ]
    drawn = [
        fill_all(Persona(), values, pair_keys(pair), sampling, seed=0, draw=0) for pair in pairs
    ]
    assert drawn[:200] == drawn[200:], "a speaker's draws are shared"
    assert 60 < sum(z["relationship"] is not None for z in drawn[:200]) < 140
    again = fill_all(Persona(), values, pair_keys(pairs[0]), sampling, seed=0, draw=1)
    assert any(
        fill_all(Persona(), values, pair_keys(p), sampling, seed=0, draw=1) != z
        for p, z in zip(pairs, drawn, strict=True)
    ), "each pass draws anew"
    assert again == fill_all(Persona(), values, pair_keys(pairs[0]), sampling, seed=0, draw=1)


@given(st.floats(0.01, 0.99), st.floats(0, 1))
def test_the_predicted_rate_is_the_posterior_of_a_simulated_corpus(r: float, s: float) -> None:
    observed, sampled = (
        r,
        (1 - r) * s,
    )  # shares of replies in which a value stands, for each way it came
    assert predicted_rate(r, s) == pytest.approx(observed / (observed + sampled))


def test_sampling_probabilities_are_checked() -> None:
    assert SamplingConfig(s={"tone": 0.5}).probability("hobby") == 1.0
    with pytest.raises(ValueError, match="between 0 and 1"):
        SamplingConfig(s={"tone": 1.5})


def test_dropped_slots_change_no_rate_beside_a_value(space: LatentSpace) -> None:
    """What training shows without dropout, less a share of the slots, whatever their value and
    whether they were read or drawn.
    """
    prior = prior_of(space, 6, 4, 0)
    values = {"relationship": prior["relationship"]}
    pairs = [
        Pair(f"d{i}#1", f"d{i}", 1, 0, f"s{i % 9}", ("x",), "train", "hi") for i in range(4000)
    ]

    def shown(drop: float) -> list[str]:
        sampling = SamplingConfig(drop=drop)
        sad = Persona({"tone": Slot("sad", "observed")})
        read = (sad if place % 2 else Persona() for place in range(len(pairs)))
        filled = (
            fill_all(persona, values, pair_keys(pair), sampling, seed=0, draw=0)
            for persona, pair in zip(read, pairs, strict=True)
        )
        return [f"{z.value('relationship')} {z.value('tone')}" for z in filled]

    whole, some = shown(0.0), shown(0.25)
    kept = [(a.split(), b.split()) for a, b in zip(whole, some, strict=True)]
    for place in (0, 1):
        there = [(a[place], b[place]) for a, b in kept if a[place] != "None"]
        assert all(b in (a, "None") for a, b in there), "nothing is changed but left out"
        left = sum(b == "None" for _, b in there) / len(there)
        assert left == pytest.approx(0.25, abs=0.03)
    for value in ("friend", "lover"):
        of_value = [b[0] for a, b in kept if a[0] == value]
        assert of_value.count("None") / len(of_value) == pytest.approx(0.25, abs=0.05)
    both = sum(b == ["None", "None"] for a, b in kept if a[1] != "None")
    assert both / (len(pairs) / 2) == pytest.approx(0.25**2, abs=0.02), "each by itself"


def test_fills_held_towards_the_prior_come_to_what_counting_them_gives() -> None:
    """Speakers with one phrase each, read in different shares of their replies."""
    rates = {"ana": 0.1, "ben": 0.4, "cleo": 0.02}
    number = 3000
    own = {
        s: DimensionPrior({f"{s} says": round(r * number)}, nulls=number - round(r * number))
        for s, r in rates.items()
    }
    everybody = DimensionPrior(
        {f"{s} says": round(r * number) for s, r in rates.items()},
        nulls=sum(p.nulls for p in own.values()),
    )
    whose = {s: f"{s} says" for s in rates}
    expected = predicted_range(everybody, own, whose, s=1.0, fill="shrunk")
    counted = []
    for speaker, value in whose.items():
        filled = everybody.shrunk(own[speaker])
        read = own[speaker].counts[value]
        drawn = sum(filled.draw("x", speaker, i) == value for i in range(own[speaker].nulls))
        counted.append(read / (read + drawn))
    assert expected.own == pytest.approx(sum(counted) / 3, abs=0.005)
    by_prior = predicted_range(everybody, own, whose, s=1.0).own
    by_speaker = predicted_range(everybody, own, whose, s=1.0, fill="speaker").own
    assert by_prior is not None
    assert by_speaker is not None
    assert by_speaker < (expected.own or 0) < by_prior, "between the two that it is made of"


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 50)), st.integers(0, 20))
def test_holding_towards_a_prior_lies_between_both(own: dict[str, int], weight: int) -> None:
    prior, mine = DimensionPrior({"a": 3, "b": 1}, nulls=4), DimensionPrior(own, nulls=2)
    held = prior.shrunk(mine, weight)
    for value in "abcd":
        ends = sorted((prior.share(value), mine.share(value) if own else prior.share(value)))
        if own or weight:
            assert ends[0] - 1e-12 <= held.share(value) <= ends[1] + 1e-12
    if own or weight:
        assert sum(held.share(value) for value in "abcd") == pytest.approx(1)


@pytest.mark.parametrize("draw_per", ["turn", "speaker"])
@pytest.mark.parametrize("s", [0.5, 1.0])
def test_the_upper_end_is_what_training_shows(
    space: LatentSpace, draw_per: Scope, s: float
) -> None:
    """Counted over what training shows of 200 speakers who say "friend" in 20 of 200 replies."""
    prior = prior_of(space, 3, 7, 0)
    values = {"relationship": prior["relationship"]}
    sampling = SamplingConfig(draw_per=draw_per, s=s)
    said = Persona({"relationship": Slot("friend", "observed")})
    rates: list[float] = []
    for speaker in (f"s{number}" for number in range(200)):
        shown = 0
        for turn in range(200):
            pair = Pair(f"{speaker}#{turn}", speaker, turn, 0, speaker, ("x",), "train", "hi")
            read = said if turn < 20 else Persona()
            z = fill_all(read, values, pair_keys(pair), sampling, seed=0, draw=0)
            shown += z.value("relationship") == "friend"
        rates.append(20 / shown)
    own = DimensionPrior({"friend": 20}, nulls=180)
    expected = predicted_range(
        prior["relationship"], {"a": own}, {"a": "friend"}, s=s, draw_per=draw_per
    )
    assert sum(rates) / len(rates) == pytest.approx(expected.own, abs=0.04)
