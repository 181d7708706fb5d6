"""HumanChatBench beside CP, EC and HM: how replies are put, whom they sound like, and what they
repeat.

Figures of a reply are compared like rates: with all held-out replies of the same people, by a
bootstrap. Figures of a body of replies depend on its size: the model's replies and people's to the
same contexts, of equal number, are each measured, and each speaker is left out once for the
interval.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from vvae.core.dialogue import BURST, Pair
from vvae.core.text import words
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.readers.lexical import read_nickname
from vvae.metrics.association import benjamini_hochberg
from vvae.metrics.bootstrap import Hit, Interval, bootstrap, interval, jackknifed, rate, tabulate
from vvae.metrics.metric import Metric, WrittenReply, body_metric, metrics_of, reply_metric
from vvae.metrics.results import Estimate, FigureResult, finite
from vvae.metrics.stylometry import SpeakerClassifier
from vvae.metrics.text import (
    as_far_by_chance,
    asks,
    bigrams,
    distinct,
    excess_divergence,
    laughs,
    longest_overlaps,
    opener,
    simpson_diversity,
)

__all__ = ["Yardstick", "compare"]


class Yardstick:
    """A yardstick for replies: people's training replies, which they are measured with.

    Args:
        pairs: of the corpus.
        speakers: who can be taken for one another.
    """

    def __init__(self, pairs: Sequence[Pair], speakers: Sequence[str]) -> None:
        train = [pair for pair in pairs if pair.split == "train"]
        own: dict[str, list[str]] = {speaker: [] for speaker in speakers}
        for pair in train:
            if pair.speaker in own:
                own[pair.speaker].append(pair.response)
        self.classifier = SpeakerClassifier(own)
        self._training = [pair.response for pair in train]
        self._overlaps: dict[str, int] = {}

    def overlap(self, text: str) -> int:
        """Return the words in the longest run that stands, verbatim, in one training reply."""
        if text not in self._overlaps:
            self._overlaps[text] = longest_overlaps([text], self._training)[0]
        return self._overlaps[text]

    def measure(self, replies: Sequence[WrittenReply]) -> list[dict[str, tuple[float, float]]]:
        """Return of each reply its figures, as (value, weight).

        A rate or mean is the ratio of their sums.
        """
        texts = [reply.text for reply in replies]
        self._overlaps |= dict(zip(texts, longest_overlaps(texts, self._training), strict=True))
        measured = []
        for reply in replies:
            figures: dict[str, tuple[float, float]] = {}
            for metric in metrics_of("reply"):
                assert metric.measure is not None
                value = metric.measure(reply, self)
                if value is not None:
                    figures[metric.name] = value if isinstance(value, tuple) else (value, 1.0)
            measured.append(figures)
        return measured


# --- figures of a reply ---------------------------------------------------------------------------


@reply_metric("question", title="asks a question", unit="%")
def question(reply: WrittenReply, _: Yardstick) -> float:
    """Return 1 where the reply has a question mark."""
    return float(asks(reply.text))


@reply_metric("laughter", title="laughs", unit="%")
def laughter(reply: WrittenReply, _: Yardstick) -> float:
    """Return 1 where somebody laughs, in letters, characters or emoji."""
    return float(laughs(reply.text))


@reply_metric("nickname", title="calls the other by a nickname", unit="%")
def nickname(reply: WrittenReply, _: Yardstick) -> float:
    """Return 1 where the other is called by a term of address or a name."""
    return float(read_nickname(reply.text) is not None)


@reply_metric("messages", title="messages in a reply", unit="messages")
def messages(reply: WrittenReply, _: Yardstick) -> float:
    """Return the number of messages in the burst."""
    return float(len(_messages(reply)))


@reply_metric("message_length", title="words in a message", unit="words")
def message_length(reply: WrittenReply, _: Yardstick) -> tuple[float, float] | None:
    """Return (words, messages); None for a reply without a message."""
    number = len(_messages(reply))
    return (float(len(words(reply.text))), float(number)) if number else None


@reply_metric("overlap", title="longest run of words from a training reply", unit="words")
def overlap(reply: WrittenReply, yardstick: Yardstick) -> float:
    """Return the words in the longest run that stands in one training reply."""
    return float(yardstick.overlap(reply.text))


@reply_metric("sounds_like", title="is taken for the speaker", unit="%")
def sounds_like(reply: WrittenReply, yardstick: Yardstick) -> float:
    """Return 1 where the classifier names the speaker whose profile was shown."""
    return float(yardstick.classifier.speaker([reply.text]) == reply.profile)


def _messages(reply: WrittenReply) -> list[str]:
    return [line for line in reply.text.split(BURST) if line.strip()]


# --- figures of a body of replies -----------------------------------------------------------------


def _opener(reply: WrittenReply) -> list[str]:
    return [begin] if (begin := opener(reply.text)) else []


@body_metric("openers", title="two replies begin differently", unit="%", part=_opener)
def openers(parts: Sequence[str]) -> float:
    """Return the probability that two replies begin with different words."""
    return simpson_diversity(Counter(parts).values())


def _bigrams(reply: WrittenReply) -> list[tuple[str, str]]:
    return bigrams(reply.text)


@body_metric(
    "distinct_2", title="different word pairs", unit="%", part=_bigrams, of_equal_size=True
)
def distinct_2(parts: Sequence[tuple[str, str]]) -> float:
    """Return the share of different word pairs among the same number of them."""
    return distinct(parts)


def _label_distance(dimension: str, usual: Counter[str]) -> Metric:
    """Return the metric of how far the labels read in replies are from those of other people's."""

    def part(reply: WrittenReply) -> list[str]:
        value = reply.z.value(dimension) if reply.z else None
        return [] if value is None else [value]

    return Metric(
        f"js_{dimension}",
        f"distance from people's {dimension}, bits beyond chance",
        "",
        "body",
        part=part,
        statistic=lambda labels: excess_divergence(Counter(labels), usual),
        by_chance=lambda labels: as_far_by_chance(Counter(labels), usual),
    )


# --- compared with people -------------------------------------------------------------------------


def compare(
    corpus: EncodedCorpus,
    speakers: Sequence[str],
    written: Mapping[str, Sequence[WrittenReply]],
    *,
    resamples: int,
    seed: int,
) -> dict[str, FigureResult]:
    """Return for each figure people's and each variant's value, with deviations and intervals.

    Args:
        speakers: who can be taken for one another.
        written: variant -> its replies under the own profile. How far labels are from people's is
            told where the replies of every variant were read.
    """
    yardstick = Yardstick(corpus.pairs, speakers)
    benched = {reply.pair.pair_id for replies in written.values() for reply in replies}
    judged = {reply.pair.speaker for replies in written.values() for reply in replies}
    people = [
        WrittenReply(pair, pair.speaker, pair.response, corpus.posteriors.get(pair.pair_id))
        for pair in corpus.pairs
        if pair.split == "heldout" and pair.speaker in judged
    ]
    figures = _reply_figures(yardstick, people, written, resamples=resamples, seed=seed)
    same = [reply for reply in people if reply.pair.pair_id in benched]
    sounds = figures["sounds_like"]
    sounds.chance = finite(1 / len(yardstick.classifier.speakers))
    sounds.human.together = _together(yardstick, same)
    for name, replies in written.items():
        sounds.variants[name].together = _together(yardstick, replies)
    metrics = metrics_of("body")
    if all(any(reply.z is not None for reply in replies) for replies in written.values()):
        others = [reply for reply in people if reply.pair.pair_id not in benched]
        metrics += _label_distances(corpus, others)
    bodies = {"human": same, **written}
    of_bodies = {metric.name: _body_figure(metric, bodies) for metric in metrics}
    _adjust([one for figure in of_bodies.values() for one in figure.variants.values()])
    return figures | of_bodies


def _adjust(estimates: Sequence[Estimate]) -> None:
    """Make the p of each estimate that has one what is left of it beside all the others (Benjamini
    and Hochberg 1995).
    """
    tested = [(one, one.p) for one in estimates if one.p is not None]
    for (one, _), p in zip(tested, benjamini_hochberg([p for _, p in tested]), strict=True):
        one.p = finite(p)


def _reply_figures(
    yardstick: Yardstick,
    people: Sequence[WrittenReply],
    written: Mapping[str, Sequence[WrittenReply]],
    *,
    resamples: int,
    seed: int,
) -> dict[str, FigureResult]:
    everybody = {"human": people, **written}
    measured = {name: yardstick.measure(replies) for name, replies in everybody.items()}
    results: dict[str, FigureResult] = {}
    for metric in metrics_of("reply"):
        tables = {
            name: tabulate(
                Hit(reply.pair.speaker, reply.pair.dialogue, *figures[metric.name])
                for reply, figures in zip(replies, measured[name], strict=True)
                if metric.name in figures
            )
            for name, replies in everybody.items()
        }
        samples = bootstrap(tables, resamples=resamples, seed=seed)
        target = rate(tables["human"])
        results[metric.name] = FigureResult(
            title=metric.title,
            unit=metric.unit,
            human=_estimate(target, interval(samples["human"]), n=len(people)),
            variants={
                name: _estimate(
                    rate(tables[name]),
                    interval(samples[name] - samples["human"]),
                    deviation=rate(tables[name]) - target,
                    n=len(replies),
                )
                for name, replies in written.items()
            },
        )
    return results


def _label_distances(corpus: EncodedCorpus, others: Sequence[WrittenReply]) -> list[Metric]:
    """Return a metric for each closed dimension, against replies that no variant wrote anew."""
    metrics = []
    for dimension in corpus.space.dimensions:
        if dimension.labels:
            labels = (reply.z.value(dimension.name) for reply in others if reply.z)
            usual = Counter(label for label in labels if label is not None)
            metrics.append(_label_distance(dimension.name, usual))
    return metrics


def _body_figure(metric: Metric, bodies: Mapping[str, Sequence[WrittenReply]]) -> FigureResult:
    """Return a figure of people's replies, and of each variant's with its difference from it."""
    assert metric.part is not None
    assert metric.statistic is not None
    part, statistic = metric.part, metric.statistic
    parts: dict[str, dict[str, list[Any]]] = {}
    for name, replies in bodies.items():
        own = parts.setdefault(name, defaultdict(list))
        for reply in replies:
            own[reply.pair.speaker] += part(reply)
    if metric.of_equal_size:
        total = {name: sum(map(len, own.values())) for name, own in parts.items()}
        for name, own in parts.items():
            share = min(total.values()) / max(1, total[name])
            own |= {speaker: some[: round(share * len(some))] for speaker, some in own.items()}

    def of(name: str, speakers: Collection[str]) -> float:
        held = [x for speaker in speakers for x in parts[name].get(speaker, ())]
        return statistic(held)

    def counted(name: str) -> dict[str, Any]:
        all_parts = [x for some in parts[name].values() for x in some]
        p = metric.by_chance(all_parts) if metric.by_chance else None
        return {"n": len(bodies[name]), "parts": len(all_parts), "p": p}

    def beyond_people(name: str, speakers: Collection[str]) -> float:
        return of(name, speakers) - of("human", speakers)

    speakers = sorted(parts["human"])
    value = of("human", speakers)
    spread = jackknifed(speakers, partial(of, "human"))
    return FigureResult(
        title=metric.title,
        unit=metric.unit,
        human=_estimate(value, spread, **counted("human")),
        variants={
            name: _estimate(
                of(name, speakers),
                jackknifed(speakers, partial(beyond_people, name)),
                deviation=of(name, speakers) - value,
                **counted(name),
            )
            for name in bodies
            if name != "human"
        },
    )


def _together(yardstick: Yardstick, replies: Sequence[WrittenReply]) -> float | None:
    """Return the share of speakers who are recognised by all their replies together."""
    by_speaker: dict[str, list[str]] = defaultdict(list)
    for reply in replies:
        by_speaker[reply.profile].append(reply.text)
    hits = [yardstick.classifier.speaker(texts) == speaker for speaker, texts in by_speaker.items()]
    return finite(sum(hits) / len(hits)) if hits else None


def _estimate(value: float, spread: Interval, **further: Any) -> Estimate:
    return Estimate(value=value, low=spread.low, high=spread.high, **further)
