"""Training replies as text, as the model gets them: for whoever wants to see what is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from vvae.decoder.train import BuildTree, Step

__all__ = ["Example", "examples"]


class Example(NamedTuple):
    """A training reply."""

    pair_id: str
    prompt: str
    """What stands before it: the chat, and z where it is shown."""
    prompt_tokens: int
    reply: tuple[str, ...]
    """The tokens that carry loss, as text; those that are a character only together stand
    together."""
    reply_tokens: int


def examples(tokenizer: Any, steps: Iterable[Step], build: BuildTree, number: int) -> list[Example]:
    """Return the first training replies of a plan, in its order."""
    result: list[Example] = []
    for step in steps:
        for window in step.windows:
            trunk, *branches = build(window, step.draw).nodes
            for branch in branches[: number - len(result)]:
                begin = len(branch.tokens) - branch.supervised
                prompt = [*trunk.tokens[: branch.cut], *branch.tokens[:begin]]
                reply = _pieces(branch.tokens[begin:], tokenizer.decode)
                pair_id = branch.key.rpartition("|")[0]
                count = branch.supervised
                result.append(Example(pair_id, tokenizer.decode(prompt), len(prompt), reply, count))
            if len(result) == number:
                return result
    return result


def _pieces(tokens: Sequence[int], text: Callable[[list[int]], str]) -> tuple[str, ...]:
    """Tokens as text, as few together as are whole characters.

    >>> letters = {1: "ok", 2: "\\N{REPLACEMENT CHARACTER}"}
    >>> _pieces([1, 2, 2, 1], lambda ids: "å" if ids == [2, 2] else letters[ids[0]])
    ('ok', 'å', 'ok')
    """
    pieces, held = list[str](), list[int]()
    for token in tokens:
        held.append(token)
        if not (piece := text(held)).endswith("\N{REPLACEMENT CHARACTER}"):
            pieces.append(piece)
            held = []
    return (*pieces, *([text(held)] if held else []))
