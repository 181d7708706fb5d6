"""Closed dimensions by meaning: a reply's sentence embedding against the labels' example sentences,
or given to a trained head where the dimension names one.

A label's raw score is the largest cosine with one of its examples. Labels differ in how near they
lie to chat in general, so scores are standardised by each label's mean and deviation over training
replies; the best label is reported if it stands out from chat (`min_score`) and from the second
(`min_margin`) and is near an example at all (`min_cosine`), else the dimension is null. Labels that
a head has learnt, in the kind of script a reply is written in, are read by the head alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from vvae.core.errors import ConfigError, choose_from
from vvae.core.text import words
from vvae.encoders.embedder import Embedder
from vvae.encoders.rules.heads import Head, load_head, script_of
from vvae.latent.space import Dimension

__all__ = ["Label", "PrototypeConfig", "PrototypeReader", "Standard", "Window", "nearest_labels"]

Window = tuple[str, ...]
"""The last turns of a conversation, the reply at the end."""


SHRINKAGE = 200
TYPICAL_MEAN, TYPICAL_DEVIATION = 0.13, 0.085
"""What labels score over replies of the BYU corpus, worth `SHRINKAGE` replies."""


class PrototypeConfig(BaseModel):
    """A set of thresholds that say when a label is reported."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_score: float = Field(
        2.0, description="standard deviations above the label's mean over training replies"
    )
    min_margin: float = Field(0.5, ge=0, description="and above the second label")
    min_cosine: float = Field(0.3, description="and at least this near to one of its examples")
    min_probability: float = Field(
        0.3, ge=0, le=1, description="of a label that a head hears over several turns"
    )
    min_words: int = Field(3, ge=1, description="shorter replies are null")
    calibration_replies: int = Field(
        4000, ge=100, description="training replies the scores are standardised on"
    )


class Standard(NamedTuple):
    """A mean and a deviation of each label's raw score over training replies, in label order."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Label(NamedTuple):
    """A reported label and how sure the reading is, in (0, 1): a head's probability, or a monotone
    function of the standardised score.
    """

    value: str
    confidence: float


def nearest_labels(dimension: Dimension, embedder: Embedder) -> dict[str, str]:
    """Return, for each label, the other one whose example sentences mean what is most like its own;
    none for an open dimension.
    """
    labels = list(dimension.labels or {})
    if len(labels) < 2:
        return {}
    means = np.stack(
        [embedder.matrix(signs.examples).mean(0) for signs in (dimension.labels or {}).values()]
    )
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    likeness = means @ means.T
    np.fill_diagonal(likeness, -np.inf)
    return {
        label: labels[int(best)] for label, best in zip(labels, likeness.argmax(1), strict=True)
    }


class PrototypeReader:
    """A reader of one closed dimension."""

    def __init__(self, dimension: Dimension, config: PrototypeConfig, embedder: Embedder) -> None:
        labels = {label: signs.examples for label, signs in (dimension.labels or {}).items()}
        self.dimension, self.config, self._embedder = dimension, config, embedder
        self.labels = tuple(labels)
        self._head = load_head(dimension.head) if dimension.head else None
        self._heard = [signs.heard or (name,) for name, signs in (dimension.labels or {}).items()]
        for signs in (dimension.labels or {}).values():
            known = self._head.labels if self._head else ()
            if unknown := [label for label in signs.heard if label not in known]:
                what = (
                    f"dimension {dimension.name!r} hears {unknown[0]!r}, its head does not know it"
                )
                raise ConfigError(
                    what, fix=choose_from(unknown[0], known) if known else "name a head"
                )
        self._examples = embedder.matrix([e for examples in labels.values() for e in examples])
        self._starts = np.cumsum([0, *(len(examples) for examples in labels.values())])[:-1]
        self.standard: Standard | None = None

    def raw(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return raw scores, shape (len(texts), number of labels)."""
        cosines = (self._embedder.matrix(texts) @ self._examples.T).astype(np.float64)
        return np.maximum.reduceat(cosines, self._starts, axis=1)

    def fit(self, texts: Sequence[str]) -> Standard:
        """Standardise on training replies and return the standard; few replies are shrunk towards
        the scores of chat in general.
        """
        scores = self.raw(texts)
        total = len(texts) + SHRINKAGE
        mean = (scores.sum(0) + SHRINKAGE * TYPICAL_MEAN) / total
        squares = ((scores - mean) ** 2).sum(0) + SHRINKAGE * (
            TYPICAL_DEVIATION**2 + (mean - TYPICAL_MEAN) ** 2
        )
        deviation = np.sqrt(squares / total)
        self.standard = Standard(tuple(np.round(mean, 6)), tuple(np.round(deviation, 6)))
        return self.standard

    def scores(self, windows: Sequence[Window]) -> npt.NDArray[np.float64]:
        """Return how much of each label is in each window's reply, whatever is reported, shape
        (windows, labels): a head's probability of those that it has learnt, else the standardised
        likeness to an example. Only scores of one label can be compared.
        """
        assert self.standard is not None, "fit before reading"
        texts = [window[-1] for window in windows]
        mean, deviation = (np.asarray(of, dtype=np.float64) for of in self.standard)
        found: npt.NDArray[np.float64] = (self.raw(texts) - mean) / deviation
        if self._head is not None:
            heard = self._head.heard(texts, self._embedder.matrix(texts))
            for column, labels in enumerate(self._heard):
                known = [self._head.labels.index(k) for k in labels if k in self._head.labels]
                if known:
                    found[:, column] = heard[:, known].max(1)
        return found

    def read(self, windows: Sequence[Window]) -> list[Label | None]:
        """Return the label of each window's reply, or None."""
        assert self.standard is not None, "fit before read"
        texts = [window[-1] for window in windows]
        cosines = self.raw(texts)
        scores = (cosines - np.asarray(self.standard.mean)) / np.asarray(self.standard.deviation)
        if self._head is None:
            rows = zip(texts, cosines, scores, strict=True)
            return [self._label(text, cosine, score) for text, cosine, score in rows]
        if self.dimension.turns > 1:
            named = self._over_turns(self._head, windows)
        else:
            named = self._head.read(texts, self._embedder.matrix(texts))
        learnt = {
            script: np.asarray([not known.keys().isdisjoint(heard) for heard in self._heard])
            for script, known in self._head.thresholds.items()
        }
        readings: list[Label | None] = []
        for text, label, cosine, score in zip(texts, named, cosines, scores, strict=True):
            if label is not None:
                found = label[0] in self.labels
                readings.append(Label(label[0], round(label[1], 4)) if found else None)
            else:
                mine = np.where(learnt[script_of(text)], -np.inf, score)
                readings.append(self._label(text, cosine, mine))
        return readings

    def _over_turns(self, head: Head, windows: Sequence[Window]) -> list[tuple[str, float] | None]:
        """Return the likeliest label over the turns of each window with its probability, where that
        is enough: a turn's labels count half as much as those of the turn after it.
        """
        turns = sorted({turn for window in windows for turn in window})
        place = {turn: row for row, turn in enumerate(turns)}
        found = head.heard(turns, self._embedder.matrix(turns))
        columns = [
            [head.labels.index(label) for label in heard if label in head.labels]
            for heard in self._heard
        ]
        of_turns = np.stack(
            [found[:, c].max(1) if c else np.zeros(len(turns)) for c in columns], axis=1
        )
        named: list[tuple[str, float] | None] = []
        for window in windows:
            weights = 0.5 ** np.arange(len(window))[::-1]
            mean = weights @ of_turns[[place[turn] for turn in window]] / weights.sum()
            best = int(mean.argmax())
            sure = mean[best] >= self.config.min_probability
            named.append((self.labels[best], float(mean[best])) if sure else None)
        return named

    def _label(
        self, text: str, cosines: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]
    ) -> Label | None:
        best = int(scores.argmax())
        if cosines[best] < self.config.min_cosine or len(words(text)) < self.config.min_words:
            return None
        second = float(np.partition(scores, -2)[-2]) if len(scores) > 1 else -np.inf
        enough = (
            self.config.min_score if self.dimension.min_score is None else self.dimension.min_score
        )
        if not scores[best] >= enough or scores[best] - second < self.config.min_margin:
            return None
        return Label(self.labels[best], _confidence(float(scores[best])))


def _confidence(score: float) -> float:
    """A standardised score as a number in (0, 1): monotone, not a calibrated probability."""
    return round(score / (score + 2.0), 4) if score > 0 else 0.0
