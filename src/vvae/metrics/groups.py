"""Do two groups of speakers differ: in what is read in their replies, and in how they write, or are
imitated?

Groups are shuffled over speakers, never over replies: a speaker's replies belong together.
Permutation p-values are (1 + permutations at least as extreme) / (1 + permutations), adjusted by
Benjamini and Hochberg.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vvae.core.dialogue import Pair
from vvae.core.errors import ConfigError, DataError
from vvae.core.random import bits64
from vvae.latent.persona import Persona
from vvae.latent.space import LatentSpace
from vvae.metrics.association import benjamini_hochberg
from vvae.metrics.habits import Yardstick
from vvae.metrics.metric import WrittenReply, metrics_of

__all__ = ["populations", "read_groups"]

Vector = npt.NDArray[np.float64]
LEAST = 3
"""Speakers of a group."""


def read_groups(path: Path, column: str) -> dict[str, str]:
    """Return speaker -> group, from a CSV file with a column ``speaker`` and the one named; empty
    cells are left out.

    Raises:
        DataError: the file cannot be read.
        ConfigError: a column is missing, or does not hold two groups.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"not a CSV file ({error})", where=str(path), fix="give one with a column 'speaker'"
        ) from None
    for name in ("speaker", column):
        if not rows or name not in rows[0]:
            columns = ", ".join(rows[0]) if rows else "none"
            raise ConfigError(f"no column {name!r}", where=str(path), fix=f"its columns: {columns}")
    groups = {row["speaker"]: row[column].strip() for row in rows if (row[column] or "").strip()}
    counts = Counter(groups.values())
    if len(counts) != 2:
        sizes = ", ".join(f"{value} ({n})" for value, n in counts.most_common(8))
        fix = "keep two, and leave the cells of the others empty"
        raise ConfigError(f"{len(counts)} groups in {column!r}: {sizes}", where=str(path), fix=fix)
    return groups


def populations(
    pairs: Sequence[Pair],
    personas: Mapping[str, Persona],
    space: LatentSpace,
    groups: Mapping[str, str],
    written: Mapping[str, Sequence[WrittenReply]],
    *,
    permutations: int = 999,
    seed: int = 0,
) -> dict[str, Any]:
    """Return how the priors and the figures of replies differ between two groups of speakers.

    Args:
        pairs: of the corpus; what is read on the training side is compared, and how people write on
            the other.
        groups: speaker -> group; speakers without one are left out.
        written: variant -> its replies: how the groups are imitated.

    Returns:
        `groups` with their speakers, and rows: `what` (a dimension's values, its observation rate,
        or a figure of replies of people or of a variant), the groups' own figures or the distance
        of their distributions, p and adjusted p.

    Raises:
        DataError: a group has fewer than `LEAST` speakers with replies.
    """
    names = sorted(set(groups.values()))
    train = [p for p in pairs if p.split == "train" and p.speaker in groups]
    speakers = sorted({p.speaker for p in train})
    counted = Counter(groups[s] for s in speakers)
    if min(counted[name] for name in names) < LEAST:
        sizes = ", ".join(f"{name}: {counted[name]}" for name in names)
        raise DataError(
            f"too few speakers with training replies ({sizes})",
            fix=f"{LEAST} of each group are needed",
        )
    row_of = {speaker: i for i, speaker in enumerate(speakers)}
    first = np.asarray([groups[s] == names[0] for s in speakers])
    rng = np.random.default_rng(bits64("populations", seed))
    shuffles = np.stack([first, *(rng.permutation(first) for _ in range(permutations))]).astype(
        float
    )
    rows: list[dict[str, Any]] = []
    for name in space.names:
        values = sorted({slot.value for p in train if (slot := personas[p.pair_id][name])})
        column = {value: i for i, value in enumerate(values)}
        table, replies = np.zeros((len(speakers), len(values))), np.zeros(len(speakers))
        for pair in train:
            replies[row_of[pair.speaker]] += 1
            if slot := personas[pair.pair_id][name]:
                table[row_of[pair.speaker], column[slot.value]] += 1
        if values:
            distances = _distances(shuffles, table)
            distance = round(float(distances[0]), 4)
            rows.append(
                {"what": f"{name}: values", "unit": "", "distance": distance, "p": _p(distances)}
            )
        rates = _differences(shuffles, table.sum(1), replies)
        rows.append(
            {
                "what": f"{name}: observation rate",
                "unit": "%",
                **_two(first, table.sum(1), replies),
                "p": _p(abs(rates)),
            }
        )
    yardstick = Yardstick(pairs, speakers)
    people = [
        WrittenReply(p, p.speaker, p.response)
        for p in pairs
        if p.split == "heldout" and p.speaker in row_of
    ]
    for who, sample in {"people": people, **written}.items():
        own = [reply for reply in sample if reply.pair.speaker in row_of]
        measured = yardstick.measure(own)
        for metric in metrics_of("reply"):
            hits, weights = np.zeros(len(speakers)), np.zeros(len(speakers))
            for reply, figures in zip(own, measured, strict=True):
                value, weight = figures.get(metric.name, (0.0, 0.0))
                hits[row_of[reply.pair.speaker]] += value
                weights[row_of[reply.pair.speaker]] += weight
            if weights[first].any() and weights[~first].any():
                differences = _differences(shuffles, hits, weights)
                rows.append(
                    {
                        "what": f"{who}: {metric.title}",
                        "unit": metric.unit,
                        **_two(first, hits, weights),
                        "p": _p(abs(differences)),
                    }
                )
    for row, adjusted in zip(rows, benjamini_hochberg([row["p"] for row in rows]), strict=True):
        row["p_adjusted"] = round(adjusted, 4)
    replies_of = Counter(groups[p.speaker] for p in train)
    group_sizes = {name: {"speakers": counted[name], "replies": replies_of[name]} for name in names}
    return {"groups": group_sizes, "rows": rows, "permutations": permutations}


def _distances(shuffles: Vector, table: Vector) -> Vector:
    """Total variation between the groups' value distributions, for each assignment of speakers."""
    sums = np.stack([shuffles @ table, (1 - shuffles) @ table])
    with np.errstate(invalid="ignore"):
        shares = sums / sums.sum(-1, keepdims=True)
    return np.asarray(np.nan_to_num(np.abs(shares[0] - shares[1]).sum(-1) / 2))


def _differences(shuffles: Vector, hits: Vector, weights: Vector) -> Vector:
    """Difference of the groups' mean ratios, speakers equal, for each assignment; speakers without
    replies left out.
    """
    there = weights > 0
    ratio = np.divide(hits, weights, out=np.zeros_like(hits), where=there)
    groups = [side * there for side in (shuffles, 1 - shuffles)]
    means = [side @ ratio / np.maximum(side.sum(1), 1) for side in groups]
    return np.asarray(means[0] - means[1])


def _two(first: npt.NDArray[np.bool_], hits: Vector, weights: Vector) -> dict[str, Any]:
    there = weights > 0
    values = [
        float((hits[own & there] / weights[own & there]).mean()) if (own & there).any() else 0.0
        for own in (first, ~first)
    ]
    return {"values": [round(value, 4) for value in values]}


def _p(extremeness: Vector) -> float:
    """The first against all others."""
    return round(float((extremeness >= extremeness[0] - 1e-12).sum() / len(extremeness)), 4)
