"""Whom does a reply sound like? A plain classifier of speakers, trained on human replies.

Multinomial naive Bayes on character trigrams, case kept, all speakers equally likely beforehand::

    argmax_s  sum_f  n_f log p(f | s),      p(f | s) = (n_sf + alpha) / (n_s + alpha V)

It is no good judge of a single short reply; people's own replies say how good (the ceiling). Chance
is one of S.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["SpeakerClassifier"]

ALPHA = 0.1
LENGTH = 3


class SpeakerClassifier:
    """A classifier of speakers, trained on each one's replies.

    Args:
        replies: speaker -> human training replies.
    """

    def __init__(self, replies: Mapping[str, Sequence[str]]) -> None:
        self.speakers = sorted(replies)
        counted = [
            Counter(gram for text in replies[s] for gram in _grams(text)) for s in self.speakers
        ]
        self._columns = {gram: i for i, gram in enumerate(sorted(set().union(*counted)))}
        counts = np.zeros((len(self._columns), len(self.speakers)))
        for column, counter in enumerate(counted):
            for gram, n in counter.items():
                counts[self._columns[gram], column] = n
        self._log_p = np.log(counts + ALPHA) - np.log(counts.sum(0) + ALPHA * len(self._columns))

    def evidence(self, text: str) -> npt.NDArray[np.float64]:
        """Return log p(text | s) of each speaker, in the order of `speakers`; trigrams that nobody
        wrote in training are left out.
        """
        rows = [row for gram in _grams(text) if (row := self._columns.get(gram)) is not None]
        return np.asarray(self._log_p[rows].sum(0))

    def speaker(self, texts: Iterable[str]) -> str:
        """Return the speaker whom replies, taken together, sound like most."""
        return self.speakers[
            int(sum(map(self.evidence, texts), np.zeros(len(self.speakers))).argmax())
        ]


def _grams(text: str) -> Iterable[str]:
    return (text[i : i + LENGTH] for i in range(len(text) - LENGTH + 1))
