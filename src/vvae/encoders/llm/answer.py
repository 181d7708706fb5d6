"""What is made of a language model's answer: parsed, held against the label sets and against the
reply itself.

An answer that cannot be read is invalid as a whole, with a reason. In one that can, a value that
must not be believed
becomes null, with a counted reason: a label that is not in the set, a catchphrase, emoji, nickname
or hobby that does not stand in the reply, a phrase that is no habit of the speaker.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import regex

from vvae.core.text import normal_form
from vvae.encoders.llm.question import Structure, armed, asked
from vvae.latent.persona import Persona, Slot
from vvae.latent.readers import reader
from vvae.latent.space import Dimension, LatentSpace

__all__ = ["CUT_OFF", "LONGEST", "Reading", "read_answer"]

CUT_OFF = "cut off"
"""The reason of an answer that reached max_tokens."""
LONGEST = 60
"""Characters of a value; a longer one is a sentence and no trait."""
_NOTHING = frozenset({"", "null", "none", "n/a", "na", "unknown", "nothing", "无", "没有"})
_THOUGHT = regex.compile(r"^\s*<think>.*?</think>", regex.DOTALL)
_FENCE = regex.compile(r"^\s*```\w*\s*|\s*```\s*$")


class Reading(NamedTuple):
    """A reading of an answer: what it says of a reply.

    `invalid` is the reason why it says nothing; `rejected` are (dimension, reason) of the values
    that were not accepted.
    """

    persona: Persona
    invalid: str | None = None
    rejected: tuple[tuple[str, str], ...] = ()


def read_answer(
    content: str | None,
    finish: str | None,
    reply: str,
    space: LatentSpace,
    structure: Structure,
    phrases: Sequence[str],
) -> Reading:
    """Return what an answer says of a reply, or why it says nothing.

    Args:
        content: the message's content.
        finish: the finish reason; anything but ``stop`` is no whole answer.
        phrases: the speaker's own catchphrases.
    """
    if finish != "stop":
        return Reading(Persona(), CUT_OFF if finish == "length" else "stopped for another reason")
    if not content or not content.strip():
        return Reading(Persona(), "empty")
    names = [dimension.name for dimension in asked(space)]
    values = _parsed(content, structure, names)
    if isinstance(values, str):
        return Reading(Persona(), values)
    slots: dict[str, Slot] = {}
    # The name itself may be anything, also chat.
    rejected = [("answer", "names no dimension")] if set(values) - set(names) else []
    for dimension in space.dimensions:
        own = reader(dimension.reader)
        if own.exact and own.read and (span := own.read(reply, phrases)):
            slots[dimension.name] = Slot(span.value, "observed", (span.start, span.end))
            continue
        slot = _slot(values.get(dimension.name), dimension, reply, phrases)
        if isinstance(slot, Slot):
            slots[dimension.name] = slot
        elif slot:
            rejected.append((dimension.name, slot))
    return Reading(Persona(slots), None, tuple(rejected))


def _parsed(content: str, structure: Structure, names: Iterable[str]) -> Mapping[str, Any] | str:
    """The values by dimension, or why there are none."""
    text = _FENCE.sub("", _THOUGHT.sub("", content)) if structure != "schema" else content
    start = text.find("{")
    try:
        values = (
            json.loads(text)
            if structure == "schema"
            else json.JSONDecoder().raw_decode(text, max(start, 0))[0]
        )
    except (ValueError, RecursionError):
        values = _lines(text, names) if structure == "text" and start < 0 else None
        if not values:
            return "not JSON" if structure != "text" else "cannot be parsed"
    return values if isinstance(values, dict) else "no JSON object"


def _lines(text: str, names: Iterable[str]) -> dict[str, str]:
    """`name: value` lines of a plain answer."""
    names_by_form = {name.casefold(): name for name in names}
    values: dict[str, str] = {}
    for line in text.splitlines():
        head, separator, value = line.strip(" -*•\t").partition(":")
        if separator and (name := names_by_form.get(head.strip(' *"`').casefold())):
            values.setdefault(name, value.strip(' *"`'))
    return values


def _slot(
    value: object, dimension: Dimension, reply: str, phrases: Sequence[str]
) -> Slot | str | None:
    """The slot, None for null, or why the value is not believed."""
    if value is None:
        return None
    if not isinstance(value, str):
        return "no text"
    value = " ".join(armed(value).split())
    if value.casefold() in _NOTHING:
        return None
    if len(value) > LONGEST:
        return "too long"
    if dimension.labels is not None:
        label = next(
            (label for label in dimension.labels if normal_form(label) == normal_form(value)), None
        )
        return "not a label" if label is None else Slot(label, "observed", (0, len(reply)))
    span = reader(dimension.reader).ground(value, reply, phrases)
    return span if isinstance(span, str) else Slot(span.value, "observed", (span.start, span.end))
