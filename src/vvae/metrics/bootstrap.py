"""Rates over speakers with intervals: a bootstrap by speaker.

Speakers are weighted equally, so a rate is the mean of the speakers' own rates; or by their replies
or tokens (pooled), where a ratio of few is no estimate of a speaker's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vvae.core.random import bits64

__all__ = [
    "Counts",
    "Hit",
    "Interval",
    "Slope",
    "bootstrap",
    "calibration_slope",
    "interval",
    "jackknifed",
    "rate",
    "resampled",
    "tabulate",
    "weight_of",
]

Vector = npt.NDArray[np.float64]
Counts = Mapping[str, Mapping[str, tuple[float, float]]]
"""speaker -> dialogue -> (hits, replies), or of another ratio its summed values and weights"""


class Hit(NamedTuple):
    """A reply counted: who is imitated, in which dialogue, and whether it shows the value (or
    another figure of it).
    """

    speaker: str
    dialogue: str
    hit: float
    weight: float = 1


class Interval(NamedTuple):
    """A 95 % percentile interval."""

    low: float
    high: float


def tabulate(hits: Iterable[Hit]) -> Counts:
    """Return hits summed by speaker and dialogue."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for speaker, dialogue, hit, weight in hits:
        of_speaker = table.setdefault(speaker, {})
        positive, total = of_speaker.get(dialogue, (0, 0))
        of_speaker[dialogue] = (positive + hit, total + weight)
    return table


def _totals(counts: Counts) -> tuple[Vector, Vector]:
    hits = [sum(h for h, _ in dialogues.values()) for dialogues in counts.values()]
    replies = [sum(n for _, n in dialogues.values()) for dialogues in counts.values()]
    return np.asarray(hits, dtype=float), np.asarray(replies, dtype=float)


def weight_of(counts: Counts) -> float:
    """Return the sum of the weights: how many replies, or tokens of a loss.

    >>> weight_of({"a": {"d": (1, 2)}, "b": {"d": (0, 10)}})
    12
    """
    return sum(weight for dialogues in counts.values() for _, weight in dialogues.values())


def rate(counts: Counts, *, pooled: bool = False) -> float:
    """Return the mean over speakers of hits / replies; nan without speakers.

    Args:
        pooled: the sum of all hits by that of all replies, as for a loss per token.

    >>> counts = {"a": {"d": (1, 2)}, "b": {"d": (0, 10)}}
    >>> rate(counts), round(rate(counts, pooled=True), 4)
    (0.25, 0.0833)
    """
    hits, replies = _totals(counts)
    if not len(hits):
        return float("nan")
    return float(hits.sum() / replies.sum() if pooled else (hits / replies).mean())


def bootstrap(
    tables: Mapping[str, Counts],
    *,
    resamples: int = 2000,
    seed: int = 0,
    pooled: Collection[str] = (),
) -> dict[str, Vector]:
    """Return resampled rates of several tables at once, shape (resamples,) each: speakers are
    drawn, and each is kept whole.

    A speaker's own replies are not drawn anew: how they vary is in how speakers vary, and drawing
    them too would count it twice (Davison and Hinkley 1997, section 3.8), which makes intervals of
    rare rates a third too wide. Where there is one speaker alone, conversations are drawn in their
    place, each kept whole, and the rate is pooled.

    Speakers are drawn once for all tables, so differences between tables are paired. A speaker
    missing from a table is left out of that table's mean.

    Args:
        pooled: tables whose rate is that of `rate` with `pooled`.
    """
    speakers = sorted({speaker for counts in tables.values() for speaker in counts})
    if not speakers:
        return {name: np.full(resamples, np.nan) for name in tables}
    if len(speakers) == 1:
        tables = {
            name: {d: {d: hits} for of_speaker in counts.values() for d, hits in of_speaker.items()}
            for name, counts in tables.items()
        }
        speakers, pooled = sorted({d for counts in tables.values() for d in counts}), tables.keys()
    chosen = resampled(len(speakers), resamples, "speakers", seed)
    result: dict[str, Vector] = {}
    for name, counts in tables.items():
        present = [column for column, speaker in enumerate(speakers) if counts.get(speaker)]
        hits, replies = _totals({speakers[column]: counts[speakers[column]] for column in present})
        weights = chosen[:, present]
        with np.errstate(invalid="ignore", divide="ignore"):
            result[name] = (
                (weights @ hits) / (weights @ replies)
                if name in pooled
                else (weights @ (hits / replies)) / weights.sum(1)
            )
    return result


def resampled(n: int, resamples: int, *key: str | int) -> npt.NDArray[np.int64]:
    """Return how often each of n things is drawn in each bootstrap sample, shape (resamples, n); a
    function of the key.
    """
    return np.random.default_rng(bits64(*key)).multinomial(n, np.full(n, 1 / n), size=resamples)


def interval(samples: Vector) -> Interval:
    """Return the 2.5 and 97.5 percentiles, resamples without any speaker left out."""
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(finite, [2.5, 97.5])
    return Interval(float(low), float(high))


class Slope(NamedTuple):
    """A slope with its 95 % interval over speakers."""

    value: float
    low: float
    high: float


def calibration_slope(
    model: Counts, human: Counts, *, resamples: int = 2000, seed: int = 0
) -> Slope | None:
    """Return the least-squares slope of the speakers' model rates on their human rates, weighted by
    the model's replies.

    1: each speaker's own rate is met; 0: all speakers are given the same rate. Human rates are
    known from some replies only, which draws the slope towards 0. None where they do not differ.
    """
    shared = [speaker for speaker in model if speaker in human]
    if len(shared) < 3:
        return None
    y_hits, y_n = _totals({s: model[s] for s in shared})
    x_hits, x_n = _totals({s: human[s] for s in shared})
    drawn = resampled(len(shared), resamples, "slope", seed)
    weights = np.vstack([np.ones_like(y_n), drawn]) * y_n
    weights /= weights.sum(1, keepdims=True)
    x, y = (v - (weights @ v)[:, None] for v in (x_hits / x_n, y_hits / y_n))
    spread = (weights * x**2).sum(1)
    if spread[0] <= 1e-12:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes = (weights * x * y).sum(1) / np.where(spread > 1e-12, spread, np.nan)
    return Slope(float(slopes[0]), *interval(slopes[1:]))


def jackknifed(
    speakers: Collection[str], statistic: Callable[[Collection[str]], float]
) -> Interval:
    """Return a 95 % interval of a figure of a body of replies: each speaker is left out once (Tukey
    1958).

    A bootstrap would draw the same reply twice, and twice the same is what such figures count.

    Args:
        statistic: of some speakers' replies.
    """
    names = sorted(speakers)
    n = len(names)
    if n < 3:
        return Interval(float("nan"), float("nan"))
    without = np.asarray([statistic([s for s in names if s != omitted]) for omitted in names])
    deviation = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
    centre = statistic(names)
    return Interval(centre - 1.96 * deviation, centre + 1.96 * deviation)
