"""Text generation behind one Protocol.

A draw is keyed by request: the noise that picks a token is a function of (seed, request key, position), so a reply
does not depend on which others were generated beside it or in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vvae.keyed_random import bits64

if TYPE_CHECKING:
    import torch

DEFAULT_NEW_TOKENS = 128

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

__all__ = ["Completion", "Engine", "GenerationConfig", "Request", "TransformersEngine"]


class GenerationConfig(BaseModel):
    """How replies are drawn.

    The defaults sample from the model as it is. Truncation and low temperature shrink every rare event, so a rate can
    only be right at temperature 1 and top_p 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, ge=0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int | None = Field(None, ge=1, description="null: the 99th percentile of human replies")
    batch_tokens: int = Field(8192, ge=1, description="prompt and reply tokens in memory at once")


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt as token ids, and the key of its draws."""

    key: str
    prompt: tuple[int, ...]


class Completion(NamedTuple):
    """A reply, and whether it ended by itself (``stop``) or was cut (``length``)."""

    text: str
    finish_reason: str
    tokens: int


class Engine(Protocol):
    """Anything that completes prompts."""

    def complete(
        self, requests: Sequence[Request], config: GenerationConfig, *, seed: int, progress: Progress | None = None
    ) -> list[Completion]:
        """Completions in the order of the requests."""
        ...


class TransformersEngine:
    """A transformers model in this process. Batches hold prompts of similar length; finished replies leave
    their batch."""

    def __init__(self, model: Any, tokenizer: Any, stops: Sequence[int], *, bf16: bool = False) -> None:
        self._model, self._tokenizer, self._stops, self._bf16 = model, tokenizer, frozenset(stops), bf16
        self._pad = stops[0]

    def complete(
        self, requests: Sequence[Request], config: GenerationConfig, *, seed: int, progress: Progress | None = None
    ) -> list[Completion]:
        """Completions in the order of the requests."""
        done: dict[int, Completion] = {}
        limit = config.max_new_tokens or DEFAULT_NEW_TOKENS
        order = sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt), requests[i].key))
        while order:  # the longest first: what does not fit into memory fails at once
            rows = max(1, config.batch_tokens // (len(requests[order[-1]].prompt) + limit))
            order, chosen = order[:-rows], order[-rows:]
            for index, completion in zip(chosen, self._batch([requests[i] for i in chosen], config, seed), strict=True):
                done[index] = completion
            if progress:
                progress(len(done), len(requests))
        return [done[i] for i in range(len(requests))]

    def _batch(self, requests: Sequence[Request], config: GenerationConfig, seed: int) -> list[Completion]:
        import torch

        limit = config.max_new_tokens or DEFAULT_NEW_TOKENS
        width = max(len(r.prompt) for r in requests)
        padding = [width - len(r.prompt) for r in requests]
        device = self._model.device
        ids = torch.tensor(
            [[self._pad] * n + list(r.prompt) for n, r in zip(padding, requests, strict=True)], device=device
        )
        mask = torch.tensor([[0] * n + [1] * (width - n) for n in padding], device=device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        keys = [bits64("token", seed, r.key) for r in requests]
        replies: list[list[int]] = [[] for _ in requests]
        stopped = [False] * len(requests)
        alive = list(range(len(requests)))
        cache = None
        was_training = self._model.training
        self._model.eval()
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._bf16):
            for step in range(limit):
                output = self._model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                cache = output.past_key_values
                tokens = draw(output.logits[:, -1], config, [keys[i] for i in alive], step).tolist()
                staying = []
                for row, (index, token) in enumerate(zip(alive, tokens, strict=True)):
                    if token in self._stops:
                        stopped[index] = True
                    else:
                        replies[index].append(token)
                        staying.append(row)
                if not staying:
                    break
                if len(staying) < len(alive):
                    kept = torch.tensor(staying, device=device)
                    cache.batch_select_indices(kept)
                    mask, positions = mask[kept], positions[kept]
                    alive = [alive[row] for row in staying]
                ids = torch.tensor([[replies[i][-1]] for i in alive], device=device)
                mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
                positions = positions[:, -1:] + 1
        self._model.train(was_training)
        texts = [self._tokenizer.decode(reply, skip_special_tokens=True).strip() for reply in replies]
        reasons = ["stop" if stop else "length" for stop in stopped]
        return [Completion(*row) for row in zip(texts, reasons, map(len, replies), strict=True)]


def draw(logits: torch.Tensor, config: GenerationConfig, keys: Sequence[int], step: int) -> torch.Tensor:
    """A token for each row of (B, vocabulary) logits: argmax of logits / T plus Gumbel noise, keyed by row and step.

    argmax(log p + g) with g ~ Gumbel(0, 1) is a draw from p (the Gumbel-max trick), here without shared state.
    """
    import torch

    if config.temperature == 0:
        return logits.argmax(-1)
    scores = logits.float() / config.temperature
    if config.top_p < 1:
        scores = _nucleus(scores, config.top_p)
    uniform = torch.from_numpy(np.stack([_row(key, step, scores.shape[1]) for key in keys]))
    return (scores - torch.log(-torch.log(uniform)).to(scores.device)).argmax(-1)


def _row(key: int, step: int, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Uniform numbers strictly between 0 and 1 for one position of one request."""
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, step]))
    return generator.random(size, dtype=np.float32) * np.float32(1 - 2**-23) + np.float32(2**-25)


def _nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keeps the smallest set of tokens whose probability reaches top_p."""
    ordered, order = logits.sort(dim=-1, descending=True)
    probability = ordered.softmax(-1)
    ordered[probability.cumsum(-1) - probability >= top_p] = float("-inf")
    return logits.scatter(-1, order, ordered)
