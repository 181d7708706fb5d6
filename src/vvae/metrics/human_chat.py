"""HumanChatBench: are a variant's habits as frequent as people's?

Every held-out reply of the benchmark is written anew by each variant under the speaker's profile.
The target is the rate in all held-out replies the same speakers wrote themselves. A deviation is
signed, in percentage points: plus says too often.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vvae.core.dialogue import Pair
from vvae.core.random import shuffled
from vvae.core.text import opening
from vvae.decoder.conditions import Conditions, TestZ
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.profile import Profile
from vvae.latent.sampling import Predicted, predicted_range
from vvae.metrics.bootstrap import (
    Counts,
    Hit,
    bootstrap,
    calibration_slope,
    interval,
    rate,
    tabulate,
    weight_of,
)
from vvae.metrics.metric import MEASURABLE, Metric, get, scored
from vvae.metrics.rates import CP, emoji_consistency
from vvae.metrics.results import (
    HumanRate,
    HumanResults,
    PrimaryComparison,
    Results,
    Share,
    SwappedRate,
    VariantRate,
    VariantResults,
    finite,
    points,
)
from vvae.metrics.tables import Likelihood, Reply
from vvae.metrics.text import repetition, spoken_length

__all__ = ["BenchConfig", "compare_phrases", "predicted", "score", "swapped_profile"]

TRAINING_SAMPLE = 20_000
"""Training replies looked at for what a variant is taught."""


class BenchConfig(BaseModel):
    """A section of the config: how much is measured."""

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
    z: TestZ = Field(
        "profile",
        description="what nulls of a profile are filled with: profile (draws from the prior; a "
        "prompted variant: nothing), known (nothing), own (the speaker's own values), context",
    )
    resamples: int = Field(2000, ge=100)
    read_replies: bool | None = Field(
        None,
        description="read z in the replies written, too; null: where that calls no language model",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_dialogbench(cls, data: Any) -> Any:
        """Read configs of the time when a run could ask DialogBench's questions, and did not."""
        if not isinstance(data, dict) or not {"dialogbench", "dialogbench_items"} & set(data):
            return data
        if data.get("dialogbench") is not None:
            raise ValueError("DialogBench is a command of its own now: vvae dialogbench DATA")
        return {k: v for k, v in data.items() if k not in ("dialogbench", "dialogbench_items")}


def swapped_profile(
    pair: Pair, speakers: Sequence[str], profiles: Mapping[str, Profile], dimension: str
) -> str | None:
    """Return another speaker whose value of a dimension differs; None where there is none.

    Which one is a deterministic random choice, by the pair.
    """
    own = profiles[pair.speaker].persona().value(dimension)
    for other in shuffled(speakers, "swapped profile", pair.pair_id):
        value = profiles[other].persona().value(dimension)
        if other != pair.speaker and value is not None and value != own:
            return other
    return None


def score(
    corpus: EncodedCorpus,
    speakers: Sequence[str],
    conditions: Mapping[str, Conditions],
    replies: Sequence[Reply],
    config: BenchConfig,
    *,
    seed: int,
    learned: Collection[str] | None = None,
) -> Results:
    """Return the benchmark's results: people, variants and the primary comparison.

    Args:
        speakers: who is benchmarked.
        conditions: variant -> what it is shown, in the order of the report.
        replies: of all variants, under own and swapped profiles.
        learned: whose replies a variant is trained on; everybody's where None.
    """
    by_id = corpus.by_id
    own: dict[str, list[Reply]] = {name: [] for name in conditions}
    swapped: dict[str, list[Reply]] = {name: [] for name in conditions}
    for reply in replies:
        under_own = reply.profile == by_id[reply.pair_id].speaker
        (own if under_own else swapped)[reply.variant].append(reply)
    benched = sorted(
        {reply.pair_id for variant_replies in own.values() for reply in variant_replies}
    )
    people = [by_id[pair_id].response for pair_id in benched]
    length = spoken_length(people)
    first = max(1, round(length))
    human = HumanResults(
        length=round(length, 2), repetition=round(repetition(people), 4), opening_words=first
    )
    results = Results(human=human, variants={n: _variant_results(rs) for n, rs in own.items()})
    judged = {by_id[pair_id].speaker for pair_id in benched}
    for name, dimension in scored(corpus.space).items():
        metric = get(name)
        values = _profile_values(corpus, speakers, dimension.name)
        counts = _human_counts(corpus, metric, values, judged)
        tables = {
            n: _own_counts(metric, variant_replies, by_id, values)
            for n, variant_replies in own.items()
        }
        early = {
            n: _own_counts(metric, variant_replies, by_id, values, first)
            for n, variant_replies in own.items()
        }
        early["human"] = _human_counts(corpus, metric, values, judged, first)
        samples = bootstrap({"human": counts, **tables}, resamples=config.resamples, seed=seed)
        opened = bootstrap(early, resamples=config.resamples, seed=seed)
        spread, r = interval(samples["human"]), corpus.prior[dimension.name].rate
        human_rate = _human_rate(
            counts,
            observation_rate=r,
            low=spread.low,
            high=spread.high,
            opening=rate(early["human"]),
        )
        setattr(human, name, human_rate)
        for variant, condition in conditions.items():
            beyond = interval(samples[variant] - samples["human"])
            expected = predicted(condition, dimension.name, speakers)
            slope = calibration_slope(
                tables[variant], counts, resamples=config.resamples, seed=seed
            )
            variant_rate = VariantRate(
                rate=rate(tables[variant]),
                target=rate(counts),
                deviation=points(rate(tables[variant]) - rate(counts)),
                low=points(beyond.low),
                high=points(beyond.high),
                n=weight_of(tables[variant]),
                predicted=expected.marginal if expected else None,
                predicted_own=expected.own if expected else None,
                in_training=_in_training(condition, metric, dimension.name, learned),
                slope=slope and slope.value,
                slope_low=slope and slope.low,
                slope_high=slope and slope.high,
                swapped=_swapped(metric, swapped[variant], by_id, values),
                opening=_share(rate(early[variant]), opened[variant]),
                opening_people=_share(
                    rate(early[variant]) - rate(early["human"]), opened[variant] - opened["human"]
                ),
            )
            setattr(results.variants[variant], name, variant_rate)
        if metric is CP:
            results.primary = _primary(tables, samples, rate(counts))
    _add_emoji_consistency(results, corpus, own, benched)
    return results


def compare_phrases(
    results: Results,
    corpus: EncodedCorpus,
    speakers: Sequence[str],
    likelihoods: Mapping[str, Sequence[Likelihood]],
    config: BenchConfig,
    *,
    seed: int,
) -> None:
    """Add to each variant's probability of the catchphrase its intervals and people's rate, and
    the primary comparison by these probabilities.

    Args:
        speakers: who is benchmarked.
        likelihoods: variant -> what was measured on people's replies.
    """
    if CP.name not in scored(corpus.space):
        return
    tables: dict[str, Counts] = {}
    for name, rows in likelihoods.items():
        for shown in ("profile", "swapped", "known", "written"):
            tables[f"{name}|{shown}"] = tabulate(
                Hit(pair.speaker, pair.dialogue, row.phrase)
                for row in rows
                if row.shown == shown and row.phrase is not None
                for pair in [corpus.by_id[row.pair_id]]
            )
    written = {name for name in tables if name.endswith("|written")}
    judged = {speaker for name in tables.keys() - written for speaker in tables[name]}
    if not judged:
        return
    writers = {speaker for name in written for speaker in tables[name]}
    values = _profile_values(corpus, speakers, scored(corpus.space)[CP.name].name)
    people = _human_counts(corpus, CP, values, judged)
    beside = _human_counts(corpus, CP, values, writers)
    everybody = {"human": people, "human|written": beside, **tables}
    samples = bootstrap(everybody, resamples=config.resamples, seed=seed)
    results.people_forced = _share(rate(people), samples["human"])
    measured = [name for name in likelihoods if tables[f"{name}|profile"]]
    for name in measured:
        own, others = f"{name}|profile", f"{name}|swapped"
        phrase = results.variants[name].forced
        assert phrase is not None
        phrase.profile, phrase.swapped = (round(rate(tables[way]), 4) for way in (own, others))
        phrase.own = _share(phrase.profile, samples[own])
        phrase.others = _share(phrase.swapped, samples[others])
        if tables[known := f"{name}|known"]:
            phrase.known = _share(rate(tables[known]), samples[known])
        if tables[said := f"{name}|written"]:
            phrase.written = _share(rate(tables[said]), samples[said])
            more = rate(tables[said]) - rate(beside)
            phrase.written_people = _share(more, samples[said] - samples["human|written"])
        phrase.read = _share(phrase.profile - phrase.swapped, samples[own] - samples[others])
        beyond = rate(tables[own]) - rate(people)
        phrase.people = _share(beyond, samples[own] - samples["human"])
    results.primary_forced = _primary(
        {name: tables[f"{name}|profile"] for name in measured},
        {"human": samples["human"], **{name: samples[f"{name}|profile"] for name in measured}},
        rate(people),
        "P(catchphrase)",
    )


def _share(value: float, samples: npt.NDArray[np.float64]) -> Share:
    spread = interval(samples)
    return Share(value=value, low=spread.low, high=spread.high)


def _human_counts(
    corpus: EncodedCorpus,
    metric: Metric,
    values: Mapping[str, str],
    judged: Collection[str],
    first: int | None = None,
) -> Counts:
    """Return how often people show the value of their profile in all their held-out replies, or in
    the first words of each.
    """
    return tabulate(
        Hit(
            pair.speaker,
            pair.dialogue,
            metric.shows(values[pair.speaker], _begun(pair.response, first)),
        )
        for pair in corpus.pairs
        if pair.split == "heldout" and pair.speaker in values and pair.speaker in judged
    )


def _variant_results(replies: Sequence[Reply]) -> VariantResults:
    texts = [reply.reply for reply in replies]
    return VariantResults(
        length=round(spoken_length(texts), 2),
        repetition=round(repetition(texts), 4),
        cut=sum(reply.finish_reason == "length" for reply in replies),
        n=len(replies),
    )


def _human_rate(counts: Counts, **further: Any) -> HumanRate:
    positives = sum(hits for of in counts.values() for hits, _ in of.values())
    return HumanRate(
        rate=rate(counts),
        positives=positives,
        replies=weight_of(counts),
        speakers=len(counts),
        measurable=positives >= MEASURABLE,
        **further,
    )


def _begun(text: str, first: int | None) -> str:
    return text if first is None else opening(text, first)


def _own_counts(
    metric: Metric,
    replies: Sequence[Reply],
    by_id: Mapping[str, Pair],
    values: Mapping[str, str],
    first: int | None = None,
) -> Counts:
    """Return how often the value shown stands in replies under the own profile, or in the first
    words of each.
    """
    return tabulate(
        Hit(
            pair.speaker,
            pair.dialogue,
            metric.shows(values[reply.profile], _begun(reply.reply, first)),
        )
        for reply in replies
        if reply.profile in values
        for pair in [by_id[reply.pair_id]]
    )


def _profile_values(
    corpus: EncodedCorpus, speakers: Sequence[str], dimension: str
) -> dict[str, str]:
    """Return benchmarked speaker -> first-ranked value, of those whose profile has one."""
    values = {s: corpus.profiles[s].persona().value(dimension) for s in speakers}
    return {speaker: value for speaker, value in values.items() if value is not None}


def _taught(conditions: Conditions, dimension: str) -> bool:
    """Return whether a variant is shown a dimension in training."""
    variant = conditions.variant
    included = variant.dimensions is None or dimension in variant.dimensions
    return variant.trained and variant.shows_slots and included


def predicted(conditions: Conditions, dimension: str, speakers: Sequence[str]) -> Predicted | None:
    """Return the rates between which a variant trained to convergence shows a dimension's value;
    None where nothing is predicted.

    Args:
        speakers: those whose own values are shown.
    """
    variant, corpus = conditions.variant, conditions.corpus
    fill = variant.fill
    if fill == "context" and corpus.space.by_name[dimension].scope != "turn":
        fill = "prior"  # only what is of a turn is taken from the turns before
    if fill not in ("prior", "speaker", "shrunk"):
        return None
    if not _taught(conditions, dimension) or variant.error:
        return None
    s = conditions.sampling.probability(dimension) if variant.z == "sampled" else 0.0
    own = {name: of[dimension] for name, of in corpus.speaker_priors.items()}
    values = _profile_values(corpus, speakers, dimension)
    found = predicted_range(
        corpus.prior[dimension],
        own,
        values,
        s=s,
        fill=fill,
        draw_per=conditions.sampling.draw_per,
    )
    return Predicted(round(found.marginal, 4), finite(found.own))


def _in_training(
    conditions: Conditions, metric: Metric, dimension: str, learned: Collection[str] | None
) -> float | None:
    """Return the share of training replies with a z in which the reply shows it.

    This is what the decoder is taught. It exceeds the prediction by the replies that happen to
    show a sampled value.
    """
    if not _taught(conditions, dimension) or conditions.variant.error:
        return None
    train = [
        pair
        for pair in conditions.corpus.pairs
        if pair.split == "train" and (learned is None or pair.speaker in learned)
    ]
    total = hits = 0
    for pair in train[:: -(-len(train) // TRAINING_SAMPLE)]:
        z = conditions.training_persona(pair, 0, only=(dimension,))
        value = z.value(dimension) if z else None
        if value is not None:
            total += 1
            hits += metric.shows(value, pair.response)
    return finite(hits / total) if total else None


def _swapped(
    metric: Metric, replies: Sequence[Reply], by_id: Mapping[str, Pair], values: Mapping[str, str]
) -> SwappedRate | None:
    """Return the rates under another's profile: of the value shown, and of the true speaker's."""
    usable = [
        (reply, pair)
        for reply in replies
        for pair in [by_id[reply.pair_id]]
        if reply.profile in values
        and pair.speaker in values
        and values[reply.profile] != values[pair.speaker]
    ]
    if not usable:
        return None

    def rate_of(looked_for: Sequence[str]) -> float:
        return rate(
            tabulate(
                Hit(pair.speaker, pair.dialogue, metric.shows(value, reply.reply))
                for (reply, pair), value in zip(usable, looked_for, strict=True)
            )
        )

    return SwappedRate(
        shown=rate_of([values[reply.profile] for reply, _ in usable]),
        true=rate_of([values[pair.speaker] for _, pair in usable]),
        n=len(usable),
    )


def _primary(
    tables: Mapping[str, Counts], samples: Mapping[str, Any], target: float, measure: str = "CP"
) -> PrimaryComparison | None:
    """Return SP+FT against P+FT on a measure: below 0 where SP+FT is nearer to people."""
    if not {"SP+FT", "P+FT"} <= set(tables):
        return None
    spread = interval(
        abs(samples["SP+FT"] - samples["human"]) - abs(samples["P+FT"] - samples["human"])
    )
    difference = abs(rate(tables["SP+FT"]) - target) - abs(rate(tables["P+FT"]) - target)
    return PrimaryComparison(
        claim=f"|deviation of SP+FT| - |deviation of P+FT| on {measure}",
        difference=points(difference),
        low=points(spread.low),
        high=points(spread.high),
    )


def _add_emoji_consistency(
    results: Results,
    corpus: EncodedCorpus,
    own: Mapping[str, Sequence[Reply]],
    benched: Sequence[str],
) -> None:
    emoji = corpus.space.read_by("emoji")
    if not emoji:
        return
    ranked = {
        speaker: [v.value for v in profile.values.get(emoji[0].name, ())]
        for speaker, profile in corpus.profiles.items()
    }
    pairs = [corpus.by_id[pair_id] for pair_id in benched]
    results.human.emoji_consistency = emoji_consistency(
        [(pair.response, ranked[pair.speaker]) for pair in pairs]
    )
    for name, replies in own.items():
        results.variants[name].emoji_consistency = emoji_consistency(
            [(r.reply, ranked[corpus.by_id[r.pair_id].speaker]) for r in replies]
        )
