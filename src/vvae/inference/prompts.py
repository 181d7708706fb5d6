"""The only place that turns context and z into a prompt.

    trunk:   system line, then the turns so far (who is played: `assistant`, others: `user`)
    branch:  z block, reply

z comes last: the context's cache survives a change of z, and all replies of one speaker in a window
are branches of one trunk. A chat template is probed once with sentinels and taken apart into a
`Frame` of literal connectors, so the boundary between trunk and branch is exact by construction,
for training, benchmark and chat alike::

    trunk   <|im_start|>system  You are ... <|im_end|><|im_start|>user  hi! | <|im_end|>...
    branch  | <|im_end|><|im_start|>system  [persona] tone: tender  <|im_end|>...  hey <|im_end|>

Templates that refuse a late system message, or move it, get z at the end of the last user message
instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vvae.core.dialogue import BURST, Turn
from vvae.inference.template import START, SYSTEM_LINE, Frame, Message, escape
from vvae.latent.persona import Persona
from vvae.latent.space import LatentSpace

__all__ = [
    "PLAIN",
    "PROMPT_VERSION",
    "PersonaLine",
    "SpeakerVector",
    "Trunk",
    "chat_messages",
    "description_line",
    "description_request",
    "few_shot_lines",
    "persona_line",
    "prompted_line",
    "trunk",
]

PROMPT_VERSION = 1
"""Raised whenever a prompt's wording or order changes; stored beside every adapter."""
PLAIN = "Reply as a person with these traits:"
RARELY = (
    "Reply as a person with these traits, and let each one show only as rarely as it would in a "
    "real person's messages:"
)

DESCRIBE_SYSTEM = "You describe how people chat."
DESCRIBE = "Describe this person in two sentences: how they write, and what they are like."


class SpeakerVector(NamedTuple):
    """A z block without words: the learned vector of a speaker (`voices`)."""

    speaker: str


PersonaLine = str | SpeakerVector | None
"""What stands between context and reply: words, a vector, or nothing."""


def persona_line(persona: Persona, space: LatentSpace) -> str | None:
    """Return the z block of the trained variants: the non-null values in the space's order, or None
    when all are null.

    One line of at most `2 + 4 K` words for K values; its form is part of `PROMPT_VERSION`.
    """
    traits = _traits(persona, space)
    return f"[persona] {traits}" if traits else None


def prompted_line(persona: Persona, space: LatentSpace, *, rarely: bool = False) -> str | None:
    """Return the z block of the zero-shot variants: an instruction and the same traits."""
    traits = _traits(persona, space)
    return f"{RARELY if rarely else PLAIN} {traits}" if traits else None


def few_shot_lines(persona: Persona, space: LatentSpace, examples: Sequence[str]) -> str | None:
    """Return the z block of the few-shot variant: the zero-shot instruction and replies the same
    person wrote.
    """
    head = prompted_line(persona, space)
    parts = [head, _reply_list(examples) if examples else None]
    return "\n".join(part for part in parts if part) or None


def description_line(text: str) -> str:
    """Return the z block of a persona in free text."""
    return f"[persona] {' '.join(text.split())}"


def description_request(frame: Frame, replies: Sequence[str]) -> str:
    """Return the prompt that asks a model to describe the person who wrote some replies."""
    prompt = escape(f"{_reply_list(replies)}\n\n{DESCRIBE}", frame.control)
    return frame.opening + DESCRIBE_SYSTEM + frame.system_to_user + prompt + frame.generation


def _reply_list(replies: Sequence[str]) -> str:
    lines = "\n".join(f"- {' / '.join(reply.split(BURST))}" for reply in replies)
    return f"Messages this person wrote before:\n{lines}"


def chat_messages(
    turns: Sequence[Turn], speaker: str, block: str | None, *, named: bool = False
) -> list[Message]:
    """Return the context as an endpoint takes it: z with the system line in front, since many
    refuse a late one.

    Args:
        named: write who speaks before each turn of the others: where the dialogue has more than two
            people.
    """
    messages = [
        {"role": "system", "content": f"{SYSTEM_LINE}\n\n{block}" if block else SYSTEM_LINE}
    ]
    for turn in turns:
        if turn.speaker == speaker:
            if len(messages) == 1:
                messages.append({"role": "user", "content": START})
            messages.append({"role": "assistant", "content": turn.text})
            continue
        line = f"{turn.speaker}: {turn.text}" if named else turn.text
        if messages[-1]["role"] == "user":
            messages[-1]["content"] += BURST + line
        else:
            messages.append({"role": "user", "content": line})
    return messages


def _traits(persona: Persona, space: LatentSpace) -> str:
    values = ((name, persona.value(name)) for name in space.names)
    return "; ".join(f"{name}: {' '.join(value.split())}" for name, value in values if value)


class Trunk(NamedTuple):
    """A context as text segments. `cuts[turn id]` = how many segments the reply at that turn may
    see.
    """

    segments: tuple[str, ...]
    cuts: Mapping[int, int]


def trunk(
    frame: Frame, turns: Sequence[Turn], speaker: str, *, named: bool = False, preface: str = ""
) -> Trunk:
    """Return the context as the speaker sees it, in segments, each a connector and the content it
    leads to.

    Others' consecutive turns are one user message. A reply can be cut off after any user segment:
    `cuts` holds the speaker's turns that follow one.

    Args:
        named: write who speaks before each turn of the others: where the dialogue has more than two
            people. It is a
            property of the dialogue, not of these turns, so that a prefix of the turns is a prefix
            of the trunk.
        preface: text after the system line; never in training.
    """
    control = frame.control
    system = f"{SYSTEM_LINE}\n\n{escape(preface, control)}" if preface else SYSTEM_LINE
    segments = [frame.opening + system]
    cuts: dict[int, int] = {}
    last = "system"
    for turn in turns:
        text = escape(turn.text, control)
        if turn.speaker == speaker:
            if last == "user":
                cuts[turn.id] = len(segments)
            connector = frame.user_to_assistant if last == "user" else frame.system_to_assistant
            segments.append(connector + text)
            last = "assistant"
            continue
        line = f"{escape(turn.speaker, control)}: {text}" if named else text
        if last == "user":
            segments[-1] += BURST + line
        else:
            segments.append(
                (frame.system_to_user if last == "system" else frame.assistant_to_user) + line
            )
            last = "user"
    return Trunk(tuple(segments), cuts)
