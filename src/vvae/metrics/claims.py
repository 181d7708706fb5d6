"""From measured replies to verdicts: a claim holds, does not, or is undecided.

A measure is a ratio of sums over replies: a rate, speakers weighted equally, or nats per token,
tokens weighted equally. A claim compares one variant's measure with a number, with another
variant's, or with another measure of its own; or it follows it over several variants. It says on
which side it should be. Evidence is two-sided, by a bootstrap over speakers, crossed with one over
training seeds, draws shared by all::

    p  =  2 min(P*(the claim is false), P*(its opposite is false)),   adjusted for their number

and of two tests of one side for a claim that something is equal to within a margin.
Where one claim is primary it is tested at 4/5 of the level and the others share the rest, or, once
the primary one is decided, all of it (the fallback procedure: Wiens and Dmitrienko 2005).

A claim holds, or does not, where the adjusted p is at most 0.05; otherwise it is undecided. Where a
rate is of few replies, or people hardly ever show what is counted, nothing is decided, whatever p
says: it cannot be decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal, NotRequired, Required, TypedDict

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vvae.core.random import bits64
from vvae.metrics.association import benjamini_hochberg, holm
from vvae.metrics.bootstrap import Counts, bootstrap, interval, rate, weight_of
from vvae.metrics.metric import MEASURABLE, get, metrics_of

__all__ = [
    "ALPHA",
    "DRAWS",
    "HUMAN",
    "LEAST_DRAWN",
    "PRIMARY_SHARE",
    "Adjust",
    "Claim",
    "JudgedClaim",
    "Predictions",
    "Summary",
    "Tables",
    "detectable",
    "judge",
    "level_of",
    "needed",
    "out_of_reach",
    "standard_error",
    "summarize",
    "too_few",
    "too_rare",
]

Vector = npt.NDArray[np.float64]
Tables = Mapping[str, Mapping[str, Counts]]
"""measure -> variant (or `HUMAN`) -> its sums"""
Predictions = Mapping[str, tuple[float, float | None] | None]
Adjust = Literal["holm", "benjamini-hochberg"]
Verdict = Literal["holds", "does not hold", "undecided", "cannot be decided here"]
HUMAN = "human"
ALPHA = 0.05
DRAWS = 10_000
"""Of a claim's bootstrap: no p is below 2 / (DRAWS + 1), and a dozen claims that share a fifth of
the level need one of 0.0008.
"""
Z = NormalDist().inv_cdf(0.975)
PRIMARY_SHARE = 0.8
"""Of the level, for the primary claim."""
DEPLOYED = "loss_deployed_z"
"""The lowest loss of a variant under any z that a chat could show it."""
CELLS = ("loss_profile_z", "loss_known_z", "loss_own_z", "loss_context_z", "loss_none_z")
"""The losses that it is the lowest of, as far as they were measured."""
LEAST_DRAWN = 10
"""Speakers of a claim, or conversations of one alone: the interval that fewer give, drawn anew,
misses the truth in more than one of ten (simulated, normal: 26 of 100 with three, 18 with five, 10
with ten).
"""
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
    """What the estimate is compared with; with `to`, the other end of a range."""
    to: float
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
        description="CP, EC, HM, habits, loss_profile_z, ... : a measure of the study's rows; "
        "loss_deployed_z: the lowest under any z that a chat could show"
    )
    how: Literal["rate", "deviation", "distance"] = Field(
        "rate",
        description="the measure itself, its signed deviation from people, or the size of that",
    )
    of: str | None = Field(None, description="the variant it is about")
    against: str | None = Field(None, description="the variant it is compared with")
    against_measure: str | None = Field(
        None, description="the measure it is compared with, of `against` or, without, of `of`"
    )
    primary: bool = Field(False, description="it is tested before the others")
    over: dict[str, float] | None = Field(
        None, description="variants and their places on a scale: the slope along it"
    )
    expect: Literal["below", "above", "equal"] = Field(
        description="which side of `than` the claim is on"
    )
    than: float | Literal["predicted"] = Field(
        0.0, description="a number; or the rates predicted from r, between which it may be"
    )
    margin: float = Field(0.0, ge=0, description="how near counts as equal")
    min_parameters: float | None = Field(
        None, description="a base model of fewer parameters cannot decide it, whatever it shows"
    )

    @model_validator(mode="after")
    def _complete(self) -> Claim:
        if (self.of is None) == (self.over is None):
            raise ValueError("a claim is about one variant (of) or goes over several (over)")
        if self.over is not None and (self.against or self.against_measure):
            raise ValueError("'against' and 'against_measure' go with 'of'")
        if self.measure == DEPLOYED and self.how != "rate":
            raise ValueError("a loss is compared as it is (how: rate)")
        if self.against_measure and (self.how != "rate" or self.measure in ("habits", DEPLOYED)):
            raise ValueError("two measures are compared as they are (how: rate)")
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
        if self.against_measure:
            return f"{measure}, {self.of} less {self.against_measure}, {self.against or self.of}"
        return f"{measure}, {self.of}" + (f" less {self.against}" if self.against else "")

    @property
    def measures(self) -> tuple[str, ...]:
        """Return the measures that the claim needs."""
        if self.measure == "habits":  # the mean distance of all rates of HumanChatBench from people
            return tuple(metric.name for metric in metrics_of("value"))
        return (CELLS[0],) if self.measure == DEPLOYED else (self.measure,)

    @property
    def looked_at(self) -> tuple[tuple[str, str], ...]:
        """Return the (measure, variant or people) whose figures the claim needs."""
        people = () if self.how == "rate" else (HUMAN,)
        held = [(m, v) for m in self.measures for v in (*self.variants, *people)]
        if self.against_measure:
            held = [(self.measure, self.of or "")]
            held.append((self.against_measure, self.against or self.of or ""))
        return tuple(held)


def needed(claims: Sequence[Claim]) -> set[str]:
    """Return the measures that claims are about."""
    measures = {measure for claim in claims for measure, _ in claim.looked_at}
    lowest = any(claim.measure == DEPLOYED for claim in claims)
    return measures | set(CELLS) if lowest else measures


def judge(
    claims: Sequence[Claim],
    tables: Tables,
    *,
    predicted: Predictions | None = None,
    by_seed: Sequence[Tables] = (),
    parameters: Mapping[str, float] | None = None,
    adjust: Adjust = "holm",
    resamples: int = DRAWS,
    seed: int = 0,
) -> list[JudgedClaim]:
    """Return a row for each claim: estimate, 95 % interval, n, p, adjusted p and verdict; rates in
    points, losses in nats.

    Args:
        predicted: variant -> the rates of CP predicted from r: where the context does not tell who
            speaks, and where it does. A claim about them is about what lies beyond both.
        by_seed: the same tables for each training seed alone, which met the same contexts; how they
            vary is part of the intervals.
        parameters: variant -> those of its model, where they are known.
    """
    measures = needed(claims)
    flat = {
        f"{m}|{v}": counts
        for m in sorted(measures)
        for v, counts in tables.get(m, {}).items()
        if counts
    }
    flat_samples = _sampled(flat, by_seed, resamples=resamples, seed=seed)
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
        read = _reading(claim, samples)
        spread = read - np.clip(read, *than)
        low, high = interval(read)
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
            "than": _round(than[0]),
            "to": _round(than[1]),
            "unit": _unit(claim),
            "n": replies,
            "speakers": speakers,
            "by_seed": [_round(float(point)) for point in points],
        }
        false, opposite = _tails(claim, spread)
        row["p"] = round(min(1.0, false, opposite), 5)
        if why := _undecidable(claim, row, tables, parameters or {}):
            row |= {"verdict": "cannot be decided here", "why": why}
        else:
            tested.append((len(judged) - 1, row["p"], false < opposite))
    _decide(judged, tested, [claim.primary for claim in claims], adjust)
    for claim, row in zip(claims, judged, strict=True):
        known = row["verdict"] == "undecided" and "low" in row
        if known and (why := out_of_reach(claim, standard_error(row))):
            row |= {"verdict": "cannot be decided here", "why": why}
    return judged


def standard_error(row: JudgedClaim) -> float:
    """Return the standard error of a judged claim's estimate, from its interval."""
    return (row["high"] - row["low"]) / (2 * Z)


def detectable(error: float, level: float = ALPHA) -> float:
    """Return the smallest effect that is found in four of five studies, two-sided at a level.

    >>> round(detectable(1.0), 2)
    2.8
    """
    return error * (NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(0.8))


def level_of(claim: Claim, claims: Sequence[Claim]) -> float:
    """Return the level at which a claim is tested first: as long as the primary one is undecided,
    and none of the others has been decided before.

    >>> two = [Claim(claim="a", measure="CP", of="x", expect="above", primary=p) for p in (1, 0)]
    >>> [round(level_of(claim, two), 3) for claim in two]
    [0.04, 0.01]
    """
    others = sum(not other.primary for other in claims)
    if claim.primary:
        return PRIMARY_SHARE * ALPHA
    return ALPHA * (1 - PRIMARY_SHARE if others < len(claims) else 1.0) / others


def out_of_reach(claim: Claim, error: float) -> str | None:
    """Return why what is claimed could not be shown if it were so; None where it could.

    Args:
        error: the standard error of what the claim is about, in its unit.
    """
    if claim.margin and claim.margin < (needs := detectable(error)):
        return f"to find it within {claim.margin:g} it must be known to {needs:.2g}"
    return None


def _decide(
    judged: Sequence[JudgedClaim],
    tested: Sequence[tuple[int, float, bool]],
    primary: Sequence[bool],
    adjust: Adjust,
) -> None:
    """Add adjusted p and verdict: of the primary claim first, then of the others."""
    adjusting = holm if adjust == "holm" else benjamini_hochberg
    first = [test for test in tested if primary[test[0]]]
    others = [test for test in tested if not primary[test[0]]]

    def verdicts(tests: Sequence[tuple[int, float, bool]], share: float) -> None:
        ps = adjusting([min(1.0, p / share) for _, p, _ in tests])
        for (index, _, holds), p in zip(tests, ps, strict=True):
            verdict: Verdict = "undecided" if p > ALPHA else "holds" if holds else "does not hold"
            judged[index] |= {"p_adjusted": round(p, 5), "verdict": verdict}

    verdicts(first, PRIMARY_SHARE)
    settled = all(
        judged[index].get("verdict") in ("holds", "does not hold")
        for index, is_first in enumerate(primary)
        if is_first
    )
    verdicts(others, 1.0 if settled else 1 - PRIMARY_SHARE)


def _undecidable(
    claim: Claim, row: JudgedClaim, tables: Tables, parameters: Mapping[str, float]
) -> str | None:
    """Why a claim cannot be decided at this size, whatever it shows; None where it can."""
    size = min((n for v, n in parameters.items() if v in claim.variants), default=None)
    if claim.min_parameters and size is not None and size < claim.min_parameters:
        return f"a model of {_size(size)} parameters cannot decide it"
    if why := too_few(claim, tables):
        return why
    if row["unit"] == "points" and not claim.measure.startswith("phrase"):
        if row["n"] < LEAST_REPLIES:
            return f"{row['n']} replies are too few, {LEAST_REPLIES} are needed"
        return too_rare(claim, tables)
    return None


def too_few(claim: Claim, tables: Tables) -> str | None:
    """Return why those whose replies a claim is about are too few for an interval; None where they
    are not.
    """
    counted = [tables[measure][variant] for measure, variant in claim.looked_at]
    everybody = {s for variants in tables.values() for counts in variants.values() for s in counts}
    # Of one speaker alone, conversations are drawn (`bootstrap`).
    drawn = min(sum(map(len, c.values())) if len(everybody) == 1 else len(c) for c in counted)
    if drawn >= LEAST_DRAWN:
        return None
    what = "conversations of one speaker are" if len(everybody) == 1 else "speakers are"
    what = "speaker is" if drawn == 1 and len(everybody) > 1 else what
    return f"{drawn} {what} too few, {LEAST_DRAWN} are needed"


def too_rare(claim: Claim, tables: Tables) -> str | None:
    """Return why people's replies are too few for a claim's rates; None where they are not."""
    counted = {metric.name for metric in (*metrics_of("value"), *metrics_of("reply"))}
    counted = {name for name in counted if get(name).unit == "%"}
    for measure in counted.intersection(claim.measures):
        people = tables.get(measure, {}).get(HUMAN)
        shown = sum(h for d in people.values() for h, _ in d.values()) if people else None
        if shown is not None and shown < MEASURABLE:
            showing = f"{shown:.0f} of people's replies show it"
            return f"{measure}: {showing}, {MEASURABLE} are needed"
    return None


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
    flat_samples = _sampled(flat, by_seed, resamples=resamples, seed=seed)
    result: dict[str, dict[str, Summary]] = {}
    for measure, variants in tables.items():
        people = variants.get(HUMAN)
        for variant, counts in variants.items():
            samples = flat_samples[f"{measure}|{variant}"]
            low, high = interval(samples)
            row: Summary = {
                "estimate": _round(_rate(measure, counts)),
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
                row["by_seed"] = [_round(_rate(measure, table)) for table in alone]
                if people:
                    low, high = interval(samples - flat_samples[f"{measure}|{HUMAN}"])
                    beyond = _rate(measure, counts) - _rate(measure, people)
                    row |= {"deviation": _round(beyond)}
                    row |= {"deviation_low": _round(low), "deviation_high": _round(high)}
            result.setdefault(measure, {})[variant] = row
    return result


def _unmeasured(claim: Claim, tables: Tables, predicted: Predictions) -> str | None:
    """Why a claim cannot be tested; None where it can."""
    for measure, variant in claim.looked_at:
        if not tables.get(measure, {}).get(variant):
            return f"{measure} of {variant} was not measured"
    if claim.than == "predicted" and predicted.get(claim.of or "") is None:
        return f"nothing is predicted for {claim.of}"
    return None


def _by_tokens(measure: str) -> bool:
    return measure.startswith("loss")


def _sampled(
    flat: Mapping[str, Counts], by_seed: Sequence[Tables], *, resamples: int, seed: int
) -> dict[str, Vector]:
    """Resampled figures of ``measure|variant``: speakers are drawn, and across them the training
    seeds, where there are several.

    All seeds meet the same contexts, so speakers and seeds are crossed: what the seeds add is drawn
    once for all speakers, and for all variants together. Of so few seeds it is drawn as the mean of
    S normal values is distributed about their true mean, by Student's t with S - 1 degrees of
    freedom: three seeds drawn with replacement would hold the truth in 81 of 100 intervals of 95 %.
    """
    runs = {
        f"{name}|{number}": counts
        for number, tables in enumerate(by_seed)
        for name in flat
        for measure, _, variant in [name.partition("|")]
        if variant != HUMAN and (counts := tables.get(measure, {}).get(variant))
    }
    pooled = {name for name in (*flat, *runs) if _by_tokens(name)}
    drawn = bootstrap({**flat, **runs}, resamples=resamples, seed=seed, pooled=pooled)
    seeds = len(by_seed)
    if seeds < 2:
        return drawn
    weights = _seed_weights(seeds, resamples, seed)
    result: dict[str, Vector] = {}
    for name in flat:
        result[name] = drawn[name]
        if all(f"{name}|{number}" in drawn for number in range(seeds)):
            each = np.stack([drawn[f"{name}|{number}"] for number in range(seeds)])
            result[name] = drawn[name] + (weights * (each - each.mean(0))).sum(0)
    return result


def _seed_weights(seeds: int, resamples: int, seed: int) -> Vector:
    """Weights by which the deviations of S seeds from their mean add up to t of S - 1 degrees of
    freedom, times the standard error of that mean; shape (S, resamples).

    Drawn once, they do so for every difference of variants too.
    """
    random = np.random.default_rng(bits64("seeds", seed))
    normal = random.standard_normal((seeds, resamples))
    chi_square = random.chisquare(seeds - 1, resamples)
    return np.asarray(normal / np.sqrt(seeds * chi_square), dtype=np.float64)


def _rate(measure: str, counts: Counts) -> float:
    return rate(counts, pooled=_by_tokens(measure))


def _points(tables: Tables) -> dict[str, dict[str, Vector]]:
    return {
        m: {v: np.asarray([_rate(m, c)]) for v, c in variants.items() if c}
        for m, variants in tables.items()
    }


def _reading(claim: Claim, values: Mapping[str, Mapping[str, Vector]]) -> Any:
    """What the claim is about, in its unit: an array for samples, a number for a single point."""

    def reading_of(variant: str) -> Vector:
        if claim.measure == DEPLOYED:
            held = [values[cell][variant] for cell in CELLS if variant in values.get(cell, {})]
            return np.asarray(np.min(held, axis=0), dtype=np.float64)
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
    elif claim.against_measure:
        (measure, of), (other, against) = claim.looked_at
        result = values[measure][of] - values[other][against]
    else:
        result = reading_of(claim.of or "") - (reading_of(claim.against) if claim.against else 0.0)
    result = result * (100 if _unit(claim) == "points" else 1)
    return float(result[0]) if len(result) == 1 else result


def _than(claim: Claim, predicted: Predictions) -> tuple[float, float]:
    """The ends of what the estimate is compared with."""
    if claim.than == "predicted" and (range_ := predicted[claim.of or ""]):
        ends = [100 * end for end in range_ if end is not None]
        return min(ends), max(ends)
    return float(claim.than), float(claim.than)


def _tails(claim: Claim, spread: Vector) -> tuple[float, float]:
    """(p against the claim's being false, p against its being true), each never 0.

    Of a side both are twice the bootstrap's share, (1 + count) / (1 + resamples), as a test of two
    sides has it. That something is equal takes two tests of one side, each at the whole level
    (TOST: Schuirmann 1987); that it is not is again of two sides.
    """

    def tail(condition: npt.NDArray[np.bool_]) -> float:
        return float(1 + condition.sum()) / (1 + len(condition))

    spread = spread[np.isfinite(spread)]
    match claim.expect:
        case "below":
            return 2 * tail(spread >= 0), 2 * tail(spread <= 0)
        case "above":
            return 2 * tail(spread <= 0), 2 * tail(spread >= 0)
        case _:
            m = claim.margin
            outside = min(tail(spread >= -m), tail(spread <= m))
            return max(tail(spread <= -m), tail(spread >= m)), 2 * outside


def _counted(claim: Claim, tables: Tables) -> tuple[int, int]:
    """Replies (dialogues' weights for a loss are tokens) and speakers of the smallest table it
    needs.
    """
    held = [tables[m][v] for m, v in claim.looked_at if v != HUMAN]
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
