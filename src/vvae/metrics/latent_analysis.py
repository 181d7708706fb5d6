"""The questions asked of z: is a prior dominated by one value, are nulls missing completely at
random, are dimensions independent, do traits last. Pure functions of pairs and the personas read
from them; values that were sampled are never looked at, since they are independent by
construction.

Permutation p-values are (1 + permutations at least as extreme) / (1 + permutations).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from vvae.core.dialogue import Dialogue, Pair
from vvae.core.random import bits64, shuffled
from vvae.core.text import words
from vvae.latent.persona import Persona
from vvae.latent.prior import DimensionPrior, Prior
from vvae.latent.space import Dimension, LatentSpace
from vvae.metrics.association import FEW, association, auc, holm, logistic
from vvae.metrics.bootstrap import interval, resampled

__all__ = [
    "FEATURES",
    "analyze",
    "consistency",
    "describe_prior",
    "dialogue_topics",
    "drift",
    "kl_to_prior",
    "missingness",
    "orthogonality",
]

Vector = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
MANY, FEWER = 10_000, 199
"""Replies from which on there are fewer permutations."""
DOMINANT = 0.5
"""A value with more than this share of the observed ones dominates: sampling mostly draws it."""
PARTS = 5
"""Of a dialogue, for its course."""
FEATURES = ("log words", "question", "position", "turns before", "one message")


# --- the prior ------------------------------------------------------------------------------------


class PriorShape(TypedDict):
    """How spread the values of a dimension are; entropy in bits, evenness its share of the most
    there can be.
    """

    values: int
    observed: int
    rate: float
    entropy: float | None
    evenness: float | None
    top: list[str | float] | None
    """The most frequent value and its share."""
    dominated: NotRequired[bool]


class KL(TypedDict):
    """KL(q || p) of a reply in nats, in all and by dimension; and values unknown to the prior."""

    nats: float | None
    by_dimension: dict[str, float | None]
    unseen: dict[str, int]


class Missingness(TypedDict):
    """Rates of null in parts of the replies, and whether observables tell where it is null."""

    rate: float
    by_length: list[float | None]
    by_position: list[float | None]
    by_topic: dict[str, float]
    speakers: list[float] | None
    """The 5th, 50th and 95th percentile of speakers' rates."""
    auc: float | None
    p: float | None
    coefficients: dict[str, float] | None


class AssociationRow(TypedDict):
    """Two dimensions on the replies that show both; `within` one axis or across two."""

    a: str
    b: str
    within: bool
    n: int
    v: NotRequired[float]
    nmi: NotRequired[float]
    p: NotRequired[float]
    p_holm: NotRequired[float]


class AssociationMean(TypedDict):
    """The mean association of some pairs of dimensions."""

    v: float | None
    nmi: float | None
    pairs: int


class Orthogonality(TypedDict):
    """Associations of all pairs of dimensions, and their means ``within`` and ``across`` axes."""

    pairs: list[AssociationRow]
    means: dict[str, AssociationMean]


class Drift(TypedDict):
    """The shares of a dimension's labels in each fifth of a dialogue."""

    n: int
    labels: list[str]
    shares: list[list[float]]
    distance: float
    p: float


class Consistency(TypedDict):
    """How often two replies of one speaker show the same value, beside chance."""

    speakers: int
    observed: int
    same: float
    low: float
    high: float
    chance: float


class Analysis(TypedDict):
    """The contents of analysis.json."""

    replies: int
    encoder: str
    prior: dict[str, PriorShape]
    kl: KL
    missingness: dict[str, Missingness]
    orthogonality: Orthogonality
    drift: dict[str, Drift]
    consistency: dict[str, Consistency]
    populations: NotRequired[dict[str, Any]]
    """Two groups of speakers, where they were compared."""


def describe_prior(prior: DimensionPrior) -> PriorShape:
    """Return the entropy in bits and as a share of the largest possible one, the most frequent
    value and whether it dominates.
    """
    counts = np.asarray([n for _, n in prior.ordered], dtype=float)
    if not len(counts):
        return {
            "values": 0,
            "observed": 0,
            "rate": prior.rate,
            "entropy": None,
            "evenness": None,
            "top": None,
        }
    p = counts / counts.sum()
    entropy = float(-(p * np.log2(p)).sum())
    return {
        "values": len(counts),
        "observed": int(counts.sum()),
        "rate": round(prior.rate, 4),
        "entropy": round(entropy, 4),
        "evenness": round(entropy / math.log2(len(counts)), 4) if len(counts) > 1 else None,
        "top": [prior.ordered[0][0], round(float(p[0]), 4)],
        "dominated": bool(p[0] > DOMINANT),
    }


def kl_to_prior(personas: Iterable[Persona], prior: Prior, space: LatentSpace) -> KL:
    """Return KL(q || p) of a reply, in nats: the constant term of the bound.

    q is certain of an observed value, which contributes -log p(value); a null is drawn from the
    prior itself and contributes nothing. No parameter of the decoder occurs in it.
    """
    total, n = dict.fromkeys(space.names, 0.0), 0
    logs = {
        name: {
            value: math.log(prior[name].total - prior[name].nulls) - math.log(count)
            for value, count in ordered
        }
        for name in space.names
        if (ordered := prior[name].ordered)
    }
    unseen: Counter[str] = Counter()
    for persona in personas:
        n += 1
        for name, slot in persona:
            if slot.source == "observed" and name in total:
                known = logs.get(name, {}).get(slot.value)
                if known is None:
                    unseen[name] += 1
                else:
                    total[name] += known
    by_dimension = {name: round(value / n, 4) if n else None for name, value in total.items()}
    return {
        "nats": round(sum(total.values()) / n, 4) if n else None,
        "by_dimension": by_dimension,
        "unseen": dict(unseen),
    }


# --- missing completely at random? ----------------------------------------------------------------


def _last_turns(dialogues: Mapping[str, Dialogue]) -> dict[str, int]:
    """The id of each dialogue's last turn, at least 1."""
    return {name: max(1, dialogue.turns[-1].id) for name, dialogue in dialogues.items()}


def _observables(pairs: Sequence[Pair], dialogues: Mapping[str, Dialogue]) -> Vector:
    """What is known of a reply without reading it for traits, standardised, shape (len(pairs),
    len(FEATURES)).
    """
    last = _last_turns(dialogues)
    rows = [
        (
            math.log1p(len(words(pair.response))),
            "?" in pair.response or "？" in pair.response,
            pair.turn / last[pair.dialogue],
            math.log1p(pair.turn - pair.window),
            "\n" not in pair.response,
        )
        for pair in pairs
    ]
    x = np.asarray(rows, dtype=float)
    deviation = x.std(0)
    return np.asarray((x - x.mean(0)) / np.where(deviation > 0, deviation, 1.0))


def missingness(
    pairs: Sequence[Pair],
    personas: Mapping[str, Persona],
    dialogues: Mapping[str, Dialogue],
    dimension: str,
    *,
    topics: Mapping[str, str] | None = None,
    permutations: int = 99,
    seed: int = 0,
) -> Missingness:
    """Return the rates of null by length, position and topic, their spread over speakers, and
    whether they depend on observables.

    A logistic model of null on `FEATURES` is fitted on half of the dialogues and scored by AUC on
    the other half; the p-value comes from models fitted on shuffled labels. An AUC of 0.5 is what
    missing completely at random would give; more refutes that alone. Whether nulls depend on the
    value that is missing cannot be seen in what is observed (Rubin 1976).

    Args:
        topics: dialogue -> what it is about.
    """
    null = np.asarray([personas[p.pair_id][dimension] is None for p in pairs], dtype=float)
    length = np.asarray([len(words(p.response)) for p in pairs], dtype=float)
    x = _observables(pairs, dialogues)
    position, bins = ((PARTS * _rank(of)).astype(np.int64) for of in (x[:, 2], length))
    by_speaker: dict[str, list[float]] = defaultdict(list)
    for pair, missing in zip(pairs, null, strict=True):
        by_speaker[pair.speaker].append(missing)
    speakers = [float(np.mean(own)) for own in by_speaker.values() if len(own) >= FEW]
    result: Missingness = {
        "rate": round(float(null.mean()), 4),
        "by_length": _means(null, bins),
        "by_position": _means(null, position),
        "by_topic": _by_topic(pairs, null, topics or {}),
        "speakers": [round(float(q), 4) for q in np.percentile(speakers, [5, 50, 95])]
        if speakers
        else None,
        "auc": None,
        "p": None,
        "coefficients": None,
    }
    fitted = np.asarray([bits64("half", seed, pair.dialogue) & 1 for pair in pairs], dtype=bool)
    some = min(null.sum(), len(null) - null.sum()) >= FEW
    if not some or any(len(np.unique(half)) < 2 for half in (null[fitted], null[~fitted])):
        return result
    beta = logistic(x[fitted], null[fitted])
    value = auc(x[~fitted] @ beta[1:], null[~fitted])
    rng = np.random.default_rng(bits64("shuffled labels", seed, dimension))
    shuffles = []
    for _ in range(permutations):
        y = rng.permutation(null)
        shuffles.append(auc(x[~fitted] @ logistic(x[fitted], y[fitted])[1:], y[~fitted]))
    p = (1 + sum(s >= value for s in shuffles)) / (1 + permutations)
    named = dict(zip(FEATURES, (round(float(b), 3) for b in beta[1:]), strict=True))
    result |= {"auc": round(value, 4), "p": round(p, 4), "coefficients": named}
    return result


def _by_topic(pairs: Sequence[Pair], null: Vector, topics: Mapping[str, str]) -> dict[str, float]:
    """The rate of each topic that has enough replies, lowest first."""
    own: dict[str, list[float]] = defaultdict(list)
    for pair, missing in zip(pairs, null, strict=True):
        if topic := topics.get(pair.dialogue):
            own[topic].append(missing)
    rates = {
        topic: round(float(np.mean(values)), 4)
        for topic, values in own.items()
        if len(values) >= FEW
    }
    return dict(sorted(rates.items(), key=lambda item: item[1]))


def dialogue_topics(
    pairs: Sequence[Pair], personas: Mapping[str, Persona], dimension: str
) -> dict[str, str]:
    """Return dialogue -> the value of a dimension that is read most often in it."""
    counts_of: dict[str, Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        if slot := personas[pair.pair_id][dimension]:
            counts_of[pair.dialogue][slot.value] += 1
    return {
        dialogue: min(counts, key=lambda value: (-counts[value], value))
        for dialogue, counts in counts_of.items()
    }


def _means(values: Vector, part: Codes) -> list[float | None]:
    """The mean of each part, None of an empty one."""
    own = (values[part == k] for k in range(PARTS))
    return [round(float(some.mean()), 4) if len(some) else None for some in own]


def _rank(values: Vector) -> Vector:
    """Ranks in [0, 1), ties together."""
    return np.asarray(np.searchsorted(np.sort(values), values, side="left") / len(values))


# --- independent dimensions? ----------------------------------------------------------------------


def orthogonality(
    personas: Iterable[Persona],
    space: LatentSpace,
    *,
    speakers: Sequence[str] | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> Orthogonality:
    """Return the association of every two dimensions on replies that show both, and the means
    within and across axes.

    Args:
        speakers: who wrote each reply; values are then permuted among the replies of one speaker,
            so that p does not count that people have habits of both.
    """
    observed = [persona.only("observed") for persona in personas]
    whose = speakers or [""] * len(observed)
    pairs: list[AssociationRow] = []
    for first, second in combinations(space.dimensions, 2):
        values = [
            (a.value, b.value, speaker)
            for p, speaker in zip(observed, whose, strict=True)
            if (a := p[first.name]) and (b := p[second.name])
        ]
        result = association(
            [a for a, *_ in values],
            [b for _, b, _ in values],
            within=[speaker for *_, speaker in values] if speakers else None,
            permutations=permutations if len(values) < MANY else min(FEWER, permutations),
            tail=True,
            seed=seed,
        )
        row: AssociationRow = {
            "a": first.name,
            "b": second.name,
            "within": first.axis == second.axis,
            "n": len(values),
        }
        if result:
            row |= {"v": round(result.v, 4), "nmi": round(result.nmi, 4), "p": round(result.p, 4)}
        pairs.append(row)
    tested = [row for row in pairs if "p" in row]
    for row, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = round(adjusted, 4)
    means: dict[str, AssociationMean] = {}
    for name, within in (("within", True), ("across", False)):
        own = [row for row in pairs if row["within"] is within and "v" in row]
        means[name] = {
            "v": round(float(np.mean([row["v"] for row in own])), 4) if own else None,
            "nmi": round(float(np.mean([row["nmi"] for row in own])), 4) if own else None,
            "pairs": len(own),
        }
    return {"pairs": pairs, "means": means}


# --- do traits last? ------------------------------------------------------------------------------


def drift(
    pairs: Sequence[Pair],
    personas: Mapping[str, Persona],
    dialogues: Mapping[str, Dialogue],
    dimension: str,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> Drift | None:
    """Return the distribution of a dimension in each fifth of a dialogue, and whether the first
    differs from the last.

    The distance is total variation; places are permuted within dialogues. None for too few
    observations.
    """
    last = _last_turns(dialogues)
    observations = [(p, slot.value) for p in pairs if (slot := personas[p.pair_id][dimension])]
    if len(observations) < FEW:
        return None
    labels = sorted({value for _, value in observations})
    place = {label: i for i, label in enumerate(labels)}
    part = np.asarray(
        [min(PARTS - 1, PARTS * p.turn // (last[p.dialogue] + 1)) for p, _ in observations]
    )
    code = np.asarray([place[value] for _, value in observations])
    groups: dict[str, list[int]] = defaultdict(list)
    for i, (pair, _) in enumerate(observations):
        groups[pair.dialogue].append(i)

    def shares(where: Codes) -> Vector:
        table = np.zeros((PARTS, len(labels)))
        np.add.at(table, (where, code), 1)
        return np.asarray(table / np.maximum(table.sum(1, keepdims=True), 1))

    def distance(table: Vector) -> float:
        return float(np.abs(table[0] - table[-1]).sum() / 2)

    table = shares(part)
    rng = np.random.default_rng(bits64("drift", seed, dimension))
    at_least = 0
    for _ in range(permutations):
        moved = part.copy()
        for members in groups.values():
            if len(members) > 1:
                moved[members] = rng.permutation(part[members])
        at_least += distance(shares(moved)) >= distance(table) - 1e-12
    return {
        "n": len(observations),
        "labels": labels,
        "shares": [[round(float(s), 4) for s in row] for row in table],
        "distance": round(distance(table), 4),
        "p": round((1 + at_least) / (1 + permutations), 4),
    }


def consistency(
    pairs: Sequence[Pair],
    personas: Mapping[str, Persona],
    dimension: Dimension,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Consistency | None:
    """Return how often two replies of one speaker, in different dialogues, show the same value,
    beside chance.

    Chance is the same of two replies of anybody. Speakers count by their replies, at most 200 each;
    the interval is a bootstrap over speakers. None where nobody shows the dimension twice.
    """
    name = dimension.name
    own: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    everybody: Counter[str] = Counter()
    for pair in pairs:
        if slot := personas[pair.pair_id][name]:
            key = (
                f"{pair.speaker}\x1f{','.join(sorted(pair.listeners))}"
                if dimension.scope == "pair"
                else pair.speaker
            )
            own[key][pair.dialogue].append(slot.value)
            everybody[slot.value] += 1
    total = everybody.total()
    if total < FEW:
        return None
    rows = []
    for key in sorted(own):
        values = [
            (dialogue, value) for dialogue, of_dialogue in own[key].items() for value in of_dialogue
        ]
        chosen = shuffled(
            values, "consistency", seed, key, name=[f"{i}" for i in range(len(values))]
        )[:200]
        couples = [(a, b) for (d, a), (e, b) in combinations(chosen, 2) if d != e]
        if couples:
            rows.append((sum(a == b for a, b in couples) / len(couples), float(len(chosen))))
    if len(rows) < 2:
        return None
    table = np.asarray(rows)
    chance = sum(n * (n - 1) for n in everybody.values()) / (total * (total - 1))
    weights = resampled(len(rows), resamples, "consistency", seed, name) * table[:, 1]
    spread = interval((weights @ table[:, 0]) / weights.sum(1))
    return {
        "speakers": len(rows),
        "observed": total,
        "same": round(float(np.average(table[:, 0], weights=table[:, 1])), 4),
        "low": round(spread.low, 4),
        "high": round(spread.high, 4),
        "chance": round(chance, 4),
    }


def analyze(
    pairs: Sequence[Pair],
    personas: Mapping[str, Persona],
    dialogues: Mapping[str, Dialogue],
    prior: Prior,
    space: LatentSpace,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> Analysis:
    """Return the answers to all questions asked of z, by dimension where they are of one."""
    in_order = [personas[p.pair_id] for p in pairs]
    topics = dialogue_topics(pairs, personas, "topic") if "topic" in space.by_name else {}
    settings = {"permutations": permutations, "seed": seed}
    return {
        "replies": len(pairs),
        "encoder": prior.encoder,
        "prior": {d.name: describe_prior(prior[d.name]) for d in space.dimensions},
        "kl": kl_to_prior(in_order, prior, space),
        "missingness": {
            d.name: missingness(
                pairs,
                personas,
                dialogues,
                d.name,
                topics=topics,
                permutations=min(99, permutations),
                seed=seed,
            )
            for d in space.dimensions
        },
        "orthogonality": orthogonality(
            in_order, space, speakers=[pair.speaker for pair in pairs], **settings
        ),
        "drift": {
            d.name: result
            for d in space.dimensions
            if d.labels is not None
            and (result := drift(pairs, personas, dialogues, d.name, **settings))
        },
        "consistency": {
            d.name: lasting
            for d in space.dimensions
            if (lasting := consistency(pairs, personas, d, seed=seed))
        },
    }
