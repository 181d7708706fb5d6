"""A chat session without input or output: turns in, replies and the z in use out.

Each dimension of z is in one mode: `fixed` to a value (given, or the profile's), `sample` (drawn anew for each
reply), or `auto`, q(z|c): the encoder reads the other's last turn, never the reply; that is another thing than
q(z|x,c) and only follows the mood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from vvae.dialogue import BURST, Dialogue, Message, Pair, Turn
from vvae.encoder.choice import Encoder
from vvae.engine import Engine, GenerationConfig, Request
from vvae.errors import ConfigError
from vvae.pairs import windows
from vvae.persona import LatentSpace, Persona, Slot
from vvae.prior import Prior, fill
from vvae.profile import Profile
from vvae.prompt import persona_block
from vvae.prompter import Prompter

__all__ = ["ChatReply", "ChatSession", "Mode", "check_knobs"]

Mode = Literal["fixed", "auto", "sample"]


class ChatReply(NamedTuple):
    """The messages of one reply, and the z it was written under."""

    messages: tuple[str, ...]
    persona: Persona


def check_knobs(space: LatentSpace, given: Mapping[str, str], modes: Mapping[str, Mode]) -> None:
    """Raises ConfigError where a dimension or a label is unknown; before a model is loaded."""
    for name, value in given.items():
        space.check(name, value, where="--set")
    for name, mode in modes.items():
        if name not in space.by_name:
            fix = f"choose from {', '.join(space.names)}"
            raise ConfigError(f"unknown dimension {name!r}", where=f"--{mode}", fix=fix)
        if name in given:
            raise ConfigError(f"{name!r} has a fixed value too", where=f"--{mode}", fix="leave out one of the two")
        if mode == "auto" and space.by_name[name].reader == "catchphrase":
            raise ConfigError(
                f"{name!r} cannot be read in what others say", where="--auto", fix="use --set or --sample"
            )


@dataclass
class ChatSession:
    """A conversation with one persona.

    Args of note:
        given: values set by the user; they win over the profile's.
        modes: dimension -> mode; dimensions not named are fixed where a value is known, and sampled otherwise.
    """

    prompter: Prompter
    engine: Engine
    space: LatentSpace
    prior: Prior
    profile: Profile
    encoder: Encoder
    generation: GenerationConfig
    window_tokens: int
    seed: int = 0
    given: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, Mode] = field(default_factory=dict)
    shows_z: bool = True
    """False for a variant trained without persona."""
    _turns: list[Turn] = field(default_factory=list)

    @property
    def partner(self) -> str:
        """What the one who talks to the persona is called."""
        return "you" if self.profile.speaker != "you" else "somebody"

    def reply(self, text: str) -> ChatReply:
        """Says something to the persona and gets its reply."""
        self._say(self.partner, text)
        dialogue = Dialogue("chat", tuple(self._turns))
        window = windows(dialogue, self.window_tokens)[self._turns[-1].id]
        pair = Pair("chat", "chat", len(self._turns), window, self.profile.speaker, (self.partner,), "heldout", "")
        persona = self.persona(text)
        block = persona_block(persona, self.space) if self.shows_z else None
        prompt = self.prompter.request(dialogue, pair, block).prompt
        request = Request(f"chat#{len(self._turns)}", prompt)
        completion = self.engine.complete([request], self.generation, seed=self.seed)[0]
        messages = tuple(line.strip() for line in completion.text.split(BURST) if line.strip())
        self._say(self.profile.speaker, BURST.join(messages) or "...")
        return ChatReply(messages, persona)

    def _say(self, speaker: str, text: str) -> None:
        messages = tuple(Message(line) for line in text.split(BURST))
        self._turns.append(Turn(len(self._turns), speaker, messages))

    def persona(self, heard: str) -> Persona:
        """The z of the next reply: given and profile values, what `auto` reads in the last turn, draws for the rest."""
        profile = self.profile.persona()
        slots: dict[str, Slot] = {}
        read = self._read(heard) if "auto" in self.modes.values() else Persona()
        for name in self.space.names:
            mode = self.modes.get(name, "fixed")
            if name in self.given:
                slots[name] = Slot(self.given[name], "given")
            elif mode == "auto" and (slot := read[name]):
                slots[name] = Slot(slot.value, "observed")
            elif mode == "fixed" and (slot := profile[name]):
                slots[name] = slot
        persona = Persona(slots)
        for dimension in self.space.dimensions:
            moving = dimension.scope == "turn" or self.modes.get(dimension.name) == "sample"
            scope = f"chat#{len(self._turns)}" if moving else f"chat with {self.profile.speaker}"
            persona = fill(persona, self.prior[dimension.name], dimension.name, scope, seed=self.seed)
        return persona

    def _read(self, heard: str) -> Persona:
        pair = Pair("chat", "chat", 0, 0, self.partner, (self.profile.speaker,), "heldout", heard)
        return next(iter(self.encoder.encode([pair], {}))).persona
