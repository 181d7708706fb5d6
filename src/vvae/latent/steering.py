"""What is asked of the z of a reply, and the z that comes of it.

A *knob* is what is asked of one dimension. Knobs come from several places, each overriding the
next, dimension by dimension; what nobody asks for is the profile's, and where that is null, a draw
from the prior or the speaker's own habits (`Dimension.draws`); a prompted model is told no such
draw, and an adapter only the dimensions that it was trained with. As text::

    Ana; tone=playful; topic=auto; catchphrase="so; yes"; catchphrase.rate=0.1; seed=7

    auto     q(z|c): what the encoder reads in the conversation so far
    sample   drawn anew for each reply
    none     null: the dimension is not shown
    "..."    a JSON string: the value itself, whatever is in it

A *rate* asks how often a value shows. A decoder shows the value in its prompt in p1 of its replies
and one that is not there in p0 (`Reach`), so a rate t is met by showing the value with probability

    q = (t - p0) / (p1 - p0)

and outside of p0 .. p1 by the nearer end (this project's derivation, from the mixture q p1 + (1 -
q) p0 = t). Beyond what training gives there are two further ways::

    tone=playful; tone.strength=1.5             push it further from a reply without the value
    tone=playful; tone.rate=1; candidates=16    write up to 16 replies; take the first that shows it

A *strength* w writes by the logits l(z) + w (l(z) - l(z without the value)). With *candidates* a
share t of the replies must show the value, the others must not, and each is the first candidate in
which that is read: a `Demand` on a reply. A reply that meets it is a draw from p(reply | context,
z, demand), so that a rate is met as far as candidates are found. A value without a rate is a
trait, which need not show, and demands nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

from vvae.core.errors import ConfigError, choose_from
from vvae.core.random import uniform
from vvae.latent.limits import MOST_CANDIDATES, STRONGEST
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import Prior
from vvae.latent.profile import Profile
from vvae.latent.sampling import chat_keys, drawn_from, fill
from vvae.latent.space import LatentSpace

__all__ = [
    "Demand",
    "Given",
    "Knob",
    "Mode",
    "Origin",
    "Rate",
    "Reach",
    "Steered",
    "Steering",
    "check_steering",
    "is_whole",
    "merged",
    "steer",
    "steering_from_json",
    "steering_from_text",
    "steering_to_text",
]

Line = TypeVar("Line")
Mode = Literal["fixed", "auto", "sample"]
Origin = Literal["given", "profile", "conversation", "sampled"]
"""Where a value of a reply's z comes from: set, the speaker's profile, read in the conversation,
drawn.
"""

KEYS = ("speaker", "conversation", "seed", "candidates")
WORDS = ("auto", "sample", "none")
LARGEST_SEED = 2**63 - 1


class Knob(NamedTuple):
    """A request for one dimension; `value` goes with the mode ``fixed``, where None is null."""

    mode: Mode
    value: str | None = None

    @classmethod
    def of(cls, word: str | None) -> Knob:
        """Return the knob that a word sets: auto, sample, none, or a value; None is null.

        >>> Knob.of("auto"), Knob.of("playful")
        (Knob(mode='auto', value=None), Knob(mode='fixed', value='playful'))
        """
        match word:
            case "auto" | "sample":
                return cls(word)
            case "none":
                return cls("fixed")
            case _:
                return cls("fixed", word)


@dataclass(frozen=True)
class Steering:
    """A request for a reply's z. What is None or absent is not asked."""

    speaker: str | None = None
    conversation: str | None = None
    """Names the conversation whose draws are shared."""
    seed: int | None = None
    """Of the draws of z."""
    knobs: Mapping[str, Knob] = field(default_factory=dict)
    rates: Mapping[str, float | None] = field(default_factory=dict)
    """Dimension -> the share of replies in which its value should show; None: as often as it comes,
    whatever is kept elsewhere."""
    strengths: Mapping[str, float] = field(default_factory=dict)
    """Dimension -> w, how far a reply is pushed from one without the value; 0 is the model as it
    is, below 0 pushes towards it."""
    candidates: int | None = None
    """Replies written at the most, of which the first that shows what is asked is taken."""


class Demand(NamedTuple):
    """A demand on one reply: that it shows a value of a dimension, or that it does not."""

    value: str
    shown: bool


class Reach(NamedTuple):
    """A pair of rates: how often an adapter shows a value that is in its prompt, and one that is
    not.
    """

    shown: float
    hidden: float
    basis: str
    """Where the two come from: a measurement with its n, or the predicted rate."""
    by_value: Mapping[str, Reach] = {}
    """Of values that were measured by themselves."""
    by_strength: tuple[tuple[float, float], ...] = ()
    """(w, how often a value in the prompt shows at that strength), w rising, where measured."""

    def of(self, value: str) -> Reach:
        """Return the rates of one value; those of all where it was not measured by itself."""
        own = self.by_value.get(value)
        if own is None:
            return self
        return own if own.by_strength else own._replace(by_strength=self.by_strength)

    @property
    def ends(self) -> tuple[float, float]:
        """Return the lowest and the highest rate that can be had."""
        return min(self.shown, self.hidden), max(self.shown, self.hidden)

    def strength_for(self, target: float) -> float:
        """Return the least strength at which a value shows in a share of replies, on a line between
        the strengths measured; the one that comes nearest where none does.

        >>> Reach(0.25, 0.0, "", by_strength=((1.0, 0.75),)).strength_for(0.5)
        0.5
        """
        if target <= self.shown:
            return 0.0
        below, low = 0.0, self.shown
        nearest = (target - low, 0.0)
        for w, shown in self.by_strength:
            if low < target <= shown:
                return below + (w - below) * (target - low) / (shown - low)
            nearest = min(nearest, (abs(target - shown), w))
            below, low = w, shown
        return nearest[1]

    def at(self, strength: float) -> Reach:
        """Return the rates at a strength, on a line between those measured; the nearest one's
        beyond.

        Only the end of a value in the prompt moves.
        """
        below, low = 0.0, self.shown
        for w, shown in self.by_strength:
            if strength <= w:
                part = max(0.0, strength - below) / (w - below)
                return self._replace(shown=low + part * (shown - low))
            below, low = w, shown
        return self._replace(shown=low)


class Rate(NamedTuple):
    """A rate that was asked for, the one that can be had, and whether this reply's draw shows the
    value.
    """

    asked: float
    given: float
    shown: bool


class Given(NamedTuple):
    """A dimension of a reply's z: its value or null, and how it came about."""

    value: str | None
    mode: Literal["fixed", "auto", "sample", "profile"]
    origin: Origin | None
    rate: Rate | None = None
    strength: float = 0.0


@dataclass(frozen=True)
class Steered:
    """A reply's z, dimension by dimension, what is demanded of the reply, and what could not be
    done as asked.
    """

    persona: Persona
    dimensions: Mapping[str, Given]
    notes: tuple[str, ...] = ()
    demands: Mapping[str, Demand] = field(default_factory=dict)
    """Dimension -> what the reply must show or not, where candidates are written."""
    candidates: int = 1

    @property
    def strengths(self) -> dict[str, float]:
        """Return the strength of each dimension of z that has one."""
        return {name: given.strength for name, given in self.dimensions.items() if given.strength}

    def set_off(self, line: Callable[[Persona], Line]) -> tuple[tuple[Line, float], ...]:
        """Return what the reply is pushed away from: for each dimension with a strength the
        persona without it, as `line` puts it, and the strength.
        """
        return tuple(
            (line(self.persona.without(name)), strength)
            for name, strength in self.strengths.items()
        )


# --- reading and writing --------------------------------------------------------------------------


_ITEM = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^";\n])*)(?:[;\n]|$)')


def steering_from_text(text: str, *, where: str = "persona") -> Steering:
    """Return the steering of a text such as ``Ana; tone=playful; topic=auto``, the inverse of
    `steering_to_text`.

    Raises:
        ConfigError: it cannot be read, or says two things of one dimension.
    """
    named: dict[str, str] = {}
    knobs: dict[str, Knob] = {}
    rates: dict[str, float | None] = {}
    strengths: dict[str, float] = {}
    names: set[str] = set()
    for number, item in enumerate(_items(text, where)):
        if not item:
            continue
        name, separator, value = (part.strip() for part in item.partition("="))
        if not number and (not separator or item.startswith('"')):
            name, value = "speaker", item
        elif not separator or not name:
            raise ConfigError(
                f"{item[:40]!r} is no NAME=VALUE", where=where, fix="for example tone=playful"
            )
        if name in names:
            raise ConfigError(
                f"{name[:40]!r} stands twice", where=where, fix="leave out one of the two"
            )
        names.add(name)
        if name in KEYS:
            named[name] = _unquoted(value, where)
        elif name.endswith(".rate"):
            rate = None if value == "none" else _rate(value, f"{where}.{name}")
            rates[name.removesuffix(".rate")] = rate
        elif name.endswith(".strength"):
            strengths[name.removesuffix(".strength")] = _strength(value, f"{where}.{name}")
        else:
            knobs[name] = (
                Knob("fixed", _unquoted(value, where)) if value.startswith('"') else Knob.of(value)
            )
    return Steering(
        named.get("speaker"),
        named.get("conversation"),
        _seed(named.get("seed"), where),
        knobs,
        rates,
        strengths,
        _candidates(named.get("candidates"), where),
    )


def _items(text: str, where: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        matched = _ITEM.match(text, position)
        if matched is None:
            raise ConfigError(
                "a quotation mark is not closed",
                where=where,
                fix="close it, or write it as a JSON string",
            )
        yield matched[1].strip()
        position = matched.end()


def is_whole(text: str) -> bool:
    """Return whether UTF-8 can hold a text: JSON can escape half a surrogate pair, which stands for
    no character.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unquoted(value: str, where: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        text = str(json.loads(value))
        text.encode("utf-8")
        return text
    except ValueError:  # no JSON, or half a surrogate pair
        raise ConfigError(
            f"{value[:40]!r} is no JSON string", where=where, fix='for example "ok; fine"'
        ) from None


def steering_to_text(steering: Steering) -> str:
    """Return the text that `steering_from_text` reads."""
    items = [] if steering.speaker is None else [f"speaker={_quoted(steering.speaker)}"]
    if steering.conversation is not None:
        items.append(f"conversation={_quoted(steering.conversation)}")
    if steering.seed is not None:
        items.append(f"seed={steering.seed}")
    if steering.candidates is not None:
        items.append(f"candidates={steering.candidates}")
    for name, knob in steering.knobs.items():
        value = (
            knob.mode
            if knob.mode != "fixed"
            else "none"
            if knob.value is None
            else _quoted(knob.value)
        )
        items.append(f"{name}={value}")
    items += [
        f"{name}.rate={'none' if rate is None else repr(rate)}"
        for name, rate in steering.rates.items()
    ]
    items += [f"{name}.strength={w!r}" for name, w in steering.strengths.items()]
    return "; ".join(items)


def _quoted(value: str) -> str:
    plain = value == value.strip() and value not in ("", *WORDS) and not re.search(r'[";\n]', value)
    return value if plain else json.dumps(value)


def steering_from_json(data: object, *, where: str = "persona") -> Steering:
    """Return the steering of a text, or of an object: dimension -> value, word, null, or ``{"mode",
    "value", "rate", "strength"}``; also `KEYS`.

    Raises:
        ConfigError: it is neither, or a key has a value of the wrong type.
    """
    if isinstance(data, str):
        return steering_from_text(data, where=where)
    if not isinstance(data, Mapping):
        raise ConfigError(
            "a persona is text or an object", where=where, fix='for example {"tone": "playful"}'
        )
    if not is_whole(json.dumps(data, ensure_ascii=False, default=str)):
        raise ConfigError(
            "half a surrogate pair is no character", where=where, fix="send whole characters"
        )
    knobs: dict[str, Knob] = {}
    rates: dict[str, float | None] = {}
    strengths: dict[str, float] = {}
    for name, setting in data.items():
        if name not in KEYS:
            place = f"{where}.{name[:40]}"
            knob = _knob(setting, place)
            knobs |= {} if knob is None else {name: knob}
            if isinstance(setting, Mapping) and "rate" in setting:
                rate = setting["rate"]
                rates[name] = None if rate is None else _rate(rate, place)
            if isinstance(setting, Mapping) and (strength := setting.get("strength")) is not None:
                strengths[name] = _strength(strength, place)
    for key in ("speaker", "conversation"):
        if data.get(key) is not None and not isinstance(data[key], str):
            raise ConfigError("not a text", where=f"{where}.{key}", fix="give a name")
    return Steering(
        data.get("speaker"),
        data.get("conversation"),
        _seed(data.get("seed"), where),
        knobs,
        rates,
        strengths,
        _candidates(data.get("candidates"), where),
    )


def _knob(setting: object, where: str) -> Knob | None:
    if setting is None:
        return Knob("fixed")
    if isinstance(setting, str):
        return Knob.of(setting)
    if not isinstance(setting, Mapping) or set(setting) - {
        "mode",
        "value",
        "rate",
        "strength",
    }:
        raise ConfigError(
            "neither a value nor {mode, value, rate, strength}",
            where=where,
            fix='for example "playful"',
        )
    mode, value = setting.get("mode"), setting.get("value")
    if mode not in (None, "fixed", "auto", "sample"):
        raise ConfigError(
            f"unknown mode {str(mode)[:40]!r}", where=where, fix="choose fixed, auto or sample"
        )
    if mode in ("auto", "sample") and value is not None:
        raise ConfigError(f"a value beside {mode}", where=where, fix="leave out one of the two")
    if not isinstance(value, str | None):
        raise ConfigError("a value is text or null", where=where, fix='for example "playful"')
    return Knob(mode or "fixed", value) if mode or "value" in setting else None


def _seed(seed: object, where: str) -> int | None:
    if isinstance(seed, str) and seed.isascii() and seed.isdigit() and len(seed) < 20:
        seed = int(seed)
    if seed is None or (
        isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= LARGEST_SEED
    ):
        return seed
    raise ConfigError("a seed is a whole number from 0", where=f"{where}.seed", fix="for example 7")


def _candidates(number: object, where: str) -> int | None:
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 4:
        number = int(number)
    if number is None or (
        isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MOST_CANDIDATES
    ):
        return number
    what = f"candidates are a whole number from 1 to {MOST_CANDIDATES}"
    raise ConfigError(what, where=f"{where}.candidates", fix="for example 16")


def _number(number: object) -> float:
    """A number as it was written; not a number where it is none."""
    if not isinstance(number, str | int | float) or isinstance(number, bool):
        return math.nan
    try:
        return float(number)
    except (ValueError, OverflowError):
        return math.nan


def _within(number: object, low: float, high: float, *, what: str, where: str, fix: str) -> float:
    """A number within bounds, as it was written.

    Raises:
        ConfigError: it is none.
    """
    found = _number(number)
    if not low <= found <= high:
        raise ConfigError(what, where=where, fix=fix)
    return found


def _rate(rate: object, where: str) -> float:
    what = "a rate is a share between 0 and 1"
    return _within(rate, 0, 1, what=what, where=where, fix="for example 0.1")


def _strength(strength: object, where: str) -> float:
    what = f"a strength is a number from {-STRONGEST:g} to {STRONGEST:g}"
    return _within(strength, -STRONGEST, STRONGEST, what=what, where=where, fix="for example 1")


def merged(layers: Iterable[Steering]) -> Steering:
    """Return what several places ask for, the first before the next; a dimension's rate and its
    value each by itself.
    """
    speaker = conversation = seed = candidates = None
    knobs: dict[str, Knob] = {}
    rates: dict[str, float | None] = {}
    strengths: dict[str, float] = {}
    for layer in layers:
        speaker = layer.speaker if speaker is None else speaker
        conversation = layer.conversation if conversation is None else conversation
        seed = layer.seed if seed is None else seed
        candidates = layer.candidates if candidates is None else candidates
        knobs = {**layer.knobs, **knobs}
        rates = {**layer.rates, **rates}
        strengths = {**layer.strengths, **strengths}
    return Steering(speaker, conversation, seed, knobs, rates, strengths, candidates)


# --- from knobs to z ------------------------------------------------------------------------------


def check_steering(steering: Steering, space: LatentSpace, *, where: str = "persona") -> None:
    """Raise ConfigError where a dimension or a label is unknown."""
    for name in (*steering.knobs, *steering.rates, *steering.strengths):
        if name not in space.by_name:
            fix = choose_from(name, space.names)
            raise ConfigError(f"unknown dimension {name[:40]!r}", where=where, fix=fix)
    for name, knob in steering.knobs.items():
        if knob.value is not None:
            space.check(name, knob.value, where=f"{where}.{name}")


def steer(
    steering: Steering,
    space: LatentSpace,
    prior: Prior,
    profile: Profile,
    *,
    conversation: str,
    turn: int,
    seed: int,
    read: Callable[[], Persona] = Persona,
    reach: Callable[[str], Reach] | None = None,
    listener: str | None = None,
    most_strengths: int = 8,
    told: Collection[str] | None = None,
    draws: bool = True,
) -> Steered:
    """Return the z of the reply at a turn of a conversation.

    A draw is shared by what the dimension's scope says: all replies of the speaker, all of the
    conversation, or this turn alone; `sample` draws anew for each turn.

    Args:
        read: q(z|c), called where a dimension is `auto`.
        reach: dimension -> what the adapter can do; without it rates are not asked for.
        most_strengths: how many dimensions may have one; those that nobody asked for give way.
        told: the dimensions that the model is told, all where None; of another one candidates can
            still be read.
        draws: whether what a profile leaves open is drawn unasked; not for a prompted model.
    """
    own = profile.persona(listener)
    heard = read() if any(knob.mode == "auto" for knob in steering.knobs.values()) else Persona()
    keys = chat_keys(conversation, profile.speaker, turn)
    candidates = steering.candidates or 1
    most_strengths -= sum(map(bool, steering.strengths.values()))
    persona, dimensions, notes = Persona(), dict[str, Given](), list[str]()
    demands: dict[str, Demand] = {}
    for dimension in space.dimensions:
        name, knob = dimension.name, steering.knobs.get(dimension.name)
        slot, origin = _slot_without_draw(knob, heard[name], own[name])
        if slot is None and (draws if not knob or knob.mode == "auto" else knob.mode == "sample"):
            scope = "turn" if knob and knob.mode == "sample" else dimension.scope
            values = drawn_from(profile, prior, name)
            slot = fill(Persona(), values, name, keys[scope], seed=seed)[name]
            origin = "sampled" if slot else None
        rate, strength, target = None, steering.strengths.get(name), steering.rates.get(name)
        is_told = told is None or name in told
        if slot is None and target is not None:
            notes.append(f"{name}: a rate is asked for, and no value")
        if slot is not None and not is_told and (knob or strength or target is not None):
            notes.append(f"{name}: this adapter is not told it")
        if slot is not None and target is not None and candidates > 1:
            shown = uniform("rate", seed, name, keys["turn"]) < target
            demands[name] = Demand(slot.value, shown)
            rate = Rate(target, target, shown)
        elif not is_told:
            slot, origin = None, None
        elif slot is not None and reach and target is not None:
            reachable = reach(name).of(slot.value)
            if strength is None and most_strengths > 0:
                strength = reachable.strength_for(target)
                most_strengths -= strength > 0
            rate, note = _reachable_rate(
                target,
                reachable.at(strength or 0.0),
                name,
                uniform("rate", seed, name, keys["turn"]),
            )
            notes += [note] if note else []
        if rate and not rate.shown:
            slot, origin = None, None
        if slot is not None and is_told:
            persona = persona.with_slots({name: slot})
        dimensions[name] = Given(
            slot and slot.value,
            knob.mode if knob else "profile",
            origin,
            rate,
            (strength or 0.0) if persona[name] else 0.0,
        )
    if candidates > 1 and all(rate is None for rate in steering.rates.values()):
        notes.append("candidates: no rate is asked for, so one reply is written")
    return Steered(persona, dimensions, tuple(notes), demands, candidates if demands else 1)


def _slot_without_draw(
    knob: Knob | None, heard: Slot | None, own: Slot | None
) -> tuple[Slot | None, Origin | None]:
    """What is not left to a draw."""
    if knob is None:
        return own, "profile" if own else None
    if knob.mode == "fixed" and knob.value is not None:
        return Slot(knob.value, "given"), "given"
    if knob.mode == "auto" and heard is not None:
        return Slot(heard.value, "observed"), "conversation"
    return None, None


def _reachable_rate(target: float, reach: Reach, name: str, draw: float) -> tuple[Rate, str | None]:
    """The rate that can be had, with this turn's draw;
    and a note where it is another than asked.
    """
    low, high = reach.ends
    reachable = min(max(target, low), high)
    q = (
        (reachable - reach.hidden) / (reach.shown - reach.hidden)
        if reach.shown != reach.hidden
        else 1.0
    )
    note = None
    if reachable != target:
        note = (
            f"{name}: a rate of {target:.3g} is out of reach ({low:.3g} to {high:.3g}, "
            f"{reach.basis}); given {reachable:.3g}"
        )
    return Rate(target, reachable, draw < q), note
