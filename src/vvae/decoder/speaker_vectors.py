"""A learned vector per speaker in the place of words: the entangled persona that a readable z is
compared with.

Behind the vocabulary stand the speakers: token id V + k is looked up here and not in the embedding
matrix, so that trees, loss and generation need not know. A speaker's vector is a common part and an
own one,

    e(V + k) = RATE (common + own_k),        e(V + n) = RATE common for anybody else,

and starts as the mean of the vocabulary's embeddings. Soft prompts need steps far longer than an
adapter's (Lester et al., arXiv 2104.08691, use 0.3); Adam's steps do not depend on scale, so RATE
lengthens these with no second optimizer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["SpeakerVectors"]

RATE = 100.0
FILE = "voices.safetensors"


class SpeakerVectors(torch.nn.Module):
    """A layer of a model's input embeddings, with the speakers' vectors behind them.

    Args:
        base: the model's own, left as it is.
        speakers: in the order of their ids.
    """

    def __init__(self, base: Any, speakers: Sequence[str]) -> None:
        super().__init__()
        self.base, self.speakers = base, tuple(speakers)
        self._size = int(base.num_embeddings)
        self._ids = {speaker: self._size + k for k, speaker in enumerate(self.speakers)}
        mean = base.weight.detach().float().mean(0) / RATE
        self.common = torch.nn.Parameter(mean)
        self.own = torch.nn.Parameter(
            torch.zeros(len(self.speakers), len(mean), device=mean.device)
        )

    @property
    def weight(self) -> torch.Tensor:
        """Return the vocabulary's embeddings."""
        return self.base.weight  # type: ignore[no-any-return]

    def id_of(self, speaker: str) -> int:
        """Return the token id of a speaker; that of nobody in particular for one who was not
        trained on.
        """
        return self._ids.get(speaker, self._size + len(self.speakers))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of token ids, in the vocabulary's type."""
        in_vocabulary = (ids < self._size)[..., None]
        words: torch.Tensor = self.base(ids.clamp(max=self._size - 1))
        own = torch.cat([self.own, self.own.new_zeros(1, self.own.shape[1])])
        voices = RATE * (self.common + own[(ids - self._size).clamp(min=0)])
        return words.where(in_vocabulary, voices.to(words.dtype))

    def save(self, folder: Path) -> None:
        """Write the vectors and whose they are."""
        from safetensors.torch import save_file

        vectors = {
            "common": self.common.detach().contiguous(),
            "own": self.own.detach().contiguous(),
        }
        save_file(
            vectors,
            folder / FILE,
            metadata={"speakers": json.dumps(self.speakers, ensure_ascii=False)},
        )

    @classmethod
    def load(cls, base: Any, folder: Path) -> SpeakerVectors | None:
        """Return those saved beside an adapter, or None where there are none."""
        from safetensors import safe_open

        if not (folder / FILE).is_file():
            return None
        with safe_open(folder / FILE, framework="pt") as file:
            voices = cls(base, json.loads(file.metadata()["speakers"]))
            with torch.no_grad():
                voices.common.copy_(file.get_tensor("common"))
                voices.own.copy_(file.get_tensor("own"))
        return voices
