"""Claims against worked examples: estimates by hand, verdicts where the answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from vvae.metrics.association import benjamini_hochberg
from vvae.metrics.bootstrap import Counts, Hit, bootstrap, rate, tabulate
from vvae.metrics.claims import HUMAN, Claim, judge, summarize


def habit(rate: float, *, speakers: int = 40, replies: int = 20, seed: int = 0) -> Counts:
    """Speakers who show a habit at a rate, in dialogues of their own."""
    rng = np.random.default_rng(seed)
    return tabulate(
        Hit(f"s{i}", f"s{i}d{j % 5}", rng.random() < rate)
        for i in range(speakers)
        for j in range(replies)
    )


TABLES = {
    "CP": {
        HUMAN: habit(0.10, seed=1),
        "shy": habit(0.02, seed=2),
        "loud": habit(0.45, seed=3),
        "human-like": habit(0.10, seed=4),
    }
}


def verdict(**claim: object) -> str:
    fields = {"claim": "x", "measure": "CP", **claim}
    return str(judge([Claim.model_validate(fields)], TABLES, resamples=500)[0]["verdict"])


def test_a_claim_is_estimated_by_hand() -> None:
    tables: dict[str, dict[str, Counts]] = {
        "CP": {
            HUMAN: {"a": {"d": (1, 10)}, "b": {"d": (3, 10)}},  # 20 %
            "m": {"a": {"d": (5, 10)}, "b": {"d": (0, 2)}},  # 25 %
            "k": {"a": {"d": (0, 4)}, "b": {"d": (1, 10)}},  # 5 %
        },
        "loss_profile_z": {"m": {"a": {"d": (30.0, 10.0)}, "b": {"d": (10.0, 6.0)}}},  # 40 / 16
    }
    asked = [
        Claim(claim="deviation", measure="CP", how="deviation", of="m", expect="above"),
        Claim(claim="distance", measure="CP", how="distance", of="k", against="m", expect="below"),
        Claim(claim="loss", measure="loss_profile_z", of="m", expect="below", than=3),
        Claim(claim="slope", measure="CP", over={"m": 0.0, "k": 0.5}, expect="below"),
    ]
    found = judge(asked, tables, resamples=50)
    assert [row["estimate"] for row in found] == [5.0, 10.0, 2.5, -40.0]
    assert [row["unit"] for row in found] == ["points", "points", "nats", "points"]
    assert found[0]["n"] == 12
    assert found[2]["what"] == "loss_profile_z, m"
    assert (found[2]["low"], found[2]["high"]) == pytest.approx((1.6667, 3.0)), "by tokens"


def test_verdicts_where_the_answer_is_known() -> None:
    assert verdict(how="deviation", of="loud", expect="above") == "holds"
    assert verdict(how="deviation", of="shy", expect="above") == "does not hold"
    assert verdict(how="deviation", of="human-like", expect="above") == "undecided"
    assert verdict(how="deviation", of="human-like", expect="equal", margin=6) == "holds"
    assert verdict(how="deviation", of="loud", expect="equal", margin=6) == "does not hold"
    assert verdict(how="distance", of="human-like", against="loud", expect="below") == "holds"
    assert verdict(of="loud", expect="below", than=20) == "does not hold"


def test_what_was_not_measured_is_undecided_and_says_why() -> None:
    asked = [
        Claim(claim="1", measure="CP", of="absent", expect="above"),
        Claim(claim="2", measure="EC", of="loud", expect="above"),
        Claim(claim="3", measure="CP", of="loud", expect="equal", than="predicted", margin=1),
        Claim(
            claim="4", measure="CP", how="deviation", of="loud", expect="above", min_parameters=1e9
        ),
    ]
    found = judge(
        asked, TABLES, predicted={"loud": None}, parameters={"loud": 135e6}, resamples=100
    )
    assert [row["verdict"] for row in found] == [*["undecided"] * 3, "cannot be decided here"]
    assert [row["why"] for row in found] == [
        "CP of absent was not measured",
        "EC of loud was not measured",
        "nothing is predicted for loud",
        "a model of 135M parameters cannot decide it",
    ]
    assert found[3]["estimate"] > 20, "the figure is shown all the same"


def test_a_margin_that_could_not_be_shown_is_not_called_undecided() -> None:
    fields = {"measure": "CP", "how": "deviation", "of": "human-like", "expect": "equal"}
    asked = [Claim.model_validate({"claim": "x", **fields, "margin": 0.5})]
    (row,) = judge(asked, TABLES, resamples=500)
    assert row["verdict"] == "cannot be decided here"
    assert row["why"].startswith("to find it within 0.5 it must be known to ")


def one_person(rate: float, *, conversations: int, seed: int) -> Counts:
    rng = np.random.default_rng(seed)
    return tabulate(
        Hit("ana", f"d{i % conversations}", float(rng.random() < rate)) for i in range(400)
    )


def test_of_one_person_the_conversations_are_what_varies() -> None:
    asked = [Claim(claim="x", measure="CP", how="deviation", of="m", expect="above")]
    for conversations, verdict in ((40, "holds"), (6, "cannot be decided here")):
        people = one_person(0.1, conversations=conversations, seed=1)
        much = one_person(0.4, conversations=conversations, seed=2)
        (row,) = judge(asked, {"CP": {HUMAN: people, "m": much}})
        assert row["verdict"] == verdict
        assert row["low"] < row["estimate"] < row["high"], "not known for certain"
    assert row["why"] == "6 conversations of one speaker are too few, 10 are needed"
    people, same = (one_person(0.1, conversations=40, seed=seed) for seed in (1, 3))
    (row,) = judge(asked, {"CP": {HUMAN: people, "m": same}})
    assert row["verdict"] == "undecided"


@pytest.mark.parametrize("measure", ["CP", "nickname"])
def test_what_people_hardly_ever_show_decides_nothing(measure: str) -> None:
    people, much = habit(0.02, seed=1), habit(0.2, seed=2)
    asked = [Claim(claim="x", measure=measure, how="deviation", of="m", expect="above")]
    (row,) = judge(asked, {measure: {HUMAN: people, "m": much}}, resamples=500)
    assert row["verdict"] == "cannot be decided here"
    assert row["why"].startswith(f"{measure}: ")
    asked[0] = asked[0].model_copy(update={"measure": "length"})
    (row,) = judge(asked, {"length": {HUMAN: people, "m": much}}, resamples=500)
    assert row["verdict"] == "holds", "a mean of words has no rare event"


def test_few_speakers_decide_nothing() -> None:
    people, much = habit(0.1, speakers=9, seed=1), habit(0.6, speakers=9, seed=2)
    asked = [Claim(claim="x", measure="CP", how="deviation", of="m", expect="above")]
    (row,) = judge(asked, {"CP": {HUMAN: people, "m": much}}, resamples=500)
    assert (row["verdict"], row["why"]) == (
        "cannot be decided here",
        "9 speakers are too few, 10 are needed",
    )


def test_many_claims_need_more_evidence_each() -> None:
    rng = np.random.default_rng(0)
    tables = {
        "CP": {f"v{i}": habit(0.1, speakers=12, seed=int(rng.integers(1 << 30))) for i in range(12)}
    }
    asked = [
        Claim(claim=str(i), measure="CP", of=f"v{i}", expect="above", than=6.5) for i in range(12)
    ]
    alone = [judge([claim], tables, resamples=1000)[0] for claim in asked]
    together = judge(asked, tables, resamples=1000)
    assert sum(r["verdict"] != "undecided" for r in together) < sum(
        r["verdict"] != "undecided" for r in alone
    )
    assert all(a["p_adjusted"] >= a["p"] for a in together)


def test_the_summary_has_signed_deviations_and_each_seed() -> None:
    found = summarize(TABLES, by_seed=[{"CP": {"loud": habit(0.5, seed=9)}}], resamples=200)["CP"]
    assert found["loud"]["deviation"] == pytest.approx(
        found["loud"]["estimate"] - found[HUMAN]["estimate"], abs=1e-3
    )
    assert (
        found["loud"]["deviation_low"]
        < found["loud"]["deviation"]
        < found["loud"]["deviation_high"]
    )
    assert found["shy"]["deviation"] < 0
    assert len(found["loud"]["by_seed"]) == 1
    assert "deviation" not in found[HUMAN]
    json.dumps(found)


@pytest.mark.parametrize(
    "fields",
    [
        {"expect": "above"},
        {"of": "a", "over": {"a": 0, "b": 1}, "expect": "above"},
        {"of": "a", "expect": "equal"},
        {"of": "a", "expect": "above", "margin": 1},
        {"of": "a", "measure": "habits", "expect": "above"},
    ],
)
def test_a_claim_that_says_nothing_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Claim.model_validate({"claim": "x", "measure": "CP", **fields})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_is_scipys(p: list[float]) -> None:
    assert benjamini_hochberg(p) == pytest.approx(list(false_discovery_control(p, method="bh")))


def test_a_rate_of_a_few_replies_decides_nothing() -> None:
    silent = {"CP": {**TABLES["CP"], "few": tabulate(Hit(f"s{i}", "d", False) for i in range(12))}}
    asked = Claim(
        claim="says it as often as people", measure="CP", how="deviation", of="few", expect="above"
    )
    (row,) = judge([asked], silent, resamples=200)
    assert row["verdict"] == "cannot be decided here"
    assert row["why"] == "12 replies are too few, 100 are needed"
    assert row["high"] < 0, "the bootstrap itself would be sure"


def test_an_interval_of_a_rare_rate_is_as_wide_as_it_varies() -> None:
    """83 speakers of 12 replies, 4 % of which show it: the spread of their mean is known."""
    rates, widths = [], []
    for seed in range(60):
        counts = habit(0.04, speakers=83, replies=12, seed=seed)
        rates.append(rate(counts))
        widths.append(bootstrap({"x": counts}, resamples=300)["x"].std())
    assert np.mean(widths) == pytest.approx(np.sqrt(0.04 * 0.96 / (83 * 12)), rel=0.08)
    assert np.mean(widths) == pytest.approx(np.std(rates), rel=0.25)


def test_two_measures_of_one_variant_are_compared() -> None:
    rng = np.random.default_rng(0)
    own = {f"s{i}": {"d": (float(rng.normal(30, 3)), 10.0)} for i in range(40)}
    swapped = {s: {"d": (h + 0.2, n)} for s, of in own.items() for h, n in of.values()}
    tables = {"loss_profile_z": {"m": own}, "loss_swapped_z": {"m": swapped}}
    claim = Claim(
        claim="reads z",
        measure="loss_profile_z",
        of="m",
        against_measure="loss_swapped_z",
        expect="below",
    )
    (row,) = judge([claim], tables, resamples=400)
    assert row["what"] == "loss_profile_z, m less loss_swapped_z, m"
    assert row["estimate"] == pytest.approx(-0.02, abs=1e-6)
    assert row["verdict"] == "holds", "the same replies: the difference hardly varies"
    with pytest.raises(ValidationError, match="compared as they are"):
        Claim.model_validate({**claim.model_dump(), "how": "distance"})


def test_the_primary_claim_is_tested_first_and_the_others_with_what_is_left() -> None:
    def judged(primary_holds: bool) -> dict[str, tuple[float, str]]:
        asked = [
            Claim(
                claim="first",
                measure="CP",
                how="deviation",
                of="loud" if primary_holds else "human-like",
                expect="above",
                primary=True,
            ),
            Claim(claim="second", measure="CP", of="loud", expect="above", than=38),
        ]
        found = judge(asked, TABLES)
        return {row["claim"]: (row["p_adjusted"], row["verdict"]) for row in found}

    passed, failed = judged(True), judged(False)
    alone = judge([Claim(claim="x", measure="CP", of="loud", expect="above", than=38)], TABLES)
    assert passed["first"][1] == "holds"
    assert failed["first"][1] == "undecided"
    assert passed["second"][0] == pytest.approx(alone[0]["p"], abs=1e-4), "the whole level is left"
    assert failed["second"][0] == pytest.approx(min(1.0, 5 * alone[0]["p"]), abs=1e-3)


def test_what_people_hardly_ever_show_cannot_be_decided() -> None:
    rare = {"CP": {HUMAN: habit(0.01, seed=5), "m": habit(0.3, seed=6)}}
    claim = Claim(claim="x", measure="CP", how="deviation", of="m", expect="above")
    (row,) = judge([claim], rare, resamples=200)
    assert row["verdict"] == "cannot be decided here"
    assert "people's replies show it, 30 are needed" in row["why"]
    assert row["estimate"] > 20, "the figure is shown all the same"


def test_a_prediction_is_a_range_and_within_it_nothing_is_off() -> None:
    def deviating(range_: tuple[float, float | None]) -> str:
        claim = Claim(
            claim="x", measure="CP", of="loud", expect="equal", than="predicted", margin=3
        )
        (row,) = judge([claim], TABLES, predicted={"loud": range_}, resamples=400)
        return str(row["verdict"])

    assert deviating((0.10, 0.78)) == "holds"
    assert deviating((0.10, 0.20)) == "does not hold"
    assert deviating((0.10, None)) == "does not hold"
    assert deviating((0.45, None)) == "cannot be decided here", "3 points, and not known so well"


def test_how_training_seeds_vary_is_in_the_interval() -> None:
    """Three runs that differ by far more than their replies: the difference is not sure."""
    runs = [
        {"CP": {"m": habit(p, seed=i), "k": habit(0.2, seed=9 + i)}}
        for i, p in enumerate((0.1, 0.3, 0.5))
    ]
    together = {
        "CP": {
            v: tabulate(
                Hit(s, d, *pair)
                for run in runs
                for s, of in run["CP"][v].items()
                for d, pair in of.items()
            )
            for v in ("m", "k")
        }
    }
    claim = Claim(claim="x", measure="CP", of="m", against="k", expect="above")
    (alone,) = judge([claim], together, resamples=1000)
    (crossed,) = judge([claim], together, by_seed=runs, resamples=1000)
    assert alone["estimate"] == crossed["estimate"] == pytest.approx(10, abs=2)
    assert alone["verdict"] == "holds"
    assert crossed["verdict"] == "undecided"
    of_three = np.std([10, 30, 50], ddof=1) / np.sqrt(3) * student_t.ppf(0.975, 2)
    assert (crossed["high"] - crossed["low"]) / 2 == pytest.approx(of_three, rel=0.25)


def test_an_interval_of_three_seeds_holds_the_truth_as_often_as_it_says() -> None:
    """Seeds are all that varies: each run has a rate of its own, known exactly."""
    random = np.random.default_rng(0)
    claim = Claim(claim="x", measure="CP", of="m", expect="above", than=0.3)
    holding = 0
    for _ in range(200):
        rates = random.normal(0.3, 0.05, size=3)
        runs = [{"CP": {"m": {s: {"d": (100 * p, 100)} for s in "abcd"}}} for p in rates]
        together = {"CP": {"m": {s: {"d": (100 * sum(rates), 300)} for s in "abcd"}}}
        (row,) = judge([claim], together, by_seed=runs, resamples=400)
        holding += row["low"] <= 30 <= row["high"]
    assert 0.91 <= holding / 200 <= 0.985
