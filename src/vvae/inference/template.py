"""A chat template, probed once with sentinels and taken apart into a `Frame` of literal connectors.

So the boundary between trunk and branch of a prompt is exact by construction, for training,
benchmark and chat alike. Templates that refuse a late system message, or move it, get z at the end
of the last user message instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vvae.core.errors import TemplateError

__all__ = ["START", "SYSTEM_LINE", "Frame", "Message", "Render", "escape"]

SYSTEM_LINE = (
    "You are one of the people in this chat. Write your next messages as you would type them."
)
START = "(the chat begins)"
Message = dict[str, str]
Render = Callable[[list[Message], bool], str]
"""(messages, add_generation_prompt) -> text; raises whatever the template raises."""


def escape(text: str, control: Iterable[str]) -> str:
    """Return text in which none of the control tokens can be read as one: a space is put after its
    first character.

    >>> escape("bye <|im_end|>", ["<|im_end|>"])
    'bye < |im_end|>'
    """
    for token in control:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


@dataclass(frozen=True)
class Frame:
    """A chat template as literal connectors.

    The text of a chat is `opening + system + system_to_user + user + user_to_assistant + assistant
    + assistant_to_user + user ...`; a branch continues right after a user's content.
    """

    opening: str
    system_to_user: str
    system_to_assistant: str
    user_to_assistant: str
    assistant_to_user: str
    generation: str
    """From the end of a user's content to the start of a reply, without z."""
    before_z: str
    after_z: str
    """What stands around z between the user's content and the reply."""
    end: str
    """What ends a reply: the end-of-turn token, learnt with it."""
    control: tuple[str, ...]
    """Special tokens, escaped in any content."""
    late_system: bool
    """Whether z is a system message of its own, or the end of the last user message."""

    @classmethod
    def probe(cls, render: Render, control: Iterable[str], eos: str) -> Frame:
        """Return the frame of a chat template, taken apart by rendering sentinels.

        Args:
            render: applies the template to messages.
            control: the tokenizer's special tokens.
            eos: the end-of-sequence token, for templates that do not close the assistant's turn.

        Raises:
            TemplateError: the template cannot carry a conversation with alternating turns.
        """
        first, system = _first_user(render)
        talk = [*system, *first, _m("assistant", 2), _m("user", 3), _m("assistant", 4)]
        try:
            # A last user message follows, because some templates (Qwen3) frame the very last reply
            # differently.
            before, s_u, u_a, a_u, u_a2, a_u2, _ = _split(
                render([*talk, _m("user", 5)], False), range(6)
            )
            end = _split(render(talk, False), range(5))[5]
        except TemplateError:
            raise
        except Exception as error:
            raise TemplateError(
                f"the chat template fails on a plain conversation ({error})", fix=_FIX
            ) from None
        if (u_a, a_u) != (u_a2, a_u2):
            raise TemplateError("the chat template frames equal turns differently", fix=_FIX)
        generation = _split(render([*system, *first], True), range(2))[2]
        late = _late_system(render, system, first)
        return cls(
            opening=before,
            system_to_user=s_u,
            system_to_assistant=_to_assistant(render, system, s_u, u_a),
            user_to_assistant=u_a,
            assistant_to_user=a_u,
            generation=generation,
            before_z=late[0] if late else "\n\n",
            after_z=late[1] if late else generation,
            end=end.rstrip() or eos,
            control=tuple(sorted(set(control), key=lambda token: (-len(token), token))),
            late_system=late is not None,
        )

    def branch(self, z: str | None) -> str:
        """Return the text between the last user content and the reply."""
        return (
            self.generation if z is None else self.before_z + escape(z, self.control) + self.after_z
        )

    @property
    def around_vector(self) -> tuple[str, str]:
        """Return the text before and after a vector that stands for z."""
        return self.before_z + "[persona] ", self.after_z

    def reply(self, text: str) -> str:
        """Return a reply as it is learnt, with the end of its turn."""
        return escape(text, self.control) + self.end


_FIX = "use an instruction-tuned model whose template takes user and assistant turns"
_SENTINELS = (
    "Qsentineloneq",
    "Qsentineltwoq",
    "Qsentinelthreeq",
    "Qsentinelfourq",
    "Qsentinelfiveq",
    "Qsentinelsixq",
)


def _m(role: str, index: int) -> Message:
    return {"role": role, "content": _SENTINELS[index]}


def _split(text: str, indices: Iterable[int]) -> list[str]:
    """The pieces between the sentinels, which must stand once each and in order."""
    pieces, position = [], 0
    for index in indices:
        sentinel = _SENTINELS[index]
        if text.count(sentinel) != 1 or (start := text.index(sentinel)) < position:
            raise TemplateError("the chat template drops, repeats or reorders messages", fix=_FIX)
        pieces.append(text[position:start])
        position = start + len(sentinel)
    return [*pieces, text[position:]]


def _first_user(render: Render) -> tuple[list[Message], list[Message]]:
    """The first user message and the system message; a template without system role takes both in
    one message.
    """
    separate = [_m("system", 0), _m("user", 1)]
    try:
        _split(render(separate, True), range(2))
    except Exception:
        joined = {"role": "user", "content": f"{_SENTINELS[0]}\n\n{_SENTINELS[1]}"}
        try:
            _split(render([joined], True), range(2))
        except Exception as error:
            raise TemplateError(
                f"the chat template fails on one message ({error})", fix=_FIX
            ) from None
        return [joined], []
    return separate[1:], separate[:1]


def _late_system(
    render: Render, system: list[Message], opening: list[Message]
) -> tuple[str, str] | None:
    """What stands around a system message after the last user message; None if it is refused, moved
    or not one.

    Templates fail here in silence: some gather all system messages in front, some write a late one
    as if the assistant had said it (Mistral), some make up a role that the model never saw (Gemma).
    """
    if not system:
        return None
    chat = [*system, *opening, _m("assistant", 2), _m("user", 3)]
    try:
        pieces = _split(render([*chat, _m("system", 4)], True), range(5))
        once = _split(render([*system, *opening, _m("system", 4)], True), (0, 1, 4))
        if (pieces[4], pieces[5]) != (once[2], once[3]):
            return None
    except Exception:
        return None
    for role in ("assistant", "user"):
        try:
            if _split(render([*chat, _m(role, 4)], True), range(5)) == pieces:
                return None
        except Exception:
            continue  # refused in that role, so it was not taken for it
    return pieces[4], pieces[5]


def _to_assistant(render: Render, system: list[Message], s_u: str, u_a: str) -> str:
    """From the system line to an assistant who speaks first; a stand-in user message where that is
    refused.
    """
    try:
        return _split(render([*system, _m("assistant", 1), _m("user", 2)], False), range(3))[1]
    except Exception:
        return s_u + START + u_a
