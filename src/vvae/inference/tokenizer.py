"""Prompts as token ids: a tokenizer and its chat template, taken apart once; no weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

from vvae.core.dialogue import Dialogue, Pair, context
from vvae.core.errors import ModelError
from vvae.inference.engine import Contrast, Request
from vvae.inference.models import load_tokenizer
from vvae.inference.prompts import PersonaLine, SpeakerVector, trunk
from vvae.inference.template import Frame, escape

__all__ = ["Prompter", "load_prompter"]

REMEMBERED = 4096
"""Pieces of prompts: a chat's turns come again with each of its replies."""
LONGEST_REMEMBERED = 2000
"""Characters, so that what is remembered stays small."""


class Prompter:
    """A tokenizer and its frame."""

    def __init__(self, tokenizer: Any, frame: Frame, model: str) -> None:
        self.tokenizer, self.frame = tokenizer, frame
        self.speaker_id: Callable[[str], int] | None = None
        """The token id of a speaker's learned vector, while an adapter with vectors is loaded."""
        self._one_at_a_time = Lock()  # a tokenizer in use by two threads says "already borrowed"
        self._remembered = lru_cache(REMEMBERED)(self._tokens)
        end = self.tokens(frame.end)
        self.stops = tuple(
            dict.fromkeys(
                i for i in (end[0] if end else None, tokenizer.eos_token_id) if i is not None
            )
        )
        if not self.stops:
            raise ModelError("the model has no end-of-turn token", where=model)

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a piece of prompt."""
        return self._remembered(text) if len(text) <= LONGEST_REMEMBERED else self._tokens(text)

    def _tokens(self, text: str) -> tuple[int, ...]:
        with self._one_at_a_time:
            return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def header(self, line: PersonaLine) -> tuple[int, ...]:
        """Return the token ids between the last user content and the reply.

        Raises:
            ModelError: the persona is a vector, and no adapter that has learnt it is loaded.
        """
        if not isinstance(line, SpeakerVector):
            return self.tokens(self.frame.branch(line))
        if self.speaker_id is None:
            raise ModelError(
                "this persona is a vector that only the adapter it was trained with can read"
            )
        before, after = self.frame.around_vector
        return (*self.tokens(before), self.speaker_id(line.speaker), *self.tokens(after))

    def request(
        self,
        dialogue: Dialogue,
        pair: Pair,
        line: PersonaLine,
        *,
        key: str | None = None,
        preface: str = "",
        begun: str = "",
        set_off: Sequence[tuple[PersonaLine, float]] = (),
    ) -> Request:
        """Return the prompt for a pair's reply under a z block.

        Args:
            set_off: other z blocks, each with the weight by which the reply is pushed away from
                what it would be under it.
            preface: text after the system line.
            begun: what of the reply is there already.
        """
        turns, named = context(dialogue, pair), len({*dialogue.speakers, pair.speaker}) > 2
        prefix = trunk(self.frame, turns, pair.speaker, named=named, preface=preface)
        ids = [token for segment in prefix.segments for token in self.tokens(segment)]
        reply_ids = self.tokens(escape(begun, self.frame.control)) if begun else ()

        def prompt(block: PersonaLine) -> tuple[int, ...]:
            return (*ids, *self.header(block), *reply_ids)

        contrasts = tuple(Contrast(prompt(block), weight) for block, weight in set_off)
        return Request(key or pair.pair_id, prompt(line), contrasts, len(ids))


def load_prompter(model: str) -> Prompter:
    """Return the prompter of a model by its name in a config.

    Raises:
        ModelError: its tokenizer cannot be found or loaded, or has no chat template.
        TemplateError: its chat template cannot carry context and z.
    """
    tokenizer = load_tokenizer(model)

    def render(messages: list[dict[str, str]], generation: bool) -> str:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation, enable_thinking=False
        )
        return str(text)

    control = {str(token) for token in tokenizer.all_special_tokens} | {
        str(t) for t in tokenizer.get_added_vocab()
    }
    return Prompter(tokenizer, Frame.probe(render, control, str(tokenizer.eos_token)), model)
