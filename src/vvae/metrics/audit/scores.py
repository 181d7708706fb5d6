"""What an audit measures: precision, recall, F1, coverage; Cohen's kappa; with intervals by
dialogue.

With TP the utterances whose value is right, P those with a value, G those that have a right one and
N all labelled
ones: precision TP / P, recall TP / G, F1 their harmonic mean, coverage P / N. Kappa (Cohen 1960)
    counts null as a value of its own; `kappa_both` looks only where both name one. Intervals are 95
    % percentile bootstraps over dialogues.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from vvae.core.text import normal_form
from vvae.latent.persona import Persona
from vvae.latent.sampling import UNREAD
from vvae.latent.space import LatentSpace
from vvae.metrics.association import association
from vvae.metrics.audit.labels import Gold
from vvae.metrics.bootstrap import interval, resampled

__all__ = ["NULL", "against_labels", "agreement"]

NULL = UNREAD
"""Null in a confusion matrix."""
Vector = npt.NDArray[np.float64]
Same = Callable[[str, str], bool]


class Interval(TypedDict):
    """A figure with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


class LabelRow(TypedDict):
    """How one label of a closed dimension is read; predicted and labelled are counts."""

    precision: float | None
    recall: float | None
    predicted: int
    labelled: int


class Nulls(TypedDict):
    """Whether a dimension is left null by what its value is: not missing at random then.

    Sampling nulls from what was read takes them to be missing at random given what is seen. It is
    tested against the labels: of the replies that have a value, is it read as often whatever the
    value is, among replies of about the same length?
    """

    v: float
    """Cramer's V between the right value and whether any was read."""
    p: float
    """By permutation among replies of about the same length."""
    read: dict[str, float]
    """Label -> the share of its replies in which any value was read."""
    distance: float
    """Total variation distance of the values read, which make the prior, from the right ones: 0 to
    1."""


class LabelScores(TypedDict):
    """An encoder's readings of one dimension beside labels."""

    n: int
    dialogues: int
    predicted: int
    labelled: int
    precision: Interval
    recall: Interval
    f1: Interval
    coverage: Interval
    confusion: NotRequired[dict[str, dict[str, int]]]
    """Label -> value read -> replies; empty for an open dimension."""
    labels: NotRequired[dict[str, LabelRow]]
    """Of a closed dimension."""
    nulls: NotRequired[Nulls]
    """Of a closed dimension, where enough replies have a value."""


class Agreement(TypedDict):
    """Two encoders' readings of one dimension."""

    n: int
    both: int
    """Replies in which both read a value."""
    coverage: list[float | None]
    agreement: float | None
    kappa: Interval
    kappa_both: Interval
    confusion: dict[str, dict[str, int]] | None


def against_labels(
    personas: Mapping[str, Persona],
    gold: Mapping[str, Mapping[str, Gold]],
    space: LatentSpace,
    dialogue_of: Mapping[str, str],
    *,
    words_of: Mapping[str, int] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, LabelScores]:
    """Return the scores of each labelled dimension, with its confusion matrix where it is closed.

    Args:
        personas: pair id -> z read; a pair that is not in it was not read and counts as null.
        gold: dimension -> pair id -> right values.
        dialogue_of: pair id -> dialogue, which the bootstrap draws.
        words_of: pair id -> its length in words, among the like of which nulls are compared.
    """
    result: dict[str, LabelScores] = {}
    for name, labels in gold.items():
        rows: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        confusion: Counter[tuple[str, str]] = Counter()
        valued: list[tuple[str, str | None, int]] = []
        present: dict[str, float] = defaultdict(float)
        closed = space.by_name[name].labels is not None
        for pair_id, right in labels.items():
            value = personas[pair_id].value(name) if pair_id in personas else None
            hit = value is not None and any(_same(value, label) for label in right)
            counts = rows[dialogue_of[pair_id]]
            for column, indicator in enumerate((hit, value is not None, bool(right), True)):
                counts[column] += indicator
            if closed:
                # Where several labels are right and none was hit, the first stands for them.
                expected = value if hit and value else min(right) if right else NULL
                confusion[expected, value or NULL] += 1
                if right:  # the first stands for them, whatever was read
                    valued.append((min(right), value, (words_of or {}).get(pair_id, 0)))
                for label in [value] if hit and value else right:  # any that is right will do
                    present[label] += 1 if hit else 1 / len(right)
        table = np.asarray([rows[dialogue] for dialogue in sorted(rows)], dtype=float)
        result[name] = _scores(table, resamples, seed)
        result[name]["confusion"] = _nested(confusion)
        if closed:
            result[name]["labels"] = _by_label(confusion)
            if nulls := _nulls(valued, present, confusion):
                result[name]["nulls"] = nulls
    return result


def _nulls(
    valued: Sequence[tuple[str, str | None, int]],
    present: Mapping[str, float],
    confusion: Counter[tuple[str, str]],
) -> Nulls | None:
    """Whether what the value is tells if it was read.

    Args:
        valued: (right value, value read, words) of each reply that has a value.
        present: how often each label is right.
    """
    lengths = np.asarray([words for *_, words in valued])
    if not len(lengths):
        return None
    strata = np.searchsorted(np.quantile(lengths, (0.2, 0.4, 0.6, 0.8)), lengths)
    found = association(
        [right for right, *_ in valued],
        [str(value is None) for _, value, _ in valued],
        within=[str(stratum) for stratum in strata],
    )
    if found is None:
        return None
    right = Counter(label for label, *_ in valued)
    read = Counter[str]()
    for (_, value), n in confusion.items():
        read[value] += n if value != NULL else 0
    some = Counter(label for label, value, _ in valued if value is not None)
    labels = sorted({*present, *read} - {NULL})
    whole = sum(present.values())
    apart = sum(abs(present.get(x, 0) / whole - read[x] / max(1, read.total())) for x in labels)
    return {
        "v": round(found.v, 4),
        "p": round(found.p, 4),
        "read": {label: round(some[label] / n, 4) for label, n in sorted(right.items())},
        "distance": round(apart / 2, 4),
    }


def _same(a: str, b: str) -> bool:
    return normal_form(a) == normal_form(b)


def _scores(table: Vector, resamples: int, seed: int) -> LabelScores:
    """Of a table of (TP, P, G, N), a row for each dialogue."""
    resampled_totals = resampled(len(table), resamples, "audit", seed) @ table
    point, spread = _rates(table.sum(0)[None]), _rates(resampled_totals)
    precision, recall, f1, coverage = (
        _with_interval(float(value[0]), samples)
        for value, samples in zip(point, spread, strict=True)
    )
    return {
        "n": int(table[:, 3].sum()),
        "dialogues": len(table),
        "predicted": int(table[:, 1].sum()),
        "labelled": int(table[:, 2].sum()),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "coverage": coverage,
    }


def _rates(totals: Vector) -> tuple[Vector, Vector, Vector, Vector]:
    hits, predicted, labelled, n = totals.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits / predicted, hits / labelled, 2 * hits / (predicted + labelled), predicted / n


def _with_interval(value: float, samples: Vector) -> Interval:
    spread = interval(samples)
    if not np.isfinite((value, *spread)).all():
        return {"value": None, "low": None, "high": None}
    return {"value": round(value, 4), "low": round(spread.low, 4), "high": round(spread.high, 4)}


def _nested(confusion: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (row, column), count in sorted(confusion.items()):
        nested.setdefault(row, {})[column] = count
    return nested


def _by_label(confusion: Counter[tuple[str, str]]) -> dict[str, LabelRow]:
    labels = sorted({label for pair in confusion for label in pair} - {NULL})
    result: dict[str, LabelRow] = {}
    for label in labels:
        hits = confusion[label, label]
        predicted = sum(n for (_, column), n in confusion.items() if column == label)
        expected = sum(n for (row, _), n in confusion.items() if row == label)
        result[label] = {
            "precision": round(hits / predicted, 4) if predicted else None,
            "recall": round(hits / expected, 4) if expected else None,
            "predicted": predicted,
            "labelled": expected,
        }
    return result


def agreement(
    first: Mapping[str, Persona],
    second: Mapping[str, Persona],
    space: LatentSpace,
    dialogue_of: Mapping[str, str],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Agreement]:
    """Return how far two encoders agree on the pairs that both read, by dimension."""
    shared = sorted(set(first) & set(second))
    result: dict[str, Agreement] = {}
    for dimension in space.dimensions:
        name = dimension.name
        values = [(p, _form(first[p].value(name)), _form(second[p].value(name))) for p in shared]
        both = [(p, a, b) for p, a, b in values if NULL not in (a, b)]
        confusion = Counter((a, b) for _, a, b in values)
        result[name] = {
            "n": len(values),
            "both": len(both),
            "coverage": [_share(values, 1), _share(values, 2)],
            "agreement": round(sum(a == b for _, a, b in values) / len(values), 4)
            if values
            else None,
            "kappa": _kappa(values, dialogue_of, resamples, seed),
            "kappa_both": _kappa(both, dialogue_of, resamples, seed),
            "confusion": _nested(confusion) if dimension.labels is not None else None,
        }
    return result


def _form(value: str | None) -> str:
    return NULL if value is None else normal_form(value)


def _share(values: Sequence[tuple[str, str, str]], side: int) -> float | None:
    return round(sum(row[side] != NULL for row in values) / len(values), 4) if values else None


def _kappa(
    values: Iterable[tuple[str, str, str]],
    dialogue_of: Mapping[str, str],
    resamples: int,
    seed: int,
) -> Interval:
    """Cohen's kappa with its interval;
    the tables of all resamples are sums of the dialogues' own.
    """
    rows: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for pair_id, a, b in values:
        rows[dialogue_of[pair_id]][a, b] += 1
    names = sorted({value for counter in rows.values() for pair in counter for value in pair})
    if len(names) < 2:
        return {"value": None, "low": None, "high": None}
    place = {name: i for i, name in enumerate(names)}
    agreed = np.asarray(
        [[sum(n for (a, b), n in c.items() if a == b), c.total()] for c in rows.values()],
        dtype=float,
    )
    sides = np.zeros((2, len(rows), len(names)))
    for row, counter in enumerate(rows.values()):
        for (a, b), n in counter.items():
            sides[0, row, place[a]] += n
            sides[1, row, place[b]] += n

    def kappa(weights: Vector) -> Vector:
        hits, n = (weights @ agreed).T
        chance = ((weights @ sides[0]) * (weights @ sides[1])).sum(-1) / n**2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((hits / n - chance) / (1 - chance))

    weights = resampled(len(rows), resamples, "kappa", seed).astype(float)
    return _with_interval(float(kappa(np.ones((1, len(rows))))[0]), kappa(weights))
