"""Who can be talked to, and from a request to the z of its reply and what the engine is asked."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from vvae.core.dialogue import BURST, Pair, Turn
from vvae.core.errors import ConfigError, DataError
from vvae.corpus.pauses import Pauses
from vvae.corpus.tables import iterate_dialogues
from vvae.decoder.variants import Variant
from vvae.encoders.in_the_loop import candidate_key, needs_encoder, placeable
from vvae.inference.engine import no_strength
from vvae.inference.prompts import persona_line
from vvae.latent.persona import Persona
from vvae.latent.profile import Profile
from vvae.latent.steering import (
    Steered,
    Steering,
    check_steering,
    merged,
    steer,
    steering_from_json,
    steering_from_text,
)
from vvae.pipeline.artifacts import CORRECTED
from vvae.pipeline.calibration import reaches
from vvae.pipeline.run import Run
from vvae.serving.cards.personas import folder_stamp, saved_personas
from vvae.serving.engines import check_adapter
from vvae.serving.http.schemas import ApiError, ChatMessage, ChatRequest, Headers
from vvae.serving.session import turn_of

if TYPE_CHECKING:
    from vvae.evaluation.likeness import PeopleLikeness

__all__ = ["Asked", "PersonaResolver", "ReplySpec"]

LONGEST_TURN = 1 << 16
"""Characters of a turn, and of the system messages: the longest message that WhatsApp sends, and
more than an engine's 4,096 tokens hold. It is looked at before any reader or tokenizer is.
"""
NO_SECONDS = "the times of these chats have no seconds"
_BLOCK = re.compile(r"^[ \t]*\[persona\](?!:)[ \t]*(.*)$", re.MULTILINE)
"""A line of ours. Cards of others have headings such as "[persona]: friendly, likes cats"."""


@dataclass(frozen=True)
class ReplySpec:
    """A specification of a reply: all that is needed to write it."""

    adapter: str
    speaker: str
    conversation: str
    turns: tuple[Turn, ...]
    block: str | None
    preface: str
    set_off: tuple[tuple[str | None, float], ...]
    """z blocks that the reply is pushed away from, with the weights."""
    steered: Steered
    seed: int
    notes: tuple[str, ...]
    pauses: Pauses | None = None
    """Where the seconds before each message are asked for."""
    put: frozenset[str] = frozenset()
    """Dimensions whose value the engine can put into a reply."""

    def waits(self, number: int, seed: int, text: str) -> list[float]:
        """Return the seconds before each message of a reply, where they are asked for and known."""
        if self.pauses is None:
            return []
        messages = [line for line in text.split(BURST) if line.strip()]
        hour, key = time.localtime().tm_hour, f"{self.conversation}#{len(self.turns)}|{number}"
        return list(self.pauses.draw(self.speaker, messages, hour, seed, key))

    def body(self, number: int, seed: int, candidate: int = 0) -> dict[str, Any]:
        """Return what the engine's process is asked, for one of several replies, or for one of the
        candidates of it.
        """
        key = f"{self.conversation}#{len(self.turns)}|{number}"
        return {
            "turns": [[turn.id, turn.speaker, turn.text] for turn in self.turns],
            "speaker": self.speaker,
            "block": self.block,
            "preface": self.preface,
            "set_off": self.set_off,
            "adapter": self.adapter,
            "key": candidate_key(key, candidate),
            "seed": seed,
        }

    def described(self) -> dict[str, Any]:
        """Return the field ``vvae`` of a response."""
        z: dict[str, Any] = {}
        for name, slot in self.steered.dimensions.items():
            z[name] = {"value": slot.value, "mode": slot.mode, "source": slot.origin}
            if slot.rate:
                z[name]["rate"] = {
                    "asked": slot.rate.asked,
                    "given": round(slot.rate.given, 4),
                    "shown": slot.rate.shown,
                }
            if slot.strength:
                z[name]["strength"] = round(slot.strength, 4)
        return {
            "adapter": self.adapter,
            "speaker": self.speaker,
            "conversation": self.conversation,
            "seed": self.seed,
            "z": z,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Asked:
    """A request for a reply, understood: all that its z depends on but what is read in the
    conversation.
    """

    adapter: str
    speaker: str
    listener: str | None
    conversation: str
    turns: tuple[Turn, ...]
    preface: str
    steering: Steering
    profile: Profile
    seed: int
    ignored: tuple[str, ...]
    """Notes on what the request asks for in vain."""
    pauses: bool
    """Whether the seconds before each message are asked for."""

    @property
    def reads(self) -> bool:
        """Return whether a knob follows the conversation."""
        return any(knob.mode == "auto" for knob in self.steering.knobs.values())


class PersonaResolver:
    """A resolver of model ids and requests to the adapters and speakers of a run.

    Args:
        reads: whether conversations may be given to the run's encoder.
        strengths: how many knobs of a reply the engine can give a strength; None where it does not
            show what its model finds likely.

    Raises:
        DataError: a file of the run is missing, or an adapter is of other data.
        ConfigError: there is no such adapter.
    """

    def __init__(
        self,
        run: Run,
        adapters: Sequence[str],
        *,
        seed: int = 0,
        reads: bool = True,
        strengths: int | None = 3,
    ) -> None:
        self.run, self.seed = run, seed
        self.variants = {name: run.servable_variant(name) for name in adapters}
        self._reads, self._strengths = reads, strengths
        self._reading = Lock()
        self.read_run()
        self._pauses: Pauses | None = None
        self._likeness: PeopleLikeness | None = None
        self._one_at_a_time = Lock()
        Thread(target=self._read_pauses, daemon=True).start()

    def read_run(self) -> None:
        """Read prior and profiles, once more after they were corrected.

        Raises:
            DataError: a file is missing, or an adapter is of other data.
        """
        run = self.run
        with self._reading:
            self._corrected = _stamp(run)
            for variant in self.variants.values():
                if variant.trained:
                    check_adapter(run, variant)
            self.space, self.prior = run.space, run.prior
            self.speakers: Mapping[str, Profile] = run.learned_profiles
            self.read_personas()
            self.reach = {
                name: reaches(run, variant, strengths=self.sets_off)
                for name, variant in self.variants.items()
            }

    @property
    def sets_off(self) -> bool:
        """Return whether the engine can give a knob a strength."""
        return bool(self._strengths)

    def likeness(self) -> PeopleLikeness:
        """Return the judge of how like the run's people a text is, who reads their replies once.

        Raises:
            DataError: there is nobody to compare with.
        """
        from vvae.evaluation.likeness import PeopleLikeness

        with self._one_at_a_time:
            if self._likeness is None:
                self._likeness = PeopleLikeness(self.run)
            return self._likeness

    def _read_pauses(self) -> None:
        """Learns how long people wait, of a run that has its chats; they are read once, and not
        while somebody waits for a reply.
        """
        path = self.run.path("dialogues.parquet")
        with suppress(DataError):
            self._pauses = Pauses(iterate_dialogues(path) if path.is_file() else ())

    def read_personas(self) -> None:
        """Read the personas kept in the run, once more after one was added."""
        self._stamp = folder_stamp(self.run)
        cards, self.broken = saved_personas(self.run)
        personas = {
            n: (card.profile(self.space), card.steering(self.space)) for n, card in cards.items()
        }
        self.personas: Mapping[str, tuple[Profile, Steering]] = personas
        self.profiles: Mapping[str, Profile] = {
            **self.speakers,
            **{n: profile for n, (profile, _) in personas.items()},
        }
        """Everybody who can be talked to: speakers, then personas."""

    def refresh(self) -> None:
        """Read the run again where another server of it has kept or deleted a persona, or put
        corrections into effect. What a run in progress leaves half made is not read: the adapters
        in memory are of what was there before.
        """
        if _stamp(self.run) not in (None, self._corrected):
            self.run.rewritten(CORRECTED)
            with suppress(DataError):
                self.read_run()
        if folder_stamp(self.run) != self._stamp:
            self.read_personas()

    # --- models ---

    @property
    def models(self) -> list[tuple[str, str | None]]:
        """Return (model id, the adapter that writes where it is none itself): adapters, speakers,
        personas.
        """
        self.refresh()
        first = next(iter(self.variants))
        own = [name for name in self.profiles if name not in self.variants]
        return [*((name, None) for name in self.variants), *((name, first) for name in own)]

    def find(self, model: str) -> tuple[str, Steering]:
        """Return the adapter and persona that a model id names.

        Raises:
            ApiError: 404, nothing is called so.
        """
        self.refresh()
        first = next(iter(self.variants))
        if model in self.variants:
            return model, Steering()
        if model in self.profiles:
            return first, Steering(speaker=model)
        # A name may hold an "@" itself: the longest one that is known is the base.
        for place in reversed([match.start() for match in re.finditer("@", model)]):
            base, persona = model[:place], model[place + 1 :]
            if base in self.variants or base in self.profiles:
                adapter = base if base in self.variants else first
                speaker = None if base in self.variants else base
                named = Steering(speaker=persona) if persona in self.profiles else None
                return adapter, merged(
                    [named or steering_from_text(persona, where="model"), Steering(speaker=speaker)]
                )
        raise ApiError(
            404,
            f"the model {model[:100]!r} does not exist; see /v1/models",
            param="model",
            code="model_not_found",
        )

    # --- from a request to z ---

    def understand(self, request: ChatRequest, headers: Headers) -> Asked:
        """Return what a request asks for.

        Raises:
            ApiError: 404 for an unknown model, 400 for a message that is no chat.
            ConfigError: what is asked of z cannot be.
        """
        adapter, by_model = self.find(request.model)
        preface, by_block = _system(request.messages)
        steering = merged(
            [
                Steering() if request.persona is None else steering_from_json(request.persona),
                _by_header(headers.persona),
                by_model,
                by_block,
            ]
        )
        check_steering(steering, self.space)
        if any(steering.strengths.values()) and not self.sets_off:
            raise no_strength(f"persona.{next(iter(steering.strengths))}")
        speaker = steering.speaker if steering.speaker is not None else next(iter(self.speakers))
        profile = self.profiles.get(speaker)
        if profile is None:
            known = ", ".join(list(self.profiles)[:5])
            raise ConfigError(
                f"nobody is called {speaker[:100]!r}",
                where="persona.speaker",
                fix=f"for example {known}",
            )
        ignored = list(request.ignored)
        if speaker in self.personas:
            kept = self.personas[speaker][1]
            if any(kept.strengths.values()) and not self.sets_off:
                kept = replace(kept, strengths={})
                ignored.append("the strengths kept with this persona change nothing here")
            steering = merged([steering, kept])
        turns = _turns(request.messages, speaker)
        others = {turn.speaker for turn in turns} - {speaker}
        asked = Asked(
            adapter,
            speaker,
            next(iter(others)) if len(others) == 1 else None,
            steering.conversation or headers.conversation or _digest(turns),
            turns,
            preface,
            steering,
            profile,
            self.seed if steering.seed is None else steering.seed,
            tuple(ignored),
            bool(request.pauses),
        )
        if asked.reads:
            self.check_reads()
        return asked

    def _block(self, variant: Variant, speaker: str, persona: Persona) -> str | None:
        """What the model is shown of a reply's z."""
        if not variant.shows_slots:
            return None
        if variant.trained:
            return persona_line(persona, self.space)
        pair = Pair("chat", "chat", 0, 0, speaker, (), "heldout", "")
        line = self.run.conditions(variant).line(pair, speaker, persona)
        return line if isinstance(line, str) else None

    def check_reads(self) -> None:
        """Raise ConfigError where the run's encoder may not be given what people write here."""
        if not self._reads:
            raise ConfigError(
                "nothing is read here: this run's encoder is a model on another machine, which "
                "the server's owner has not allowed",
                where="persona",
                fix="set a value",
            )

    def resolve(self, asked: Asked, heard: Persona) -> ReplySpec:
        """Return everything about the next reply but its text.

        Args:
            heard: what was read in the conversation; nothing where no knob follows it.
        """
        variant = self.variants[asked.adapter]
        steered = steer(
            asked.steering,
            self.space,
            self.prior,
            asked.profile,
            conversation=asked.conversation,
            turn=len(asked.turns),
            seed=asked.seed,
            read=lambda: heard,
            reach=self.reach[asked.adapter].__getitem__,
            listener=asked.listener,
            most_strengths=self._strengths or 0,
            told=variant.dimensions,
            draws=variant.trained,
        )
        if needs_encoder(steered.demands, self.space):
            self.check_reads()
        notes = [*steered.notes, *asked.ignored]
        if asked.preface:
            notes.append("the system message is shown to an adapter that was trained without one")
        if not variant.shows_slots:
            notes.append(f"{asked.adapter} was trained without z and is shown none")
        pauses = self._pauses if asked.pauses else None
        if asked.pauses and not (pauses and pauses.known):
            why = "these chats are still being read" if self._pauses is None else NO_SECONDS
            notes.append(f"pauses: {why}")
        if not variant.trained:
            notes.append(f"{asked.adapter} is the base model, told who it is: nothing was trained")
        return ReplySpec(
            asked.adapter,
            asked.speaker,
            asked.conversation,
            asked.turns,
            self._block(variant, asked.speaker, steered.persona),
            asked.preface,
            steered.set_off(lambda persona: self._block(variant, asked.speaker, persona))
            if variant.shows_slots
            else (),
            steered,
            asked.seed,
            tuple(notes),
            pauses,
            frozenset() if self._strengths is None else placeable(steered.demands, self.space),
        )


def _stamp(run: Run) -> int | None:
    """A number that changes when corrections are put into effect: profiles are written last. None
    where there are none just now.
    """
    profiles = run.path("profiles.parquet")
    return profiles.stat().st_mtime_ns if profiles.is_file() else None


def _by_header(text: str | None) -> Steering:
    if text is None:
        return Steering()
    with suppress(UnicodeError):  # sent as it is
        text = text.encode("latin-1").decode("utf-8")
    return steering_from_text(unquote(text), where="X-VVAE-Persona")


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    parts = message.content or []
    if other := next(
        (part.type for part in parts if part.type not in ("text", "input_text", "refusal")), None
    ):
        raise ApiError(
            400, f"content of type {other[:40]!r} cannot be read; only text", param="messages"
        )
    return "\n".join(part.text or part.refusal or "" for part in parts)


def _system(messages: Sequence[ChatMessage]) -> tuple[str, Steering]:
    """Text and persona of the system messages, wherever they stand; of two blocks the later one
    counts first.
    """
    texts = [_text(message) for message in messages if message.role in ("system", "developer")]
    blocks = [match[1] for text in texts for match in _BLOCK.finditer(text)]
    if (length := sum(map(len, texts))) > LONGEST_TURN:
        what = f"system messages of {length:,} characters; they may have {LONGEST_TURN:,}"
        raise ApiError(400, what, param="messages")
    preface = "\n\n".join(rest for text in texts if (rest := _BLOCK.sub("", text).strip()))
    return preface, merged(
        steering_from_text(block, where="[persona]") for block in reversed(blocks)
    )


def _turns(messages: Sequence[ChatMessage], speaker: str) -> tuple[Turn, ...]:
    """The conversation as turns; messages of one speaker in a row are a burst.

    Raises:
        ApiError: 400, a turn is longer than any model here could see.
    """
    partner = "you" if speaker != "you" else "somebody"
    bursts: list[tuple[str, list[str]]] = []
    for message in messages:
        text = _text(message)
        if message.role in ("system", "developer") or not text.strip():
            continue
        by_role = {"assistant": speaker, "user": message.name or partner}
        name = by_role.get(message.role, message.name or "tool")
        if message.role == "user" and name == speaker:
            name = partner
        if bursts and bursts[-1][0] == name:
            bursts[-1][1].append(text)
        else:
            bursts.append((name, [text]))
    for _, texts in bursts:
        if (length := sum(map(len, texts))) > LONGEST_TURN:
            what = f"a turn of {length:,} characters; it may have {LONGEST_TURN:,}"
            raise ApiError(400, what, param="messages")
    return tuple(
        turn_of(number, name, BURST.join(texts)) for number, (name, texts) in enumerate(bursts)
    )


def _digest(turns: Sequence[Turn]) -> str:
    """A name for the conversation that begins so, without its text."""
    first = turns[0].text if turns else ""
    return blake2b(first.encode("utf-8", "replace"), digest_size=8).hexdigest()
