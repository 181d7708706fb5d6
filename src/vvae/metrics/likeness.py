"""How like a person's own replies is a text?

Score: by how much likelier each of its character trigrams is with the person than with the others
(`vvae.metrics.stylometry`), the mean over the text's trigrams. Whether that tells this person from
others at all is asked first, of people: their held-out replies, in bodies of as many replies as the
text has, against others' bodies. The area under that curve is what the score is worth; where it may
be chance nothing is said of the text.

This is authorship verification in its plainest form; topics are in it as far as a person keeps to
theirs over dialogues.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vvae.core.random import bits64, shuffled
from vvae.core.text import words
from vvae.latent.readers import reader
from vvae.latent.space import Dimension
from vvae.metrics.bootstrap import Interval, interval, resampled
from vvae.metrics.stylometry import SpeakerClassifier

__all__ = [
    "LEAST_BODIES",
    "Difference",
    "Likeness",
    "LikenessResult",
    "Worth",
    "differences",
    "within",
]

Vector = npt.NDArray[np.float64]
LARGEST_BODY = 20
"""Replies of a body that is compared; a longer text is compared with bodies of so many."""
LEAST_BODIES = 5
"""Bodies of the person's own that a text is compared with, at the least."""
LEAST_WORTH = 0.6
"""The area under the curve that the lower end of its interval must reach."""
SURE = 3.0
"""Standard errors from which a difference of form is named; some thirty are looked at."""
DRAWS = 500


class Worth(NamedTuple):
    """How well the score tells a person's own held-out replies from others'."""

    auc: float
    """P(a body of their own scores higher than one of somebody else)."""
    low: float
    high: float
    replies: int
    """Of a body."""
    own: int
    """Bodies of their own."""
    others: int
    """And of others."""

    @property
    def tells(self) -> bool:
        """Return whether it is beyond chance, so that something can be said of a text."""
        return self.low >= LEAST_WORTH


class LikenessResult(NamedTuple):
    """How like a person's own replies a text is."""

    speaker: str
    replies: int
    score: float
    """Nats a trigram in favour of the person."""
    worth: Worth
    among_own: float
    """Share of the person's own bodies that are less like them than the text is."""
    among_others: float
    """Share of others' bodies that are less like the person than the text is."""


class Likeness:
    """A judge of likeness to each of several people.

    Args:
        training: speaker -> replies that the judge learns from.
        heldout: speaker -> replies that it is tested with.

    Example:
        >>> ana, ben = ["oh my gosh!! so good"] * 9, ["I should think that it is."] * 9
        >>> judge = Likeness({"ana": ana, "ben": ben}, {"ana": ana, "ben": ben})
        >>> found = judge.of("ana", ["oh my gosh!! so bad"])
        >>> found.among_others, found.score > 0
        (1.0, True)
    """

    def __init__(
        self, training: Mapping[str, Sequence[str]], heldout: Mapping[str, Sequence[str]]
    ) -> None:
        # Of whom more was read more is known: unusual words would speak for them whoever wrote.
        most = int(median(len(replies) for replies in training.values()))
        self._classifier = SpeakerClassifier(
            {s: shuffled(replies, "likeness", s)[:most] for s, replies in training.items()}
        )
        self._heldout = {s: list(heldout.get(s, ())) for s in self._classifier.speakers}
        self._evidence: dict[str, tuple[Vector, Vector]] = {}

    def of(self, speaker: str, texts: Sequence[str]) -> LikenessResult:
        """Return how like a speaker's own replies some replies are, taken together."""
        size = min(len(texts), LARGEST_BODY, max(1, len(self._heldout[speaker]) // LEAST_BODIES))
        own, others = self._bodies(speaker, size)
        score = self._score(speaker, *self._read(texts))
        flat = np.concatenate(list(others.values())) if others else np.zeros(0)
        return LikenessResult(
            speaker,
            len(texts),
            round(score, 4),
            self._worth(speaker, size, own, others),
            round(float((own < score).mean()), 4) if len(own) else float("nan"),
            round(float((flat < score).mean()), 4) if len(flat) else float("nan"),
        )

    def worth(self, speaker: str, size: int = 1) -> Worth:
        """Return how well bodies of so many replies are told from others', with a 95 % interval by
        a bootstrap over the speaker's bodies and over the other speakers.
        """
        return self._worth(speaker, size, *self._bodies(speaker, size))

    def _worth(self, speaker: str, size: int, own: Vector, others: Mapping[str, Vector]) -> Worth:
        if not len(own) or not others:
            return Worth(math.nan, math.nan, math.nan, size, len(own), 0)
        # P(own body > body of one other speaker), shape (own bodies, other speakers)
        wins = np.stack(
            [
                ((own[:, None] > scores).mean(1) + (own[:, None] == scores).mean(1) / 2)
                for scores in others.values()
            ],
            axis=1,
        )
        rows = resampled(len(own), DRAWS, "likeness own", speaker, size) / len(own)
        columns = resampled(len(others), DRAWS, "likeness others", speaker, size) / len(others)
        low, high = interval(np.einsum("do,os,ds->d", rows, wins, columns))
        bodies = sum(map(len, others.values()))
        return Worth(
            round(float(wins.mean()), 4), round(low, 4), round(high, 4), size, len(own), bodies
        )

    def beaten(self, speaker: str, texts: Sequence[str]) -> float:
        """Return how often a held-out reply of the speaker is more like them than one of some
        replies: 0.5 where they cannot be told apart, 1 where theirs always is.
        """
        own = self._scores(speaker, speaker, 1)
        scores = np.asarray([self._score(speaker, *self._read([text])) for text in texts])
        return float((own[:, None] > scores).mean() + (own[:, None] == scores).mean() / 2)

    def _bodies(self, speaker: str, size: int) -> tuple[Vector, dict[str, Vector]]:
        """Scores of held-out replies for a speaker, in bodies of a size: their own, and others'."""
        scores = {who: self._scores(speaker, who, size) for who in self._classifier.speakers}
        own = scores.pop(speaker)
        return own, {who: found for who, found in scores.items() if len(found)}

    def _scores(self, speaker: str, who: str, size: int) -> Vector:
        """Scores for a speaker of somebody's held-out replies, in bodies of a size."""
        evidence, lengths = self._held(who)
        number = len(lengths) // size
        order = np.random.default_rng(bits64("likeness", who, size)).permutation(len(lengths))
        groups = order[: number * size].reshape(number, size)
        return np.asarray([self._score(speaker, evidence[g], lengths[g]) for g in groups])

    def _held(self, speaker: str) -> tuple[Vector, Vector]:
        if speaker not in self._evidence:
            self._evidence[speaker] = self._read(self._heldout[speaker])
        return self._evidence[speaker]

    def _read(self, texts: Sequence[str]) -> tuple[Vector, Vector]:
        """Evidence of each text for each speaker, shape (texts, speakers), and its trigrams."""
        evidence = np.asarray([self._classifier.evidence(text) for text in texts])
        lengths = np.asarray([max(1, len(text) - 2) for text in texts], dtype=np.float64)
        return evidence.reshape(len(texts), len(self._classifier.speakers)), lengths

    def _score(self, speaker: str, evidence: Vector, lengths: Vector) -> float:
        column = self._classifier.speakers.index(speaker)
        others = (evidence.sum(1) - evidence[:, column]) / max(1, evidence.shape[1] - 1)
        return float((evidence[:, column] - others).sum() / lengths.sum())


class Difference(NamedTuple):
    """A way in which replies differ from a person's own."""

    says: str
    errors: float
    """Standard errors of the difference."""


def differences(
    texts: Sequence[str], own: Sequence[str], form: Sequence[Dimension], name: str
) -> list[Difference]:
    """Return how the form of some replies differs from a person's own, most certain first: words in
    a reply, and the share of each value of each dimension of form.

    Args:
        form: dimensions that rules read in every reply.
        name: what the person is called in the sentences.
    """
    found = []
    lengths = [np.asarray([len(words(text)) for text in of], dtype=float) for of in (texts, own)]
    mine, theirs = (float(of.mean()) for of in lengths)
    error = math.sqrt(sum(of.var(ddof=1) / len(of) for of in lengths if len(of) > 1))
    if error and abs(mine - theirs) > SURE * error:
        ratio = max(mine, theirs) / max(0.1, min(mine, theirs))
        how = "longer" if mine > theirs else "shorter"
        says = f"{ratio:.1f} times {how}: {mine:.0f} words a reply, {name} {theirs:.0f}"
        found.append(Difference(says, (mine - theirs) / error))
    for dimension in form:
        read: Callable[..., object] | None = reader(dimension.reader).read
        if read is None or dimension.reader == "length":
            continue
        if largest := _largest(dimension, texts, own, name):
            found.append(largest)
    return sorted(found, key=lambda one: -abs(one.errors))


def _largest(
    dimension: Dimension, texts: Sequence[str], own: Sequence[str], name: str
) -> Difference | None:
    """The surest difference of the shares of a dimension's values; None where none is sure."""
    mine, theirs = _shares(dimension, texts), _shares(dimension, own)
    found: list[Difference] = []
    for value in dimension.labels or ():
        p, q = mine.get(value, 0.0), theirs.get(value, 0.0)
        pooled = min(1.0, (p * len(texts) + q * len(own)) / (len(texts) + len(own)))
        error = math.sqrt(pooled * (1 - pooled) * (1 / len(texts) + 1 / len(own)))
        if error and abs(p - q) > SURE * error:
            says = (
                f"{dimension.description}: {value} in {100 * p:.0f} % of replies, "
                f"{name} {100 * q:.0f} %"
            )
            found.append(Difference(says, (p - q) / error))
    return max(found, key=lambda one: abs(one.errors)) if found else None


def _shares(dimension: Dimension, replies: Sequence[str]) -> dict[str, float]:
    read = reader(dimension.reader).read
    counts: dict[str, float] = defaultdict(float)
    for reply in replies:
        span = read(reply, ()) if read else None
        if span:
            counts[span.value] += 1 / len(replies)
    return counts


def within(values: Sequence[float]) -> Interval:
    """Return a 95 % interval of the mean over speakers, each drawn whole."""
    array = np.asarray(values)
    draws = resampled(len(array), DRAWS, "likeness speakers", len(array)) @ array / len(array)
    return interval(draws)
