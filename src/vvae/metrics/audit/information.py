"""What z could tell a decoder, dimension by dimension, whatever encoder read it.

Three figures, from the loosest to the one that a decoder can use, in nats:

    r H(z_k)    at most so much can z_k say of a reply on average: how often it is observed times
                the entropy of its values. An encoder that names things at random has it, too
    U_k         log p(x | c, z) - log p(x | c, z with z_k redrawn from the prior), where z_k was
                observed: what the value is worth to a language model that is only told z. Trained
                decoders learn more; an encoder whose values are worth nothing here has, as a rule,
                read nothing that is in the reply
    agreement   how often what is read in a held-out reply is what the speaker's profile says,
                beside what it would be if values came from the prior: whether the dimension is a
                trait of people at all

(This project's test; U_k is an expected log-likelihood ratio and not a mutual information.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from vvae.core.dialogue import Pair
from vvae.core.text import estimated_tokens
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import HELD, DimensionPrior, Prior
from vvae.latent.profile import Profile
from vvae.metrics.audit.scores import Interval
from vvae.metrics.bootstrap import interval, resampled

__all__ = [
    "entropy",
    "information",
    "information_of_axes",
    "per_token",
    "profile_worth",
    "redrawn",
]

LEAST = 10
"""Replies that a figure with an interval must rest on."""


class Information(TypedDict):
    """What one dimension can tell."""

    rate: float
    """r: share of the training replies in which it was observed."""
    entropy: float
    """H of the observed values, in nats."""
    bound: float
    """r H, in nats a reply."""
    n: int
    """Held-out replies with a value whose likelihood was measured."""
    changed: int
    """Those of them whose redraw came out as another value: the others are worth nothing whatever
    the decoder does, so that U of a dimension with one common value is small."""
    used: Interval
    """U_k, in nats a reply that has a value."""
    profiled: int
    """Held-out replies with a value whose speaker's profile has one."""
    agreement: Interval
    chance: float | None


class AxisInformation(TypedDict):
    """What all dimensions of an axis tell together."""

    rate: float
    """Share of the held-out replies in which any of them was observed."""
    n: int
    used: Interval
    """log p(x | c, z) - log p(x | c, z with all of them redrawn), in nats a reply that has one."""


def entropy(counted: DimensionPrior) -> float:
    """Return the entropy of the observed values in nats; 0 without any.

    >>> round(entropy(DimensionPrior({"friend": 1, "lover": 1}, nulls=5)), 4)
    0.6931
    """
    n = counted.observed
    return sum(c / n * math.log(n / c) for c in counted.counts.values() if c) if n else 0.0


def redrawn(persona: Persona, dimension: str, prior: Prior, *, key: str, seed: int = 0) -> Persona:
    """Return a persona with one value drawn anew from the prior, or null where that has none; it
    may come out the same.
    """
    value = prior[dimension].draw("redrawn", seed, key, dimension)
    others = persona.without(dimension)
    return others if value is None else others.with_slots({dimension: Slot(value, "sampled")})


def information(
    prior: Prior,
    gains: Mapping[str, Mapping[str, float]],
    changed: Mapping[str, int],
    pairs: Sequence[Pair],
    personas: Mapping[str, Persona],
    profiles: Mapping[str, Profile],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Information]:
    """Return what each dimension of the prior can tell.

    Args:
        gains: dimension -> pair id -> log p(x | c, z) - log p(x | c, z with it redrawn), in nats.
        changed: dimension -> how many of these redraws came out as another value.
        pairs: held-out pairs; the intervals resample their speakers.
        personas: pair id -> z read.
        profiles: by speaker, from training replies.
    """
    speaker_of = {pair.pair_id: pair.speaker for pair in pairs}
    table: dict[str, Information] = {}
    for dimension, counted in prior.dimensions.items():
        worth = [(speaker_of[pair_id], gain) for pair_id, gain in gains[dimension].items()]
        agreed, chances = [], []
        for pair in pairs:
            read = personas[pair.pair_id].value(dimension) if pair.pair_id in personas else None
            profile = profiles.get(pair.speaker)
            if read is None or profile is None:
                continue
            own = profile.persona(pair.listener).value(dimension)
            if own is None:
                continue
            agreed.append((pair.speaker, float(read == own)))
            chances.append(counted.counts.get(own, 0) / max(counted.observed, 1))
        h = entropy(counted)
        table[dimension] = {
            "rate": round(counted.rate, 4),
            "entropy": round(h, 4),
            "bound": round(counted.rate * h, 4),
            "n": len(worth),
            "changed": changed[dimension],
            "used": _mean(worth, resamples, dimension, seed),
            "profiled": len(agreed),
            "agreement": _mean(agreed, resamples, dimension, seed),
            "chance": round(sum(chances) / len(chances), 4) if chances else None,
        }
    return table


def information_of_axes(
    gains: Mapping[str, Mapping[str, float]],
    pairs: Sequence[Pair],
    personas: Mapping[str, Persona],
    axes: Mapping[str, Sequence[str]],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, AxisInformation]:
    """Return what the values of each axis tell together.

    Args:
        gains: axis -> pair id -> log p(x | c, z) less the same with all its values redrawn.
        pairs: held-out pairs; the intervals resample their speakers.
        personas: pair id -> z read.
        axes: axis -> its dimensions.
    """
    speaker_of = {pair.pair_id: pair.speaker for pair in pairs}
    read = [personas[pair.pair_id] for pair in pairs if pair.pair_id in personas]
    return {
        axis: {
            "rate": round(sum(any(z[n] for n in names) for z in read) / max(1, len(read)), 4),
            "n": len(gains[axis]),
            "used": _mean(
                [(speaker_of[pair_id], gain) for pair_id, gain in gains[axis].items()],
                resamples,
                axis,
                seed,
            ),
        }
        for axis, names in axes.items()
    }


def _mean(rows: Sequence[tuple[str, float]], resamples: int, dimension: str, seed: int) -> Interval:
    """Return the mean over replies, with its interval where whole speakers are drawn."""
    if len(rows) < LEAST:
        return {"value": None, "low": None, "high": None}
    sums: dict[str, list[float]] = {}
    for speaker, value in rows:
        of_speaker = sums.setdefault(speaker, [0.0, 0.0])
        of_speaker[0] += value
        of_speaker[1] += 1
    totals = np.asarray([sums[speaker] for speaker in sorted(sums)])
    drawn = resampled(len(totals), resamples, "information", dimension, seed) @ totals
    low, high = interval(drawn[:, 0] / drawn[:, 1])
    value = totals[:, 0].sum() / totals[:, 1].sum()
    return {"value": round(float(value), 4), "low": round(low, 4), "high": round(high, 4)}


def profile_worth(corpus: EncodedCorpus, speakers: Sequence[str]) -> dict[str, float]:
    """Return by dimension what knowing the speaker tells of what is read in a held-out reply, in
    nats a reply:

        E[log p(z_k|s) - log p(z_k)]

    where null is a value, too: whether anything is read at all (a speaker's rate is held towards
    the prior's by `HELD` replies), and which value (p(v|s): `DimensionPrior.shrunk`). As p(z_k|s)
    is estimated, it is so much or more that a profile could tell.
    """
    read: dict[str, list[Persona]] = {speaker: [] for speaker in speakers}
    for pair in corpus.pairs:
        if pair.split == "heldout" and pair.speaker in read:
            read[pair.speaker].append(corpus.posteriors[pair.pair_id])
    n = max(1, sum(map(len, read.values())))
    known = [(own, read[s]) for s in read if (own := corpus.speaker_priors.get(s)) is not None]
    return {
        name: round(
            max(
                0.0,
                sum(
                    _told(corpus.prior[name], own[name], [z.value(name) for z in of_speaker])
                    for own, of_speaker in known
                ),
            )
            / n,
            4,
        )
        for name in corpus.space.names
    }


def _told(prior: DimensionPrior, own: DimensionPrior, read: Sequence[str | None]) -> float:
    """The sum of log p(z_k|s) - log p(z_k) over what was read in a speaker's replies."""
    held, rate = prior.shrunk(own), (own.observed + HELD * prior.rate) / (own.total + HELD)
    told = 0.0
    for value in read:
        if 0 < prior.rate < 1:
            shown = value is not None
            told += math.log(rate / prior.rate if shown else (1 - rate) / (1 - prior.rate))
        if value is not None and (p := prior.share(value)):
            told += math.log(held.share(value) / p)
    return told


def per_token(worth: Mapping[str, float], replies: Sequence[str]) -> float:
    """Return what knowing the speaker tells of all dimensions together, in nats a token of the
    replies (tokens estimated).
    """
    tokens = sum(map(estimated_tokens, replies))
    return sum(worth.values()) * len(replies) / tokens if tokens else 0.0
