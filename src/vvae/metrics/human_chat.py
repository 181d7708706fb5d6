"""HumanChatBench: are a variant's habits as frequent as people's?

Every held-out reply of the benchmark is written anew by each variant under the speaker's profile.
The target is the rate in all held-out replies the same speakers wrote themselves. A deviation is
signed, in percentage
points: plus says too often.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from vvae.core.dialogue import Pair
from vvae.core.random import shuffled
from vvae.decoder.variants import Variant, training_persona
from vvae.latent.persona import Persona
from vvae.latent.prior import DimensionPrior, Prior, SamplingConfig, predicted_rate
from vvae.latent.profile import Profile
from vvae.latent.space import LatentSpace
from vvae.metrics.bootstrap import (
    Counts,
    Hit,
    bootstrap,
    calibration_slope,
    interval,
    rate,
    tabulate,
)
from vvae.metrics.rates import METRICS, emoji_consistency, repetition, shows, spoken_length
from vvae.metrics.tables import Reply

__all__ = ["MEASURABLE", "BenchConfig", "Corpus", "predicted", "score", "swapped_profile"]

TAUGHT_SAMPLE = 20_000
MEASURABLE = 30
"""Human positives below which a rate says nothing on a corpus."""


class BenchConfig(BaseModel):
    """How much is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replies: int = Field(200, ge=1, description="held-out replies written anew by each variant")
    per_speaker: int = Field(15, ge=1, description="at most this many for one speaker")
    known: tuple[str, ...] = Field(
        (), description="only speakers whose profile has these dimensions"
    )
    swapped: int = Field(
        50, ge=0, description="of these, how many also under another speaker's profile"
    )
    losses: int = Field(100, ge=1, description="human replies whose likelihood is measured")
    forced: int = Field(
        40, ge=0, description="human replies on which the phrase's probability is measured"
    )
    resamples: int = Field(2000, ge=100)
    dialogbench: str | None = Field(
        None, description="folder of DialogBench's data: every variant answers it, too"
    )
    dialogbench_items: int | None = Field(
        None, ge=1, description="only so many of each task, a keyed choice"
    )
    read_replies: bool | None = Field(
        None,
        description="read z in the replies written, too; null: where that calls no language model",
    )


@dataclass(frozen=True)
class Corpus:
    """What the benchmark compares with."""

    pairs: Sequence[Pair]
    speakers: Sequence[str]
    profiles: Mapping[str, Profile]
    personas: Mapping[str, Persona]
    """Pair id -> z read from the reply."""
    prior: Prior
    space: LatentSpace
    sampling: SamplingConfig
    imputed: Callable[[Variant, str], Mapping[str, DimensionPrior]]
    """What a variant's nulls are filled from in training, for a speaker."""


def swapped_profile(
    pair: Pair, speakers: Sequence[str], profiles: Mapping[str, Profile], dimension: str
) -> str | None:
    """Another speaker whose value of a dimension differs (a keyed choice); None where there is
    none.
    """
    own = profiles[pair.speaker].persona().value(dimension)
    for other in shuffled(speakers, "swapped profile", pair.pair_id):
        value = profiles[other].persona().value(dimension)
        if other != pair.speaker and value is not None and value != own:
            return other
    return None


def score(
    corpus: Corpus,
    variants: Sequence[Variant],
    replies: Sequence[Reply],
    config: BenchConfig,
    *,
    seed: int,
) -> dict[str, Any]:
    """The benchmark's results: `human`, `variants` and the `primary` comparison of results.json."""
    by_id = {pair.pair_id: pair for pair in corpus.pairs}
    written = {v.name: [r for r in replies if r.variant == v.name] for v in variants}
    own = {
        name: [r for r in rs if r.profile == by_id[r.pair_id].speaker]
        for name, rs in written.items()
    }
    swapped = {
        name: [r for r in rs if r.profile != by_id[r.pair_id].speaker]
        for name, rs in written.items()
    }
    benched = {r.pair_id for rs in own.values() for r in rs}
    human_replies = [by_id[pair_id].response for pair_id in sorted(benched)]
    results: dict[str, Any] = {
        "human": {
            "length": round(spoken_length(human_replies), 2),
            "repetition": round(repetition(human_replies), 4),
        },
        "variants": {v.name: {} for v in variants},
    }
    for name, rs in own.items():
        texts = [r.reply for r in rs]
        results["variants"][name] |= {
            "length": round(spoken_length(texts), 2),
            "repetition": round(repetition(texts), 4),
            "cut": sum(r.finish_reason == "length" for r in rs),
            "n": len(rs),
        }
    speakers = {by_id[pair_id].speaker for pair_id in benched}
    for metric, reader in METRICS.items():
        if not (dimensions := corpus.space.read_by(reader)):
            continue
        dimension = dimensions[0].name
        values = _profile_values(corpus, dimension)
        human = tabulate(
            Hit(p.speaker, p.dialogue, shows(metric, values[p.speaker], p.response))
            for p in corpus.pairs
            if p.split == "heldout" and p.speaker in values and p.speaker in speakers
        )
        positives = sum(h for dialogues in human.values() for h, _ in dialogues.values())
        target = rate(human)
        results["human"][metric] = {
            "rate": _rounded(target),
            "positives": positives,
            "replies": sum(n for dialogues in human.values() for _, n in dialogues.values()),
            "speakers": len(human),
            "measurable": positives >= MEASURABLE,
            "observation_rate": _rounded(corpus.prior[dimension].rate),
        }
        tables = {
            name: tabulate(
                Hit(
                    by_id[r.pair_id].speaker,
                    by_id[r.pair_id].dialogue,
                    shows(metric, values[r.profile], r.reply),
                )
                for r in rs
                if r.profile in values
            )
            for name, rs in own.items()
        }
        samples = bootstrap({"human": human, **tables}, resamples=config.resamples, seed=seed)
        results["human"][metric] |= dict(
            zip(("low", "high"), map(_rounded, interval(samples["human"])), strict=True)
        )
        for variant in variants:
            counts = tables[variant.name]
            spread = interval(samples[variant.name] - samples["human"])
            results["variants"][variant.name][metric] = {
                "rate": _rounded(rate(counts)),
                "target": _rounded(target),
                "deviation": _points(rate(counts) - target),
                "low": _points(spread.low),
                "high": _points(spread.high),
                "n": sum(n for dialogues in counts.values() for _, n in dialogues.values()),
                "predicted": predicted(variant, corpus, dimension),
                "in_training": _in_training(variant, corpus, metric, dimension, seed),
                "slope": _rounded(calibration_slope(counts, human)),
                "swapped": _swapped(metric, swapped[variant.name], by_id, values),
            }
        if metric == "CP":
            results["primary"] = _primary(variants, tables, samples, target)
    if emoji := corpus.space.read_by("emoji"):
        ranked = {
            s: [v.value for v in p.values.get(emoji[0].name, ())]
            for s, p in corpus.profiles.items()
        }
        people = [(by_id[i].response, ranked[by_id[i].speaker]) for i in sorted(benched)]
        results["human"]["emoji_consistency"] = emoji_consistency(people)
        for name, rs in own.items():
            shown = ((r.reply, ranked[by_id[r.pair_id].speaker]) for r in rs)
            results["variants"][name]["emoji_consistency"] = emoji_consistency(shown)
    return results


def _profile_values(corpus: Corpus, dimension: str) -> dict[str, str]:
    """Benchmarked speaker -> first-ranked value;
    speakers whose profile is null there do not count.
    """
    values = (
        (speaker, corpus.profiles[speaker].persona().value(dimension))
        for speaker in corpus.speakers
    )
    return {speaker: value for speaker, value in values if value is not None}


def _taught(variant: Variant, dimension: str) -> bool:
    """Whether a variant is shown a dimension in training."""
    return (
        variant.trained
        and variant.shows_slots
        and (variant.dimensions is None or dimension in variant.dimensions)
    )


def predicted(variant: Variant, corpus: Corpus, dimension: str) -> float | None:
    """The rate at which a variant trained to convergence shows a dimension's value; None where
    nothing is predicted.
    """
    if not _taught(variant, dimension) or variant.fill != "prior" or variant.error:
        return None
    s = variant.sampling(corpus.sampling).probability(dimension) if variant.z == "sampled" else 0.0
    return _rounded(predicted_rate(corpus.prior[dimension].rate, s))


def _in_training(
    variant: Variant, corpus: Corpus, metric: str, dimension: str, seed: int
) -> float | None:
    """Share of training replies with a z in which the reply shows it: what the decoder is taught.

    It exceeds the prediction by the replies that happen to show a sampled value.
    """
    if not _taught(variant, dimension) or variant.error:
        return None
    train = [pair for pair in corpus.pairs if pair.split == "train"]
    shown = hits = 0
    for pair in train[:: -(-len(train) // TAUGHT_SAMPLE)]:
        read = corpus.personas[pair.pair_id]
        values = {dimension: corpus.imputed(variant, pair.speaker)[dimension]}
        z = training_persona(variant, pair, read, values, corpus.sampling, seed=seed, draw=0)
        value = z.value(dimension) if z else None
        if value is not None:
            shown += 1
            hits += shows(metric, value, pair.response)
    return _rounded(hits / shown) if shown else None


def _swapped(
    metric: str, replies: Sequence[Reply], by_id: Mapping[str, Pair], values: Mapping[str, str]
) -> dict[str, Any] | None:
    """Rates under another's profile: of the value shown, and of the value the true speaker has."""
    usable = [
        (r, by_id[r.pair_id])
        for r in replies
        if r.profile in values
        and by_id[r.pair_id].speaker in values
        and values[r.profile] != values[by_id[r.pair_id].speaker]
    ]
    if not usable:
        return None
    shown = tabulate(
        Hit(p.speaker, p.dialogue, shows(metric, values[r.profile], r.reply)) for r, p in usable
    )
    true = tabulate(
        Hit(p.speaker, p.dialogue, shows(metric, values[p.speaker], r.reply)) for r, p in usable
    )
    return {"shown": _rounded(rate(shown)), "true": _rounded(rate(true)), "n": len(usable)}


def _primary(
    variants: Sequence[Variant],
    tables: Mapping[str, Counts],
    samples: Mapping[str, Any],
    target: float,
) -> dict[str, Any] | None:
    """SP+FT against P+FT on CP: the difference of absolute deviations, below 0 where SP+FT is
    nearer to people.
    """
    if not {"SP+FT", "P+FT"} <= {v.name for v in variants}:
        return None
    spread = interval(
        abs(samples["SP+FT"] - samples["human"]) - abs(samples["P+FT"] - samples["human"])
    )
    difference = abs(rate(tables["SP+FT"]) - target) - abs(rate(tables["P+FT"]) - target)
    return {
        "claim": "|deviation of SP+FT| - |deviation of P+FT| on CP",
        "difference": _points(difference),
        "low": _points(spread.low),
        "high": _points(spread.high),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)


def _points(value: float) -> float | None:
    return None if not math.isfinite(value) else round(100 * value, 2)
