"""From measured replies to verdicts: a claim holds, does not, or is undecided.

A measure is a ratio of sums over replies (a rate, nats per token), speakers weighted equally. A
claim compares one variant's measure with a number, with another variant's, or follows it over
several variants, and says on which side it should be. Evidence is two-sided, by a bootstrap over
speakers, then dialogues, draws shared by all::

    p  =  2 min(P*(the claim is false), P*(its opposite is false)),   adjusted for their number

A claim holds, or does not, where the adjusted p is at most 0.05; otherwise it is undecided. A rate
of few replies is undecided, whatever p says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, Required, TypedDict

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vvae.metrics.association import benjamini_hochberg, holm
from vvae.metrics.bootstrap import Counts, bootstrap, interval, rate, weight_of
from vvae.metrics.metric import metrics_of

__all__ = [
    "HUMAN",
    "Adjust",
    "Claim",
    "JudgedClaim",
    "Summary",
    "Tables",
    "judge",
    "needed",
    "summarize",
]

Vector = npt.NDArray[np.float64]
Tables = Mapping[str, Mapping[str, Counts]]
"""measure -> variant (or `HUMAN`) -> its sums"""
Adjust = Literal["holm", "benjamini-hochberg"]
Verdict = Literal["holds", "does not hold", "undecided"]
HUMAN = "human"
ALPHA = 0.05
LEAST_REPLIES = 100
"""A rate of fewer decides nothing: where no reply shows a value, a bootstrap sees no variance and
is sure of itself.
"""


class JudgedClaim(TypedDict, total=False):
    """A claim and what became of it; figures are there where it was measured."""

    claim: Required[str]
    what: Required[str]
    verdict: Verdict
    why: str
    """Of one that is undecided whatever p says."""
    estimate: float
    low: float
    high: float
    than: float
    """What the estimate is compared with."""
    unit: str
    n: int
    """Replies, or tokens of a loss."""
    speakers: int
    by_seed: list[float]
    p: float
    p_adjusted: float


class Summary(TypedDict):
    """A measure of a variant, or of people: a share, or nats per token."""

    estimate: float
    low: float
    high: float
    n: int
    speakers: int
    by_seed: NotRequired[list[float]]
    deviation: NotRequired[float]
    """From people, signed, with its interval; where people were measured."""
    deviation_low: NotRequired[float]
    deviation_high: NotRequired[float]


class Claim(BaseModel):
    """A sentence and what would show it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str
    measure: str = Field(
        description="CP, EC, HM, habits, loss_profile_z, ... : a measure of the study's rows"
    )
    how: Literal["rate", "deviation", "distance"] = Field(
        "rate",
        description="the measure itself, its signed deviation from people, or the size of that",
    )
    of: str | None = Field(None, description="the variant it is about")
    against: str | None = Field(None, description="the variant it is compared with")
    over: dict[str, float] | None = Field(
        None, description="variants and their places on a scale: the slope along it"
    )
    expect: Literal["below", "above", "equal"] = Field(
        description="which side of `than` the claim is on"
    )
    than: float | Literal["predicted"] = Field(
        0.0, description="a number; or the rate predicted from r"
    )
    margin: float = Field(0.0, ge=0, description="how near counts as equal")
    min_parameters: float | None = Field(
        None, description="a base model of fewer parameters cannot decide it, whatever it shows"
    )

    @model_validator(mode="after")
    def _complete(self) -> Claim:
        if (self.of is None) == (self.over is None):
            raise ValueError("a claim is about one variant (of) or goes over several (over)")
        if self.against is not None and self.over is not None:
            raise ValueError("'against' goes with 'of'")
        if (self.expect == "equal") != (self.margin > 0):
            raise ValueError("'equal' needs a margin, and nothing else takes one")
        if self.measure == "habits" and self.how != "distance":
            raise ValueError("the measure 'habits' is a distance")
        return self

    @property
    def variants(self) -> tuple[str, ...]:
        """Return the variants that the claim needs."""
        return tuple(self.over) if self.over else tuple(filter(None, (self.of, self.against)))

    @property
    def what(self) -> str:
        """Return the quantity whose estimate is given, in words."""
        measure = {"rate": "{}", "deviation": "{} - people", "distance": "|{} - people|"}[
            self.how
        ].format(self.measure)
        if self.over:
            return f"slope of {measure} over {', '.join(self.over)}"
        return f"{measure}, {self.of}" + (f" less {self.against}" if self.against else "")

    @property
    def measures(self) -> tuple[str, ...]:
        """Return the measures that the claim needs."""
        if self.measure == "habits":  # the mean distance of all rates of HumanChatBench from people
            return tuple(metric.name for metric in metrics_of("value"))
        return (self.measure,)


def needed(claims: Sequence[Claim]) -> set[str]:
    """Return the measures that claims are about."""
    return {measure for claim in claims for measure in claim.measures}


def judge(
    claims: Sequence[Claim],
    tables: Tables,
    *,
    predicted: Mapping[str, float | None] | None = None,
    by_seed: Sequence[Tables] = (),
    parameters: Mapping[str, float] | None = None,
    adjust: Adjust = "holm",
    resamples: int = 2000,
    seed: int = 0,
) -> list[JudgedClaim]:
    """Return a row for each claim: estimate, 95 % interval, n, p, adjusted p and verdict; rates in
    points, losses in nats.

    Args:
        predicted: variant -> the rate of CP predicted from r.
        by_seed: the same tables for each training seed alone; their estimates are reported, and do
            not decide.
        parameters: variant -> those of its model, where they are known.
    """
    measures = needed(claims)
    flat = {
        f"{m}|{v}": counts
        for m in sorted(measures)
        for v, counts in tables.get(m, {}).items()
        if counts
    }
    flat_samples = bootstrap(flat, resamples=resamples, seed=seed)
    samples = {
        m: {v: flat_samples[f"{m}|{v}"] for v in tables.get(m, {}) if f"{m}|{v}" in flat_samples}
        for m in measures
    }
    judged: list[JudgedClaim] = []
    tested: list[tuple[int, float, bool]] = []
    for claim in claims:
        row: JudgedClaim = {"claim": claim.claim, "what": claim.what}
        judged.append(row)
        if missing := _unmeasured(claim, tables, predicted or {}):
            row |= {"verdict": "undecided", "why": missing}
            continue
        than = _than(claim, predicted or {})
        spread = _reading(claim, samples) - than
        low, high = interval(spread + than)
        points = [
            _reading(claim, _points(seed_tables))
            for seed_tables in by_seed
            if not _unmeasured(claim, seed_tables, predicted or {})
        ]
        replies, speakers = _counted(claim, tables)
        row |= {
            "estimate": _round(_reading(claim, _points(tables))),
            "low": _round(low),
            "high": _round(high),
            "than": _round(than),
            "unit": _unit(claim),
            "n": replies,
            "speakers": speakers,
            "by_seed": [_round(float(point)) for point in points],
        }
        false, opposite = _tails(claim, spread)
        row["p"] = round(min(1.0, 2 * min(false, opposite)), 5)
        size = min((n for v, n in (parameters or {}).items() if v in claim.variants), default=None)
        if claim.min_parameters and size is not None and size < claim.min_parameters:
            row |= {
                "verdict": "undecided",
                "why": f"a model of {_size(size)} parameters cannot decide it",
            }
        elif (
            row["unit"] == "points"
            and row["n"] < LEAST_REPLIES
            and not claim.measure.startswith("phrase")
        ):
            row |= {
                "verdict": "undecided",
                "why": f"{row['n']} replies are too few, {LEAST_REPLIES} are needed",
            }
        else:
            tested.append((len(judged) - 1, row["p"], false < opposite))
    adjusted = (holm if adjust == "holm" else benjamini_hochberg)([p for _, p, _ in tested])
    for (index, _, holds), p in zip(tested, adjusted, strict=True):
        verdict: Verdict = "undecided" if p > ALPHA else "holds" if holds else "does not hold"
        judged[index] |= {"p_adjusted": round(p, 5), "verdict": verdict}
    return judged


def summarize(
    tables: Tables, *, by_seed: Sequence[Tables] = (), resamples: int = 2000, seed: int = 0
) -> dict[str, dict[str, Summary]]:
    """Return measure -> variant (or `HUMAN`) -> estimate, 95 % interval, n, speakers, and each
    seed's own estimate.

    Rates as shares, losses in nats per token. Where people were measured, also the signed deviation
    with its interval.
    """
    flat = {
        f"{m}|{v}": counts
        for m, variants in tables.items()
        for v, counts in variants.items()
        if counts
    }
    flat_samples = bootstrap(flat, resamples=resamples, seed=seed)
    result: dict[str, dict[str, Summary]] = {}
    for measure, variants in tables.items():
        people = variants.get(HUMAN)
        for variant, counts in variants.items():
            samples = flat_samples[f"{measure}|{variant}"]
            low, high = interval(samples)
            row: Summary = {
                "estimate": _round(rate(counts)),
                "low": _round(low),
                "high": _round(high),
                "n": round(weight_of(counts)),
                "speakers": len(counts),
            }
            if variant != HUMAN:
                alone = [
                    seed_tables[measure][variant]
                    for seed_tables in by_seed
                    if seed_tables.get(measure, {}).get(variant)
                ]
                row["by_seed"] = [_round(rate(table)) for table in alone]
                if people:
                    low, high = interval(samples - flat_samples[f"{measure}|{HUMAN}"])
                    row |= {"deviation": _round(rate(counts) - rate(people))}
                    row |= {"deviation_low": _round(low), "deviation_high": _round(high)}
            result.setdefault(measure, {})[variant] = row
    return result


def _unmeasured(claim: Claim, tables: Tables, predicted: Mapping[str, float | None]) -> str | None:
    """Why a claim cannot be tested; None where it can."""
    for measure in claim.measures:
        people = () if claim.how == "rate" else (HUMAN,)
        for variant in (*claim.variants, *people):
            if not tables.get(measure, {}).get(variant):
                return f"{measure} of {variant} was not measured"
    if claim.than == "predicted" and predicted.get(claim.of or "") is None:
        return f"nothing is predicted for {claim.of}"
    return None


def _points(tables: Tables) -> dict[str, dict[str, Vector]]:
    return {
        m: {v: np.asarray([rate(c)]) for v, c in variants.items() if c}
        for m, variants in tables.items()
    }


def _reading(claim: Claim, values: Mapping[str, Mapping[str, Vector]]) -> Any:
    """What the claim is about, in its unit: an array for samples, a number for a single point."""

    def reading_of(variant: str) -> Vector:
        differences = []
        for measure in claim.measures:
            value = values[measure][variant]
            if claim.how != "rate":
                value = value - values[measure][HUMAN]
            differences.append(abs(value) if claim.how == "distance" else value)
        return np.asarray(np.mean(differences, axis=0), dtype=np.float64)

    if claim.over:
        x = np.asarray(list(claim.over.values()))
        x = x - x.mean()
        y = np.stack([reading_of(variant) for variant in claim.over])
        result = (x[:, None] * y).sum(0) / (x**2).sum()
    else:
        result = reading_of(claim.of or "") - (reading_of(claim.against) if claim.against else 0.0)
    result = result * (100 if _unit(claim) == "points" else 1)
    return float(result[0]) if len(result) == 1 else result


def _than(claim: Claim, predicted: Mapping[str, float | None]) -> float:
    if claim.than == "predicted":
        return 100 * float(predicted[claim.of or ""] or 0.0)
    return claim.than


def _tails(claim: Claim, spread: Vector) -> tuple[float, float]:
    """(P*(the claim is false), P*(its opposite is false)), each never 0: (1 + count) / (1 +
    resamples).
    """

    def tail(condition: npt.NDArray[np.bool_]) -> float:
        return float(1 + condition.sum()) / (1 + len(condition))

    spread = spread[np.isfinite(spread)]
    match claim.expect:
        case "below":
            return tail(spread >= 0), tail(spread <= 0)
        case "above":
            return tail(spread <= 0), tail(spread >= 0)
        case _:
            m = claim.margin
            return max(tail(spread <= -m), tail(spread >= m)), min(
                tail(spread >= -m), tail(spread <= m)
            )


def _counted(claim: Claim, tables: Tables) -> tuple[int, int]:
    """Replies (dialogues' weights for a loss are tokens) and speakers of the smallest table it
    needs.
    """
    held = [tables[m][v] for m in claim.measures for v in claim.variants]
    smallest = min(held, key=len)
    return round(min(map(weight_of, held))), len(smallest)


def _unit(claim: Claim) -> str:
    """Return the unit of a claim's estimates: points for shares, else the measure's own."""
    if claim.measure.startswith("loss"):
        return "nats"
    if claim.measure == "length":
        return "words"
    known = {metric.name: metric.unit for metric in metrics_of("reply")}
    unit = known.get(claim.measure, "%")
    return "points" if unit == "%" else unit


def _round(value: float) -> float:
    return round(float(value), 4)


def _size(parameters: float) -> str:
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"
