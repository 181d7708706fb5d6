"""Silences between messages: where a conversation ends, and until when an answer is one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["Silences"]

Array = npt.NDArray[np.float64]

LEAST_GAP, USUAL_GAP, MOST_GAP = 10 * 60.0, 60 * 60.0, 12 * 3600.0
ENOUGH_GAPS = 50
LIKELY = 1 / 3
ENOUGH_LONG = 20
"""So many silences of an hour or more tell until when an answer is one; a chat with fewer borrows
those of all chats.
"""
BINS_AN_OCTAVE = 4
BINS = 28 * BINS_AN_OCTAVE
"""From one second to eight years."""


class Silences:
    """Two histograms of how long the silences of a chat are, on a logarithmic scale: of those that
    another person broke, and of those that the same person broke.
    """

    def __init__(self) -> None:
        self.changed = [0] * BINS
        self.same = [0] * BINS

    def add(self, seconds: float, *, changed: bool) -> None:
        """Count one silence; `changed` says whether another person broke it."""
        (self.changed if changed else self.same)[_bin(seconds)] += 1

    def threshold(self) -> float:
        """Return the silence, in seconds, after which whoever spoke last begins something new.

        Silences within a conversation and between two are two heaps on a logarithmic scale; the cut
        is where their variance between the two is greatest (Otsu 1979), held between ten minutes
        and twelve hours. With fewer than 50 silences, or all alike: an hour.
        """
        counts = np.array(self.changed, dtype=np.float64) + np.array(self.same)
        if counts.sum() < ENOUGH_GAPS or np.count_nonzero(counts) < 2:
            return USUAL_GAP
        n = counts.cumsum()
        total = counts @ np.arange(BINS)
        below = (counts * np.arange(BINS)).cumsum()
        with np.errstate(divide="ignore", invalid="ignore"):
            between = n * (n[-1] - n) * (below / n - (total - below) / (n[-1] - n)) ** 2
        best = np.nanmax(between)
        cuts = np.flatnonzero(between >= best * (1 - 1e-9))
        edge = float(2 ** ((cuts.mean() + 1) / BINS_AN_OCTAVE))
        return min(max(edge, LEAST_GAP), MOST_GAP)

    def patience(self, chance: float, others: Silences) -> float:
        """Return the silence, in seconds, after which what another person writes is no answer.

        When a conversation is over, whoever begins the next is another person than the last with
        probability b. So S(t) silences of length t that the same person broke tell of
        S(t) b / (1 - b) openings by others; of the C(t) that others broke, the rest are answers.
        The share of answers is made to fall with t (isotonic regression), from an hour on, and the
        cut is where it falls below a third: to miss an answer costs more than to see one too many.
        Held between an hour and twelve hours, and twelve hours where too few silences tell.

        Args:
            chance: b, the probability that two messages drawn at random are of different people.
            others: the silences of all chats, in place of few.
        """
        hour = _bin(3600)
        changed, same = (np.array(part[hour:], float) for part in (self.changed, self.same))
        if changed.sum() + same.sum() < ENOUGH_LONG:
            changed, same = (np.array(part[hour:], float) for part in (others.changed, others.same))
        if changed.sum() + same.sum() < ENOUGH_LONG:
            return MOST_GAP
        openings = np.minimum(changed, same * chance / max(1 - chance, 1e-3))
        over = np.flatnonzero(_falling(changed - openings, changed) < LIKELY)
        edge = 2 ** ((hour + (over[0] if len(over) else BINS)) / BINS_AN_OCTAVE)
        return min(max(float(edge), USUAL_GAP), MOST_GAP)


def _falling(part: Array, whole: Array) -> Array:
    """The shares part / whole of bins, pooled over neighbours until they fall (pool adjacent
    violators).
    """
    pools: list[tuple[float, float, int]] = []
    for p, n in zip(part.tolist(), whole.tolist(), strict=True):
        pools.append((p, n, 1))
        while len(pools) > 1 and pools[-1][0] * pools[-2][1] >= pools[-2][0] * pools[-1][1]:
            (p2, n2, k2), (p1, n1, k1) = pools.pop(), pools.pop()
            pools.append((p1 + p2, n1 + n2, k1 + k2))
    return np.repeat([p / n if n else 0.0 for p, n, _ in pools], [k for *_, k in pools])


def _bin(seconds: float) -> int:
    return min(int(math.log2(seconds) * BINS_AN_OCTAVE), BINS - 1) if seconds > 1 else 0
