"""Statistics of association: contingency tables, logistic regression, AUC, corrections for many
tests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vvae.core.random import bits64

__all__ = [
    "FEW",
    "Association",
    "Shift",
    "association",
    "auc",
    "benjamini_hochberg",
    "cramers_v",
    "holm",
    "logistic",
    "mutual_information",
    "permuted",
    "shift",
]

Vector = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
FEW = 50
"""Below so many observations nothing is said."""


def logistic(x: Vector, y: Vector, *, ridge: float = 1.0, steps: int = 25) -> Vector:
    """Return ridge logistic regression's coefficients, intercept first, by Newton's method."""
    design = np.column_stack([np.ones(len(x)), x])
    penalty = ridge * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    beta = np.zeros(design.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (y - p) - penalty @ beta
        hessian = (design * (p * (1 - p))[:, None]).T @ design + penalty
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(beta)), gradient)
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    return beta


def auc(score: Vector, y: Vector) -> float:
    """Return the area under the ROC curve: P(score of a positive > score of a negative).

    Ties count half. It is nan where all of `y` are equal.
    """
    ordered = np.sort(score)
    ranks = (
        np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right") + 1
    ) / 2
    positives = y.sum()
    negatives = len(y) - positives
    if not positives or not negatives:
        return float("nan")
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


class Association(NamedTuple):
    """An association of two dimensions, on replies that show both."""

    n: int
    v: float
    """Bias-corrected Cramer's V."""
    nmi: float
    """Mutual information over the mean of the entropies."""
    p: float


def cramers_v(table: Vector) -> float:
    """Return the bias-corrected Cramer's V of a contingency table (Bergsma 2013).

    It is 0 for independence and at most 1.
    """
    n, rows, columns = table.sum(), *table.shape
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / n
    phi = float(((table - expected) ** 2 / expected).sum()) / n
    phi = max(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
    rows, columns = rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)
    smallest = min(rows, columns) - 1
    return math.sqrt(phi / smallest) if smallest > 0 else 0.0


def mutual_information(table: Vector) -> float:
    """Return the mutual information of a contingency table over the mean of the entropies, in [0,
    1].
    """
    joint = table / table.sum()
    left, right = joint.sum(1), joint.sum(0)
    positive = joint > 0
    shared = float(
        (joint[positive] * np.log(joint[positive] / np.outer(left, right)[positive])).sum()
    )
    entropies = sum(float(-(p[p > 0] * np.log(p[p > 0])).sum()) for p in (left, right))
    return max(0.0, 2 * shared / entropies) if entropies > 0 else 0.0


def association(
    a: Sequence[str],
    b: Sequence[str],
    *,
    within: Sequence[str] | None = None,
    permutations: int = 999,
    tail: bool = False,
    seed: int = 0,
) -> Association | None:
    """Return how two lists of values go together; None for too few, or where one does not vary.

    Values seen fewer than five times are one. The p-value is of chi-squared under permutation of
    one list.

    Args:
        within: of each place the group that its value stays in when it is permuted.
        tail: where no permutation comes near, p is that of a chi-squared variable with the mean and
            variance of the permuted ones (Satterthwaite 1946), so that it can be corrected for
            hundreds of tests.
    """
    x, y = _codes(a), _codes(b)
    rows, columns = x.max(initial=0) + 1, y.max(initial=0) + 1
    if len(a) < FEW or rows < 2 or columns < 2:
        return None

    def table(codes: Codes) -> Vector:
        return (
            np.bincount(x * columns + codes, minlength=rows * columns)
            .reshape(rows, columns)
            .astype(float)
        )

    observed = table(y)
    expected = observed.sum(1, keepdims=True) * observed.sum(0, keepdims=True) / len(a)
    chi = float(((observed - expected) ** 2 / expected).sum())
    rng = np.random.default_rng(bits64("association", seed))
    drawn = np.asarray(
        [
            float(((table(y[order]) - expected) ** 2 / expected).sum())
            for order in permuted(len(y), within, permutations, rng)
        ]
    )
    larger = int((drawn >= chi * (1 - 1e-12)).sum())
    p = (1 + larger) / (1 + permutations)
    if tail and not larger and (spread := float(drawn.var(ddof=1))):
        mean = float(drawn.mean())
        p = min(p, _chi_squared_tail(2 * mean**2 / spread, chi * 2 * mean / spread))
    return Association(len(a), cramers_v(observed), mutual_information(observed), p)


def _chi_squared_tail(freedom: float, x: float) -> float:
    """P(a chi-squared variable > x), by Wilson and Hilferty's (1931) cube root."""
    part = 2 / (9 * freedom)
    return NormalDist().cdf(-((x / freedom) ** (1 / 3) - (1 - part)) / math.sqrt(part))


def permuted(
    n: int, within: Sequence[str] | None, permutations: int, rng: np.random.Generator
) -> Iterator[Codes]:
    """Yield permutations of n places; `within` names the group that each place's value stays in."""
    if within is None:
        yield from (rng.permutation(n) for _ in range(permutations))
        return
    groups = np.unique(np.asarray(within), return_inverse=True)[1]
    by_group = np.argsort(groups, kind="stable")
    for _ in range(permutations):
        shuffled = np.lexsort((rng.random(n), groups))  # by group, in random order within
        order = np.empty(n, dtype=np.int64)
        order[by_group] = shuffled
        yield order


class Shift(NamedTuple):
    """How much more of a label is in replies in which it was set, in standard deviations."""

    n: int
    shift: float
    p: float


def shift(
    set_to: Sequence[int],
    scores: Vector,
    within: Sequence[str],
    *,
    permutations: int = 999,
    seed: int = 0,
) -> Shift | None:
    """Return by how much the score of the label that was set is higher than those that the same
    label has where others were set, in its standard deviations; None for too few.

    A continuous reading: it sees what a threshold does not. Two-sided p by permutation of what was
    set within contexts, in each of which every label is set.

    Args:
        set_to: of each reply the number of the label that was set.
        scores: what the encoder gives each label in it, shape (replies, labels).
        within: of each reply its context.
    """
    labels = np.asarray(set_to)
    if len(labels) < FEW or len(set(set_to)) < 2:
        return None
    spread = scores.std(0)
    spread[spread == 0] = 1.0
    standard = (scores - scores.mean(0)) / spread
    rows = np.arange(len(labels))

    def of(order: Codes) -> float:
        return float(standard[rows, labels[order]].mean())

    observed = of(rows)
    rng = np.random.default_rng(bits64("shift", seed))
    larger = sum(
        abs(of(order)) >= abs(observed) - 1e-12
        for order in permuted(len(labels), within, permutations, rng)
    )
    kinds = len(set(set_to))
    # The mean over a label's replies and the others' is 0, so the others' part of it is added.
    return Shift(len(labels), observed * kinds / (kinds - 1), (1 + larger) / (1 + permutations))


def _codes(values: Sequence[str]) -> Codes:
    """Values as numbers; rare ones share one."""
    counts = Counter(values)
    code_of = {value: i for i, value in enumerate(sorted(v for v, n in counts.items() if n >= 5))}
    codes = [code_of.get(value, len(code_of)) for value in values]
    return np.unique(np.asarray(codes, dtype=np.int64), return_inverse=True)[1].astype(np.int64)


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted to control the false discovery rate (Benjamini & Hochberg 1995), in
    the order given.
    """
    order = sorted(range(len(p)), key=lambda i: -p[i])
    adjusted, smallest = [0.0] * len(p), 1.0
    for rank, i in enumerate(order):
        smallest = min(smallest, p[i] * len(p) / (len(p) - rank))
        adjusted[i] = smallest
    return adjusted


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979), in the order given."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted
