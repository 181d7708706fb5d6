"""A chat session without input or output: turns in, replies and the z in use out.

What each dimension of z does is said by a `Steering`. ``auto`` is q(z|c): the encoder reads the
conversation so far, never the reply; that is another thing than q(z|x,c), and only follows the
conversation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from vvae.core.dialogue import BURST, Dialogue, Message, Pair, Turn
from vvae.core.errors import EndpointError
from vvae.corpus.pairs import windows
from vvae.encoders.base import LONGEST_READ, Encoder
from vvae.encoders.in_the_loop import Accepted, Judge, Task, write_accepted
from vvae.inference.engine import Engine, GenerationConfig, Request
from vvae.inference.prompts import PersonaLine, persona_line
from vvae.inference.template import START
from vvae.inference.tokenizer import Prompter
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import Prior
from vvae.latent.profile import Profile
from vvae.latent.readers import reader
from vvae.latent.space import LatentSpace
from vvae.latent.steering import Reach, Steered, Steering, steer

__all__ = [
    "ChatReply",
    "ChatSession",
    "ConversationReader",
    "next_pair",
    "reply_request",
    "turn_of",
]

MOST_TURNS, MOST_CHARACTERS = 60, 16_000
"""Turns read at the end of a conversation, and their characters: what was shown long before is no
part of its present, and reading must end.
"""
REMEMBERED = 4_000
"""Turns whose readings are kept."""


class ChatReply(NamedTuple):
    """A reply: its messages, and the z it was written under; as text, a line a message."""

    messages: tuple[str, ...]
    steered: Steered
    accepted: Accepted | None = None
    """Which candidate it is, where several may be written."""

    @property
    def z(self) -> Persona:
        """Return the persona that the reply was written under."""
        return self.steered.persona

    def __str__(self) -> str:
        return BURST.join(self.messages)


def turn_of(number: int, speaker: str, text: str) -> Turn:
    """Return a turn as it was typed, a message per line."""
    return Turn(number, speaker, tuple(Message(line) for line in text.split(BURST)))


class ConversationReader:
    """A reader of q(z|c): of each dimension the value read last, whoever said it; a catchphrase or
    nickname only as the persona's.

    A turn is read once for each conversation that begins alike.
    """

    def __init__(self, encoder: Encoder, space: LatentSpace) -> None:
        self._encoder, self._space = encoder, space
        self._read: OrderedDict[bytes, Persona] = OrderedDict()

    def encoder(self) -> Encoder:
        """Return what reads."""
        return self._encoder

    def read(self, turns: Sequence[Turn], speaker: str) -> Persona:
        """Return z of a conversation so far, for the one who replies next."""
        keys, digest = [], blake2b(digest_size=16)
        for turn in turns:
            digest.update(
                f"{len(turn.speaker)} {turn.speaker}{len(turn.text)} {turn.text}".encode(
                    "utf-8", "replace"
                )
            )
            keys.append(digest.copy().digest())
        turns = _recent(turns)
        keys = keys[len(keys) - len(turns) :]
        dialogue = Dialogue("chat", tuple(turns))
        new = [place for place, key in enumerate(keys) if key not in self._read]
        pairs = [_pair_at(turns, place, dialogue) for place in new]
        for place, encoding in zip(
            new, self._encoder.encode(pairs, {"chat": dialogue}), strict=True
        ):
            if encoding.status == "error":
                raise EndpointError(
                    f"the encoder does not answer ({encoding.reason})",
                    fix="see that its server is there",
                )
            self._read[keys[place]] = encoding.persona
        slots: dict[str, Slot] = {}
        for turn, key in zip(turns, keys, strict=True):
            self._read.move_to_end(key)
            for name, slot in self._read[key]:
                owner = reader(self._space.by_name[name].reader).owner
                if turn.speaker == speaker or owner == "anyone":
                    slots[name] = slot
        while len(self._read) > REMEMBERED:
            self._read.popitem(last=False)
        return Persona(slots)


def _recent(turns: Sequence[Turn]) -> Sequence[Turn]:
    """The last turns, as many and as much of each as is read."""
    recent: list[Turn] = []
    room = MOST_CHARACTERS
    for turn in reversed(turns[-MOST_TURNS:]):
        whole = turn.text
        text = whole[:LONGEST_READ]
        room -= len(text)
        if recent and room < 0:
            break
        recent.append(turn if text == whole else turn_of(turn.id, turn.speaker, text))
    return recent[::-1]


def _pair_at(turns: Sequence[Turn], place: int, dialogue: Dialogue) -> Pair:
    turn = turns[place]
    others = tuple(name for name in dialogue.speakers if name != turn.speaker)
    return Pair(
        f"chat#{turn.id}", "chat", turn.id, turns[0].id, turn.speaker, others, "heldout", turn.text
    )


def reply_request(
    prompter: Prompter,
    turns: Sequence[Turn],
    speaker: str,
    block: PersonaLine,
    *,
    window_tokens: int,
    key: str,
    preface: str = "",
    set_off: Sequence[tuple[PersonaLine, float]] = (),
) -> Request:
    """Return the prompt for a speaker's next reply; where the speaker spoke last, for more of the
    same turn.

    Args:
        set_off: z blocks that the reply is pushed away from, with their weights.
        preface: text of a system message beside the project's own line; no adapter was trained with
            any.
    """
    own = turns[-1] if turns and turns[-1].speaker == speaker else None
    history = list(turns[:-1] if own else turns)
    if not any(turn.speaker != speaker for turn in history):
        history = (
            [turn_of(-1, "", START), *history]
            if not history
            else [*history, turn_of(history[-1].id + 1, "", START)]
        )
    dialogue = Dialogue("chat", tuple(history))
    window = windows(dialogue, window_tokens)[history[-1].id]
    pair = Pair("chat", "chat", history[-1].id + 1, window, speaker, (), "heldout", "")
    return prompter.request(
        dialogue,
        pair,
        block,
        key=key,
        preface=preface,
        begun=own.text + BURST if own else "",
        set_off=set_off,
    )


def next_pair(turns: Sequence[Turn], speaker: str) -> tuple[Pair, Dialogue]:
    """Return the place of a speaker's next reply in a conversation, for whoever reads candidates of
    it: a pair without a response, and the dialogue that it is of.
    """
    shown = [*_recent(turns), turn_of(turns[-1].id + 1 if turns else 0, speaker, "")]
    dialogue = Dialogue("chat", tuple(shown))
    return _pair_at(shown, len(shown) - 1, dialogue), dialogue


@dataclass
class ChatSession:
    """A conversation with one persona."""

    prompter: Prompter
    engine: Engine
    space: LatentSpace
    prior: Prior
    profile: Profile
    reader: ConversationReader
    generation: GenerationConfig
    window_tokens: int
    steering: Steering = field(default_factory=Steering)
    reach: Callable[[str], Reach] | None = None
    """What the adapter can do of a rate."""
    seed: int = 0
    shows_z: bool = True
    """False for a variant trained without persona."""
    told: Collection[str] | None = None
    """The dimensions that the variant was trained with; all where None."""
    _turns: list[Turn] = field(default_factory=list)

    @property
    def partner(self) -> str:
        """Return what the one who talks to the persona is called."""
        return "you" if self.profile.speaker != "you" else "somebody"

    def reply(self, text: str) -> ChatReply:
        """Say something to the persona and return its reply."""
        self._say(self.partner, text)
        number = len(self._turns)
        steered = self.steered()
        request = reply_request(
            self.prompter,
            self._turns,
            self.profile.speaker,
            self._block(steered.persona),
            window_tokens=self.window_tokens,
            key=f"chat#{number}",
            set_off=steered.set_off(self._block) if self.shows_z else (),
        )
        pair, dialogue = next_pair(self._turns, self.profile.speaker)
        (accepted,) = write_accepted(
            self.engine,
            [Task(request, pair, steered.demands)],
            Judge(self.reader.encoder, self.space),
            {dialogue.id: dialogue},
            self.generation,
            candidates=steered.candidates,
            seed=self.seed,
        )
        text = accepted.completion.text
        messages = tuple(line.strip() for line in text.split(BURST) if line.strip())
        if messages:  # a turn that says nothing is none
            self._say(self.profile.speaker, BURST.join(messages))
        return ChatReply(messages, steered, accepted if steered.demands else None)

    def _block(self, persona: Persona) -> str | None:
        return persona_line(persona, self.space) if self.shows_z else None

    def _say(self, speaker: str, text: str) -> None:
        self._turns.append(turn_of(len(self._turns), speaker, text))

    def steered(self) -> Steered:
        """Return the z of the next reply."""
        return steer(
            self.steering,
            self.space,
            self.prior,
            self.profile,
            conversation="chat",
            turn=len(self._turns),
            seed=self.seed,
            read=lambda: self.reader.read(self._turns, self.profile.speaker),
            reach=self.reach,
            told=self.told,
        )
