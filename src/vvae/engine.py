"""Text generation behind one Protocol.

A draw is keyed by request: the noise that picks a token is a function of (seed, request key, position), so a reply
does not depend on which others were generated beside it or in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vvae.keyed_random import bits64

if TYPE_CHECKING:
    import torch

    from vvae.slots import SlotCache

DEFAULT_NEW_TOKENS = 128
PREFILL_TOKENS = 4096
"""Prompt tokens, padding included, read at once."""
SPARE_COLUMNS = 128
"""Columns of the cache beyond the longest reply; when they are used up, the rows are moved to the left."""

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
    batch_tokens: int = Field(16384, ge=1, description="prompt and reply tokens in memory at once")


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


@dataclass
class _Row:
    """A reply being written."""

    index: int
    key: int
    length: int
    """Tokens in the cache."""
    tokens: list[int]


class TransformersEngine:
    """A transformers model in this process, with continuous batching: whoever is done makes room for the next."""

    def __init__(self, model: Any, tokenizer: Any, stops: Sequence[int], *, bf16: bool = False) -> None:
        self._model, self._tokenizer, self._stops, self._bf16 = model, tokenizer, frozenset(stops), bf16
        self._pad = stops[0]

    def complete(
        self, requests: Sequence[Request], config: GenerationConfig, *, seed: int, progress: Progress | None = None
    ) -> list[Completion]:
        """Completions in the order of the requests."""
        import torch

        if not requests:
            return []
        device = self._model.device
        was_training = self._model.training
        self._model.eval()
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._bf16):
            done = self._write(requests, config, seed, progress)
        self._model.train(was_training)
        return [done[i] for i in range(len(requests))]

    def _write(
        self, requests: Sequence[Request], config: GenerationConfig, seed: int, progress: Progress | None
    ) -> dict[int, Completion]:
        from vvae.slots import SlotCache

        limit = config.max_new_tokens or DEFAULT_NEW_TOKENS
        # The longest prompts first: later ones fit where earlier ones ended, and memory is needed at once or never.
        waiting = sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt), requests[i].key))
        longest = len(requests[waiting[-1]].prompt) + limit
        cache = SlotCache(max(1, min(len(requests), config.batch_tokens // longest)), longest + SPARE_COLUMNS)
        alive: list[_Row] = []
        done: dict[int, Completion] = {}

        def take(rows: list[_Row], logits: torch.Tensor) -> None:
            places = [(row.key, len(row.tokens)) for row in rows]
            for row, token in zip(rows, draw(logits, config, places).tolist(), strict=True):
                row.tokens.append(token)
            staying = []
            for number, row in enumerate(alive):
                stopped = row.tokens[-1] in self._stops
                if stopped or len(row.tokens) == limit:
                    said = row.tokens[:-1] if stopped else row.tokens
                    text = self._tokenizer.decode(said, skip_special_tokens=True).strip()
                    done[row.index] = Completion(text, "stop" if stopped else "length", len(said))
                else:
                    staying.append(number)
            if len(staying) < len(alive):
                alive[:] = [alive[number] for number in cache.keep(staying)]
                if progress:
                    progress(len(done), len(requests))

        while waiting or alive:
            free = cache.rows - len(alive)
            if waiting and free >= max(1, cache.rows // 4):
                count = min(free, max(1, PREFILL_TOKENS // len(requests[waiting[-1]].prompt)))
                waiting, chosen = waiting[:-count], waiting[-count:]
                rows = [_Row(i, bits64("token", seed, requests[i].key), len(requests[i].prompt), []) for i in chosen]
                logits, prompts = self._prefill([requests[i].prompt for i in chosen])
                cache.admit(prompts)
                alive += rows
                take(rows, logits)
            elif alive:
                take(alive, self._step(alive, cache))
        return done

    def _prefill(self, prompts: Sequence[tuple[int, ...]]) -> tuple[torch.Tensor, Any]:
        """(B, vocabulary) logits of the first tokens, and the cache of the left-padded prompts."""
        import torch

        width = max(map(len, prompts))
        padding = [width - len(prompt) for prompt in prompts]
        device = self._model.device
        ids = torch.tensor([[self._pad] * n + list(p) for n, p in zip(padding, prompts, strict=True)], device=device)
        mask = torch.tensor([[0] * n + [1] * (width - n) for n in padding], device=device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        output = self._model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1
        )
        return output.logits[:, -1], output.past_key_values

    def _step(self, alive: Sequence[_Row], cache: SlotCache) -> torch.Tensor:
        """(B, vocabulary) logits of the next token of each reply."""
        import torch

        device = self._model.device
        lengths = torch.tensor([row.length for row in alive], device=device)[:, None]
        longest = int(lengths.max())
        cache.see(longest)
        output = self._model(
            input_ids=torch.tensor([[row.tokens[-1]] for row in alive], device=device),
            attention_mask=torch.arange(longest + 1, device=device)[None] >= longest - lengths,
            position_ids=lengths,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache.advance()
        for row in alive:
            row.length += 1
        return cast("torch.Tensor", output.logits[:, -1])


def draw(logits: torch.Tensor, config: GenerationConfig, places: Sequence[tuple[int, int]]) -> torch.Tensor:
    """A token for each row of (B, vocabulary) logits: argmax of logits / T plus Gumbel noise, keyed by (key, position).

    argmax(log p + g) with g ~ Gumbel(0, 1) is a draw from p (the Gumbel-max trick), here without shared state.
    """
    import torch

    if config.temperature == 0:
        return logits.argmax(-1)
    scores = logits.float() / config.temperature
    if config.top_p < 1:
        scores = _nucleus(scores, config.top_p)
    uniform = torch.from_numpy(np.stack([_row(*place, scores.shape[1]) for place in places]))
    return (scores - torch.log(-torch.log(uniform)).to(scores.device)).argmax(-1)


def _row(key: int, position: int, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Uniform numbers strictly between 0 and 1 for one position of one request."""
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, position]))
    return generator.random(size, dtype=np.float32) * np.float32(1 - 2**-23) + np.float32(2**-25)


def _nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keeps the smallest set of tokens whose probability reaches top_p."""
    ordered, order = logits.sort(dim=-1, descending=True)
    probability = ordered.softmax(-1)
    ordered[probability.cumsum(-1) - probability >= top_p] = float("-inf")
    return logits.scatter(-1, order, ordered)
