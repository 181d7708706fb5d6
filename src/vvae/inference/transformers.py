"""Text generation by a transformers model in this process, with continuous batching and noise keyed
by reply.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from vvae.core.random import bits64

if TYPE_CHECKING:
    import torch
from vvae.core.errors import ConfigError
from vvae.core.reporting import Progress
from vvae.inference.engine import (
    DEFAULT_NEW_TOKENS,
    Completion,
    GenerationConfig,
    Request,
)
from vvae.inference.noise import uniform_rows

__all__ = ["SPARE_COLUMNS", "ReplyBatch", "TransformersEngine", "Wrote", "draw"]

PREFILL_TOKENS = 4096
"""Prompt tokens, padding included, read at once."""
SPARE_COLUMNS = 128
"""Columns of the cache beyond the longest reply; when they are used up, the rows are moved to the
left.
"""


@dataclass
class _Row:
    """A row of the cache: a reply being written, or what a contrast of it would say."""

    name: int
    prompt: tuple[int, ...]
    trunk: int
    """Tokens of the prompt that others may share."""
    config: GenerationConfig
    key: int
    length: int
    """Tokens in the cache."""
    tokens: list[int]
    """Written so far; a reply and its contrasts share them."""
    weight: float | None = None
    """Of a contrast; None of a reply."""

    @property
    def limit(self) -> int:
        """Tokens after which it is cut."""
        return self.config.max_new_tokens or DEFAULT_NEW_TOKENS


class Wrote(NamedTuple):
    """A reply's tokens so far, after a step; `finish_reason` where it has ended."""

    name: int
    tokens: Sequence[int]
    finish_reason: str | None


class TransformersEngine:
    """A transformers model in this process, with continuous batching: whoever is done makes room
    for the next.
    """

    def __init__(
        self, model: Any, tokenizer: Any, stops: Sequence[int], *, bf16: bool = False
    ) -> None:
        self._model, self._tokenizer, self._stops, self._bf16 = (
            model,
            tokenizer,
            frozenset(stops),
            bf16,
        )
        self._pad = stops[0]

    def complete(
        self,
        requests: Sequence[Request],
        config: GenerationConfig,
        *,
        seed: int,
        progress: Progress | None = None,
    ) -> list[Completion]:
        """Return completions in the order of the requests."""
        if not requests:
            return []
        limit = config.max_new_tokens or DEFAULT_NEW_TOKENS
        # The longest first: later ones fit where earlier ones ended, and memory is needed at once
        # or never. Those that share a trunk stand together.
        order = sorted(
            range(len(requests)),
            key=lambda i: _place(requests[i]),
            reverse=True,
        )
        longest = max(len(p) + len(r.opening) for r in requests for p in _prompts(r)) + limit
        each = 1 + max(len(request.contrasts) for request in requests)
        rows = max(each, min(each * len(requests), config.batch_tokens // longest))
        batch = self.batch(rows, longest + SPARE_COLUMNS, admit=max(1, rows // 4))
        for i in order:
            batch.add(i, requests[i], config, seed=seed)
        completions: dict[int, Completion] = {}
        was_training = self._model.training
        self._model.eval()
        try:
            while batch.busy:
                ended = [wrote for wrote in batch.step() if wrote.finish_reason]
                for name, tokens, finish_reason in ended:
                    completions[name] = Completion(
                        self.text(tokens).strip(), finish_reason or "", len(tokens)
                    )
                if progress and ended:
                    progress(len(completions), len(requests))
        finally:
            self._model.train(was_training)
        return [completions[i] for i in range(len(requests))]

    def text(self, tokens: Sequence[int]) -> str:
        """Return tokens as text, without special ones."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def batch(self, rows: int, columns: int, *, admit: int = 1) -> ReplyBatch:
        """Return an empty batch.

        Args:
            rows: replies at once.
            columns: tokens of prompt and reply, and some to spare.
            admit: rows that must be free before prompts are read.
        """
        return ReplyBatch(self._model, self._pad, self._stops, self._bf16, rows, columns, admit)


class ReplyBatch:
    """A batch of replies being written together, a token of each at a time; they come and go."""

    def __init__(
        self,
        model: Any,
        pad: int,
        stops: frozenset[int],
        bf16: bool,
        rows: int,
        columns: int,
        admit: int,
    ) -> None:
        from vvae.inference.kv_cache import RowCache

        self._model, self._pad, self._stops, self._bf16, self._admit = (
            model,
            pad,
            stops,
            bf16,
            admit,
        )
        self._cache = RowCache(rows, columns)
        self._waiting: deque[list[_Row]] = deque()
        self._alive: list[_Row] = []

    def add(self, name: int, request: Request, config: GenerationConfig, *, seed: int) -> None:
        """Queue a reply to write after those that wait; it takes a row, and one for each contrast.

        Raises:
            ConfigError: the batch has too few rows for it.
        """
        self.check(request)
        key, tokens = bits64("token", seed, request.key), list(request.opening)
        parts = [(request.prompt, None), *request.contrasts]
        rows = [((*prompt, *request.opening), weight) for prompt, weight in parts]
        self._waiting.append(
            [
                _Row(name, prompt, request.trunk, config, key, len(prompt), tokens, weight)
                for prompt, weight in rows
            ]
        )

    def check(self, request: Request) -> None:
        """Raise ConfigError where a reply with its contrasts needs more rows than there are."""
        if (rows := 1 + len(request.contrasts)) > self._cache.rows:
            what = f"{rows - 1} strengths take {rows} places, and there are {self._cache.rows}"
            raise ConfigError(what, where="strength", fix="ask for fewer, or give more --slots")

    def drop(self, name: int) -> None:
        """Drop a reply that nobody waits for any more."""
        import torch

        self._waiting = deque(rows for rows in self._waiting if rows[0].name != name)
        with torch.inference_mode():  # the cache was made in it, and can be changed nowhere else
            self._keep([number for number, row in enumerate(self._alive) if row.name != name])

    @property
    def busy(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self._waiting or self._alive)

    def step(self) -> list[Wrote]:
        """Read prompts where there is room, else write a token of each reply; return what has
        grown.

        The model must be in evaluation mode.
        """
        import torch

        device = self._model.device
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._bf16),
        ):
            free = self._cache.rows - len(self._alive)
            needed = len(self._waiting[0]) if self._waiting else 0
            if needed and free >= max(needed, min(self._admit, self._cache.rows)):
                rows = self._next(free)
                prompts = list(dict.fromkeys((row.prompt, row.trunk) for row in rows))
                logits, read, columns = self._prefill(prompts)
                place = {prompt: number for number, (prompt, _) in enumerate(prompts)}
                copies = [place[row.prompt] for row in rows]
                self._cache.admit(read, copies, columns)
                self._alive += rows
                return self._take(rows, logits[copies])
            return self._take(list(self._alive), self._step()) if self._alive else []

    def _next(self, free: int) -> list[_Row]:
        """The rows of the replies that wait longest, as many as are read at once. A prompt that
        several share is read once.
        """
        rows, prompts, width = list[_Row](), set[tuple[int, ...]](), 0
        while self._waiting and len(rows) + len(self._waiting[0]) <= free:
            of_reply = self._waiting[0]
            new = prompts | {row.prompt for row in of_reply}
            width = max(width, *(len(row.prompt) for row in of_reply))
            if rows and width * len(new) > PREFILL_TOKENS:
                break
            prompts = new
            rows += self._waiting.popleft()
        return rows

    def _take(self, rows: list[_Row], logits: torch.Tensor) -> list[Wrote]:
        logits = _set_off(rows, logits)
        replies = [row for row in rows if row.weight is None]
        places = [(row.key, len(row.tokens)) for row in replies]
        for row, token in zip(
            replies, draw(logits, [row.config for row in replies], places).tolist(), strict=True
        ):
            row.tokens.append(token)
        wrote = [self._wrote(row) for row in replies]
        ended = {reply.name for reply in wrote if reply.finish_reason}
        self._keep([number for number, row in enumerate(self._alive) if row.name not in ended])
        return wrote

    def _wrote(self, row: _Row) -> Wrote:
        if row.tokens[-1] in self._stops:
            return Wrote(row.name, row.tokens[:-1], "stop")
        return Wrote(row.name, row.tokens, "length" if len(row.tokens) >= row.limit else None)

    def _keep(self, staying: list[int]) -> None:
        if len(staying) < len(self._alive):
            self._alive = [self._alive[number] for number in self._cache.keep(staying)]

    def _prefill(
        self, prompts: Sequence[tuple[tuple[int, ...], int]]
    ) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """(B, vocabulary) logits of the first tokens of prompts, each with the length of its trunk;
        the cache; and (B, width) where in it a prompt's tokens stand, right-aligned.

        A trunk that several prompts share is read once, and the rest of each behind it.
        """
        import torch

        trunks = list(dict.fromkeys(prompt[:length] for prompt, length in prompts))
        if len(trunks) == len(prompts) or not all(length for _, length in prompts):
            whole = [prompt for prompt, _ in prompts]
            logits, cache = self._read(whole)
            width = max(map(len, whole))
            columns = torch.arange(width, device=self._model.device)
            return logits, cache, columns.expand(len(whole), width)
        _, cache = self._read(trunks)
        place = {trunk: number for number, trunk in enumerate(trunks)}
        own = [place[prompt[:length]] for prompt, length in prompts]
        cache.batch_select_indices(torch.tensor(own, device=self._model.device))
        before = [length for _, length in prompts]
        rests = [prompt[length:] for prompt, length in prompts]
        logits, cache = self._read(rests, cache, before)
        width, middle, end = (
            max(len(prompt) for prompt, _ in prompts),
            max(before),
            max(before) + max(map(len, rests)),
        )
        columns = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, (length, rest) in enumerate(zip(before, rests, strict=True)):
            there = [*range(middle - length, middle), *range(end - len(rest), end)]
            columns[row, width - len(there) :] = torch.tensor(there)
        return logits, cache, columns.to(self._model.device)

    def _read(
        self, texts: Sequence[tuple[int, ...]], cache: Any = None, before: Sequence[int] = ()
    ) -> tuple[torch.Tensor, Any]:
        """(B, vocabulary) logits behind texts, left-padded, and the cache, where each may have a
        text before it, left-padded, too.
        """
        import torch

        device, width = self._model.device, max(map(len, texts))
        earlier = max(before, default=0)
        starts = before or [0] * len(texts)
        ids = torch.tensor([[self._pad] * (width - len(t)) + list(t) for t in texts], device=device)
        mask = torch.tensor(
            [
                [0] * (earlier - start) + [1] * start + [0] * (width - len(text)) + [1] * len(text)
                for start, text in zip(starts, texts, strict=True)
            ],
            device=device,
        )
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, earlier:]
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1], output.past_key_values

    def _step(self) -> torch.Tensor:
        """(B, vocabulary) logits of the next token of each reply."""
        import torch

        device, alive = self._model.device, self._alive
        lengths = torch.tensor([row.length for row in alive], device=device)[:, None]
        longest = int(lengths.max())
        self._cache.see(longest)
        output = self._model(
            input_ids=torch.tensor([[row.tokens[-1]] for row in alive], device=device),
            attention_mask=torch.arange(longest + 1, device=device)[None] >= longest - lengths,
            position_ids=lengths,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache.advance()
        for row in alive:
            row.length += 1
        return cast("torch.Tensor", output.logits[:, -1])


def _prompts(request: Request) -> Iterator[tuple[int, ...]]:
    """The prompt of a request, and what it is set off against."""
    yield request.prompt
    yield from (one.prompt for one in request.contrasts)


def _place(request: Request) -> tuple[int, tuple[int, ...], int, str]:
    """By what requests are ordered."""
    length = request.trunk or len(request.prompt)
    return length, request.prompt[:length], len(request.prompt), request.key


def _set_off(rows: Sequence[_Row], logits: torch.Tensor) -> torch.Tensor:
    """(replies, vocabulary) logits of (B, vocabulary) ones: each reply's, pushed away from those of
    its contrasts. Rows stand in any order.
    """
    import torch

    if all(row.weight is None for row in rows):
        return logits
    logits = logits.float()
    own = {row.name: number for number, row in enumerate(rows) if row.weight is None}
    pushed = {name: logits[number].clone() for name, number in own.items()}
    for number, row in enumerate(rows):
        if row.weight is not None:
            pushed[row.name] += row.weight * (logits[own[row.name]] - logits[number])
    return torch.stack(list(pushed.values()))


def draw(
    logits: torch.Tensor, configs: Sequence[GenerationConfig], places: Sequence[tuple[int, int]]
) -> torch.Tensor:
    """Return a token for each row of (B, vocabulary) logits: argmax of logits / T plus Gumbel
    noise, keyed by (key, position).

    argmax(log p + g) with g ~ Gumbel(0, 1) is a draw from p (the Gumbel-max trick), here without
    shared state. A row of temperature 0 is the argmax itself.
    """
    import torch

    logits = logits.float()
    noisy = [row for row, config in enumerate(configs) if config.temperature > 0]
    tokens = logits.argmax(-1)
    if not noisy:
        return tokens
    scores = logits[noisy] / torch.tensor(
        [[configs[row].temperature] for row in noisy], device=logits.device
    )
    if any(configs[row].top_p < 1 for row in noisy):
        scores = _nucleus(
            scores, torch.tensor([[configs[row].top_p] for row in noisy], device=logits.device)
        )
    uniform = uniform_rows([places[row] for row in noisy], scores.shape[1], scores.device)
    tokens[noisy] = (scores - torch.log(-torch.log(uniform))).argmax(-1)
    return tokens


def _nucleus(logits: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Keeps of each row the smallest set of tokens whose probability reaches its top_p (B, 1)."""
    ordered, order = logits.sort(dim=-1, descending=True)
    probability = ordered.softmax(-1)
    ordered[(probability.cumsum(-1) - probability >= top_p) & (top_p < 1)] = float("-inf")
    return logits.scatter(-1, order, ordered)
