"""HumanChatBench beside CP, EC and HM: how replies are put, whom they sound like, and what they
repeat.

Figures of a reply are compared like rates: with all held-out replies of the same people, by a
bootstrap. Figures of a
body of replies depend on its size: the model's replies and people's to the same contexts, of equal
number, are each measured, and each speaker is left out once for the interval.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from vvae.core.dialogue import BURST, Pair
from vvae.core.text import words
from vvae.encoders.rules.lexical import read_nickname
from vvae.latent.persona import Persona
from vvae.latent.space import LatentSpace
from vvae.metrics.bootstrap import Hit, Interval, bootstrap, interval, jackknifed, rate, tabulate
from vvae.metrics.rates import (
    asks,
    bigrams,
    distinct,
    jensen_shannon,
    laughs,
    longest_overlaps,
    opener,
    simpson_diversity,
)
from vvae.metrics.stylometry import SpeakerClassifier

__all__ = ["OF_A_BODY", "OF_A_REPLY", "Said", "Yardstick", "compare"]

OF_A_REPLY = {
    "question": ("asks a question", "%"),
    "laughter": ("laughs", "%"),
    "nickname": ("calls the other by a nickname", "%"),
    "messages": ("messages in a reply", ""),
    "message_length": ("words in a message", ""),
    "overlap": ("longest run of words from a training reply", ""),
    "sounds_like": ("is taken for the speaker", "%"),
}
"""Figure of one reply -> what it says, unit."""
OF_A_BODY = {
    "openers": ("two replies begin differently", "%"),
    "distinct_2": ("different word pairs", "%"),
}
"""Figure of many replies -> what it says, unit; and `js_<dimension>` for each closed dimension."""


class Said(NamedTuple):
    """A reply somebody wrote to a pair's context, and under whose profile."""

    pair: Pair
    profile: str
    text: str


class Yardstick:
    """What replies are measured with: people's training replies.

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

    def measure(self, said: Sequence[Said]) -> list[dict[str, tuple[float, float]]]:
        """Of each reply its figures, as (value, weight):
        a rate or mean is the ratio of their sums.
        """
        overlaps = longest_overlaps([one.text for one in said], self._training)
        measured = []
        for one, overlap in zip(said, overlaps, strict=True):
            text = one.text
            messages = [line for line in text.split(BURST) if line.strip()]
            figures = {
                "question": float(asks(text)),
                "laughter": float(laughs(text)),
                "nickname": float(read_nickname(text) is not None),
                "messages": float(len(messages)),
                "overlap": float(overlap),
                "sounds_like": float(self.classifier.speaker([text]) == one.profile),
            }
            found = {name: (value, 1.0) for name, value in figures.items()}
            if messages:
                found["message_length"] = (float(len(words(text))), float(len(messages)))
            measured.append(found)
        return measured


def compare(
    pairs: Sequence[Pair],
    speakers: Sequence[str],
    personas: Mapping[str, Persona],
    space: LatentSpace,
    written: Mapping[str, Sequence[Said]],
    read: Mapping[str, Mapping[str, Persona]],
    *,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Figure -> `title`, `unit`, `human`, and of each variant value, signed deviation from people
    and its interval.

    Args:
        personas: pair id -> z read from people's replies.
        written: variant -> its replies under the own profile.
        read: variant -> pair id -> z read from its replies; none where they were not read.
    """
    yardstick = Yardstick(pairs, speakers)
    benched = {one.pair.pair_id for said in written.values() for one in said}
    judged = {one.pair.speaker for said in written.values() for one in said}
    people = [
        Said(p, p.speaker, p.response)
        for p in pairs
        if p.split == "heldout" and p.speaker in judged
    ]
    same = [one for one in people if one.pair.pair_id in benched]
    everybody = {"human": people, **written}
    measured = {name: yardstick.measure(said) for name, said in everybody.items()}
    results: dict[str, dict[str, Any]] = {}
    for figure, (title, unit) in OF_A_REPLY.items():
        tables = {
            name: tabulate(
                Hit(one.pair.speaker, one.pair.dialogue, *found[figure])
                for one, found in zip(said, measured[name], strict=True)
                if figure in found
            )
            for name, said in everybody.items()
        }
        samples = bootstrap(tables, resamples=resamples, seed=seed)
        target = rate(tables["human"])
        results[figure] = {
            "title": title,
            "unit": unit,
            "human": {**_row(target, interval(samples["human"])), "n": len(people)},
        }
        results[figure]["variants"] = {
            name: {
                **_row(rate(tables[name]), interval(samples[name] - samples["human"])),
                "deviation": _finite(rate(tables[name]) - target),
                "n": len(said),
            }
            for name, said in written.items()
        }
    results["sounds_like"]["chance"] = _finite(1 / len(yardstick.classifier.speakers))
    results["sounds_like"]["human"]["together"] = _together(yardstick, same)
    for name, said in written.items():
        results["sounds_like"]["variants"][name]["together"] = _together(yardstick, said)
    bodies = {"human": same, **written}
    grams = {name: sum(len(bigrams(one.text)) for one in said) for name, said in bodies.items()}
    among = int(
        0.9 * min(grams.values())
    )  # of what the most silent said, so that a speaker can be left out
    figures: dict[str, tuple[str, str, _Part, _Figure]] = {
        "openers": (
            *OF_A_BODY["openers"],
            _opener,
            lambda said: simpson_diversity(Counter(said).values()),
        ),
        "distinct_2": (
            *OF_A_BODY["distinct_2"],
            lambda one, _: bigrams(one.text),
            lambda said: distinct(said, among),
        ),
    }
    others = [one for one in people if one.pair.pair_id not in benched]
    for dimension in space.dimensions:
        if dimension.labels and written.keys() == read.keys():
            part = _label(dimension.name)
            usual = Counter(label for one in others for label in part(one, personas))
            title = f"distance from people's {dimension.name}"
            figures[f"js_{dimension.name}"] = (title, "", part, _distance(usual))
    for figure, (title, unit, part, statistic) in figures.items():
        parts = {
            name: _by_speaker(said, read.get(name, personas), part) for name, said in bodies.items()
        }
        results[figure] = {"title": title, "unit": unit, **_bodies(parts, statistic)}
        for name, said in bodies.items():
            (results[figure]["human"] if name == "human" else results[figure]["variants"][name])[
                "n"
            ] = len(said)
    return results


_Part = Callable[[Said, Mapping[str, Persona]], Sequence[Any]]
"""What a reply, with the z read from it by pair id, adds to a body of replies."""
_Figure = Callable[[Sequence[Any]], float]


def _by_speaker(
    said: Sequence[Said], z: Mapping[str, Persona], part: _Part
) -> dict[str, list[Any]]:
    held: dict[str, list[Any]] = defaultdict(list)
    for one in said:
        held[one.pair.speaker] += part(one, z)
    return held


def _bodies(parts: Mapping[str, Mapping[str, Sequence[Any]]], statistic: _Figure) -> dict[str, Any]:
    """A figure of people's replies, and of each variant's with its difference from it."""

    def of(name: str, speakers: Collection[str]) -> float:
        return statistic([thing for speaker in speakers for thing in parts[name].get(speaker, ())])

    def beyond_people(name: str, speakers: Collection[str]) -> float:
        return of(name, speakers) - of("human", speakers)

    speakers = sorted(parts["human"])
    value = of("human", speakers)
    spread = jackknifed(speakers, partial(of, "human"))
    result: dict[str, Any] = {"human": _row(value, spread), "variants": {}}
    for name in parts:
        if name != "human":
            own = of(name, speakers)
            spread = jackknifed(speakers, partial(beyond_people, name))
            result["variants"][name] = {**_row(own, spread), "deviation": _finite(own - value)}
    return result


def _together(yardstick: Yardstick, said: Sequence[Said]) -> float | None:
    """Share of speakers who are taken for themselves by all their replies together."""
    by_speaker: dict[str, list[str]] = defaultdict(list)
    for one in said:
        by_speaker[one.profile].append(one.text)
    hits = [yardstick.classifier.speaker(texts) == speaker for speaker, texts in by_speaker.items()]
    return _finite(sum(hits) / len(hits)) if hits else None


def _opener(one: Said, _: Mapping[str, Persona]) -> list[str]:
    return [begin] if (begin := opener(one.text)) else []


def _label(dimension: str) -> _Part:
    def part(one: Said, z: Mapping[str, Persona]) -> list[str]:
        value = z[one.pair.pair_id].value(dimension) if one.pair.pair_id in z else None
        return [] if value is None else [value]

    return part


def _distance(usual: Mapping[str, int]) -> _Figure:
    return lambda labels: jensen_shannon(Counter(labels), usual)


def _row(value: float, spread: Interval) -> dict[str, Any]:
    return {"value": _finite(value), "low": _finite(spread.low), "high": _finite(spread.high)}


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
