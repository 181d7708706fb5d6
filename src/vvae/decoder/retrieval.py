"""A speaker's training replies that answered what is most like the message to answer now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from vvae.core.dialogue import Dialogue, Pair, context
from vvae.encoders.embedder import Embedder

__all__ = ["Nearest"]


class Nearest:
    """A search of training replies by the meaning of the turn they answered (sentence embeddings,
    cosine).

    Args:
        pairs: of all speakers; only the training side is looked at.
    """

    def __init__(self, pairs: Sequence[Pair], dialogues: Mapping[str, Dialogue]) -> None:
        self._dialogues = dialogues
        self._own: dict[str, list[Pair]] = defaultdict(list)
        for pair in pairs:
            if pair.split == "train":
                self._own[pair.speaker].append(pair)
        self._embedder = Embedder()

    def replies(self, pair: Pair, speaker: str, number: int) -> list[str]:
        """Return the speaker's replies, nearest first; never the pair's own."""
        own = [
            candidate
            for candidate in self._own.get(speaker, ())
            if candidate.pair_id != pair.pair_id
        ]
        answered = self._embedder.matrix([self._heard(candidate) for candidate in own])
        nearness = answered @ self._embedder.matrix([self._heard(pair)])[0]
        return [own[i].response for i in np.argsort(-nearness, kind="stable")[:number]]

    def _heard(self, pair: Pair) -> str:
        return context(self._dialogues[pair.dialogue], pair)[-1].text
