"""Sampling z: how nulls are filled, from what, and what shares a draw. The only place that does it.

A null of dimension k is replaced, with probability s, by a draw from the prior p(z_k). The draw is
a pure function of (seed, dimension, scope key, pass), so it depends on no order and comes again
after a resume. A `Scope` says what shares a draw:

    turn      each reply by itself
    dialogue  all replies of a speaker in a dialogue
    pair      all replies of a speaker to the same listener
    speaker   all replies of a speaker

In training the scope is the config's (`sampling.draw_per`); at test time, in a chat and on a server
it is each dimension's own (`Dimension.scope`).

A decoder that cannot tell from the context who speaks learns to show a value in its prompt in

    P(x has v | z = v) = r / (r + (1 - r) s)                                    (`predicted_rate`)

of its replies, where r is the observation rate. This is this project's derivation, and a marginal:
a decoder that does recognise the speaker goes beyond it (`predicted_range`, docs/method.md).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vvae.core.dialogue import Pair
from vvae.core.random import index_below, uniform
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import DimensionPrior, Prior
from vvae.latent.profile import Profile
from vvae.latent.space import LatentSpace, Scope

__all__ = [
    "UNREAD",
    "FillFrom",
    "Misreading",
    "Predicted",
    "SamplingConfig",
    "ScopeKeys",
    "chat_keys",
    "complete",
    "drawn_from",
    "dropped",
    "fill",
    "fill_all",
    "fill_by_scope",
    "fill_nulls",
    "fill_values",
    "misread",
    "old_scope",
    "pair_keys",
    "predicted_range",
    "predicted_rate",
]

FillFrom = Literal["prior", "speaker", "shrunk", "context", "frequent", "noise"]
ScopeKeys = Mapping[Scope, str]
"""Scope -> the key whose draws are shared there."""


class SamplingConfig(BaseModel):
    """A set of options that say how nulls are filled in training, by the variants that sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    draw_per: Scope = Field(
        "turn", description="what shares a draw: each turn, dialogue, pair (of people) or speaker"
    )
    s: float | dict[str, float] = Field(
        1.0, description="probability that a null is filled, for all or per dimension"
    )
    drop: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="probability that a value, read or drawn, is left out in training, each by "
        "itself: what the strength of a knob is measured from",
    )

    @model_validator(mode="before")
    @classmethod
    def _old_scope(cls, data: Any) -> Any:
        return old_scope(data)

    def probability(self, dimension: str) -> float:
        """Return s of a dimension; 1 where only others are listed."""
        return self.s.get(dimension, 1.0) if isinstance(self.s, dict) else self.s

    def model_post_init(self, _: object) -> None:
        """Check the range of the probabilities."""
        for value in self.s.values() if isinstance(self.s, dict) else [self.s]:
            if not 0 <= value <= 1:
                raise ValueError("a sampling probability lies between 0 and 1")


def old_scope(data: Any) -> Any:
    """Return settings in which `scope`, as it was called before, is `draw_per`.

    There "pair" was a training example, which is a turn; here it is two people.

    >>> old_scope({"scope": "pair"})
    {'draw_per': 'turn'}
    """
    if not isinstance(data, dict) or "scope" not in data:
        return data
    scope = data["scope"]
    rest = {name: value for name, value in data.items() if name != "scope"}
    return {"draw_per": "turn" if scope == "pair" else scope, **rest}


# --- what shares a draw ---------------------------------------------------------------------------


def pair_keys(pair: Pair) -> ScopeKeys:
    """Return the keys of a reply of the corpus."""
    return {
        "turn": pair.pair_id,
        "dialogue": f"{pair.dialogue}\x1f{pair.speaker}",
        "pair": "\x1f".join((pair.speaker, *sorted(pair.listeners))),
        "speaker": pair.speaker,
    }


def chat_keys(conversation: str, speaker: str, turn: int) -> ScopeKeys:
    """Return the keys of a reply in a chat that goes on now; the listener is whoever chats."""
    return {
        "turn": f"{conversation}#{turn}",
        "dialogue": conversation,
        "pair": f"{conversation} with {speaker}",
        "speaker": f"chat with {speaker}",
    }


# --- filling nulls --------------------------------------------------------------------------------


def fill(
    persona: Persona,
    values: DimensionPrior,
    name: str,
    key: str,
    *,
    seed: int,
    s: float = 1.0,
    draw: int = 0,
) -> Persona:
    """Return the persona with a null of one dimension replaced, with probability s, by a draw.

    Args:
        values: what is drawn from.
        name: the dimension.
        key: what shares the draw (`ScopeKeys`).
        draw: the pass over the data; each draws anew.
    """
    if persona[name] is not None or uniform("shown", seed, name, key, draw) >= s:
        return persona
    value = values.draw("value", seed, name, key, draw)
    return persona if value is None else persona.with_slots({name: Slot(value, "sampled")})


def fill_nulls(persona: Persona, prior: Prior, *, key: str, seed: int = 0) -> Persona:
    """Return the persona with every null drawn from the prior, marked as sampled.

    Args:
        key: what the draws belong to, a pair's id for example; the same key draws the same values.

    Example:
        >>> from vvae.latent.prior import DimensionPrior
        >>> prior = Prior({"tone": DimensionPrior({"tender": 1}, nulls=3)}, "encoder", "corpus")
        >>> print(fill_nulls(Persona(), prior, key="d17#4"))
        tone~tender
    """
    for name, values in prior.dimensions.items():
        persona = fill(persona, values, name, key, seed=seed)
    return persona


def fill_all(
    persona: Persona,
    values: Mapping[str, DimensionPrior],
    keys: ScopeKeys,
    sampling: SamplingConfig,
    *,
    seed: int,
    draw: int,
) -> Persona:
    """Return z as a training pass shows it: every null filled with its probability.

    Args:
        persona: z as the encoder read it.
        values: dimension -> what its nulls are drawn from (`fill_values`).
    """
    key = keys[sampling.draw_per]
    for name, counted in values.items():
        s = sampling.probability(name)
        persona = fill(persona, counted, name, key, seed=seed, s=s, draw=draw)
    return dropped(persona, sampling.drop, keys["turn"], seed=seed, draw=draw)


def dropped(persona: Persona, rate: float, key: str, *, seed: int, draw: int) -> Persona:
    """Return the persona with each value left out with a probability, independently of the value
    and of the others, so that the rates a decoder learns beside a value are unchanged.

    Condition dropout, as in classifier-free guidance (Ho and Salimans 2022), slot by slot.
    """
    if not rate:
        return persona
    kept = (name for name, _ in persona if uniform("dropped", seed, name, key, draw) >= rate)
    return persona.within(tuple(kept))


def drawn_from(profile: Profile, prior: Prior, name: str) -> DimensionPrior:
    """Return what an unset value of a dimension is drawn from at test time: the speaker's own habit
    where the space says so and something is known of it, else the prior.
    """
    habit = profile.habits.get(name)
    return DimensionPrior(dict(habit), nulls=0) if habit else prior[name]


def complete(
    profile: Profile, pair: Pair, prior: Prior, space: LatentSpace, *, seed: int
) -> Persona:
    """Return the profile's persona for a reply with every null drawn (`drawn_from`).

    Each dimension's own scope says what shares a draw.
    """
    values = {name: drawn_from(profile, prior, name) for name in space.names}
    return fill_by_scope(profile.persona(pair.listener), pair, values, space, seed=seed)


def fill_by_scope(
    persona: Persona,
    pair: Pair,
    values: Mapping[str, DimensionPrior],
    space: LatentSpace,
    *,
    seed: int,
) -> Persona:
    """Return the persona with its nulls drawn from values, each draw shared as its dimension's own
    scope says; a dimension without values, or whose values were never observed, stays null.
    """
    keys = pair_keys(pair)
    for name, counted in values.items():
        scope = space.by_name[name].scope
        persona = fill(persona, counted, name, keys[scope], seed=seed)
    return persona


def fill_values(source: FillFrom, prior: Prior, own: Prior | None) -> Mapping[str, DimensionPrior]:
    """Return, for each dimension, the values that its nulls are drawn from.

        prior     the prior
        speaker   the speaker's own values (`own`); the prior's where the speaker has none
        shrunk    p(z|s): the speaker's own values, held towards the prior's
        context   the prior; what was read before in the conversation comes first
        frequent  the prior's most frequent value
        noise     words of all the priors, as many as the prior's value has, that mean nothing here

    Noise is as long as a value and can be told from one: it disturbs, and stands for no missing
    value.
    """
    match source:
        case "speaker" if own is not None:
            return {
                name: own[name] if own[name].counts else counted
                for name, counted in prior.dimensions.items()
            }
        case "shrunk" if own is not None:
            return {name: counted.shrunk(own[name]) for name, counted in prior.dimensions.items()}
        case "frequent":
            return {
                name: DimensionPrior(dict(p.ordered[:1]), p.nulls)
                for name, p in prior.dimensions.items()
            }
        case "noise":
            words = sorted(
                {w for p in prior.dimensions.values() for value in p.counts for w in value.split()}
            )
            return {name: _noise(name, p, words) for name, p in prior.dimensions.items()}
        case "prior" | "speaker" | "shrunk" | "context":
            return prior.dimensions


def _noise(name: str, counted: DimensionPrior, words: Sequence[str]) -> DimensionPrior:
    counts: Counter[str] = Counter()
    for value, n in counted.ordered:
        places = range(len(value.split()))
        noise = (words[index_below(len(words), "noise", name, value, place)] for place in places)
        counts[" ".join(noise)] += n
    return DimensionPrior(dict(counts), counted.nulls)


# --- errors put in on purpose ---------------------------------------------------------------------


UNREAD = "∅"
"""A null in an audit's confusion."""


class Misreading(BaseModel):
    """A kind of error put into the values read, as an encoder might make it.

    other: another value, drawn from the prior; null: the value is missed; near: the label most like
    it (of closed dimensions; values of open ones are left); audited: read once more by an encoder
    that errs as an audit against labels found, so that what one round of its errors costs can be
    extrapolated to none (simulation-extrapolation: Cook and Stefanski 1994).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["other", "null", "near", "audited"]
    rate: float = Field(1.0, ge=0, le=1, description="share of the values that are misread")
    confusion: dict[str, dict[str, dict[str, int]]] | None = Field(
        None,
        description="of audited: dimension, label, what it was read as; or `audit`, the file of "
        "`vvae audit labels` that has it",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_audit(cls, data: Any) -> Any:
        """Take the confusion out of an audit's file, so that it is part of what was trained on."""
        if not isinstance(data, dict) or "audit" not in data:
            return data
        rest = {name: value for name, value in data.items() if name != "audit"}
        try:
            found = json.loads(Path(str(data["audit"])).read_text("utf-8"))["dimensions"]
            confusion = {name: of["confusion"] for name, of in found.items() if of.get("confusion")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{data['audit']} is no file of `vvae audit labels`") from None
        return {**rest, "confusion": confusion}

    @model_validator(mode="after")
    def _has_confusion(self) -> Misreading:
        if (self.kind == "audited") != (self.confusion is not None):
            raise ValueError("an audit goes with the kind audited, and it with an audit")
        return self


def misread(
    persona: Persona,
    error: Misreading,
    prior: Prior,
    near: Mapping[str, Mapping[str, str]],
    *,
    pair: str,
    seed: int,
) -> Persona:
    """Return z with errors: the same for a pair in every pass.

    A larger rate misreads what a smaller one does, and more.

    Args:
        near: closed dimension -> label -> the one most like it.
        pair: the pair's id.
    """
    slots: dict[str, Slot] = {}
    for name, slot in persona:
        value: str | None = slot.value
        if uniform("misread", seed, name, pair) < error.rate:
            match error.kind:
                case "null":
                    value = None
                case "near":
                    value = near.get(name, {}).get(slot.value, slot.value)
                case "other":
                    counts = {v: n for v, n in prior[name].counts.items() if v != slot.value}
                    other_value = DimensionPrior(counts, 0).draw("misread as", seed, name, pair)
                    value = other_value or slot.value
                case "audited":
                    row = (error.confusion or {}).get(name, {}).get(slot.value)
                    drawn = DimensionPrior(row or {}, 0).draw("misread as", seed, name, pair)
                    value = None if drawn == UNREAD else drawn or slot.value
        if value is not None:
            slots[name] = slot if value == slot.value else Slot(value, "observed")
    return Persona(slots)


class Predicted(NamedTuple):
    """A range of the rate at which a converged decoder shows what it is shown."""

    marginal: float
    """Of a decoder that cannot tell from the context who speaks."""
    own: float | None
    """Of one that can, shown the speakers' own values in their own contexts; the mean over
    speakers. None where no speaker has a value."""


def predicted_range(
    prior: DimensionPrior,
    own: Mapping[str, DimensionPrior],
    values: Mapping[str, str],
    *,
    s: float,
    fill: Literal["prior", "speaker", "shrunk"] = "prior",
    draw_per: Scope = "turn",
) -> Predicted:
    """Return what training comes to for a dimension (docs/method.md has the derivation).

    Beside z = v a speaker's replies are those in which v was read, r(v) of them, and those in which
    it was drawn, (1 - r) s q(v), with q what nulls are filled from: the prior, the speaker's own
    values, or these held towards the prior. Where all of a speaker's replies share one draw, one
    that is not v leaves only those in which v was read (in one pass: each draws anew).

    Args:
        own: speaker -> what was read in their training replies.
        values: speaker -> the value that is shown.

    Example:
        >>> everyone = DimensionPrior({"yes": 10, "so": 10}, nulls=80)
        >>> ana = {"ana": DimensionPrior({"yes": 10}, nulls=40)}
        >>> predicted_range(everyone, ana, {"ana": "yes"}, s=1.0)
        Predicted(marginal=0.2, own=0.3333333333333333)
        >>> predicted_range(everyone, ana, {"ana": "yes"}, s=1.0, fill="speaker").own
        0.2
    """
    rates: list[float] = []
    for speaker, value in values.items():
        read = own.get(speaker)
        if read is None or not read.counts.get(value):
            continue
        filled = {"prior": prior, "speaker": read, "shrunk": prior.shrunk(read)}[fill]
        drawn = filled.share(value)
        seen, null = read.counts[value] / read.total, 1 - read.rate
        if draw_per == "speaker":  # whether nulls are filled at all is drawn once, too
            rates.append(s * drawn * seen / (seen + null) + 1 - s * drawn)
        else:
            rates.append(seen / (seen + null * s * drawn))
    return Predicted(predicted_rate(prior.rate, s), sum(rates) / len(rates) if rates else None)


def predicted_rate(r: float, s: float = 1.0) -> float:
    """Return r / (r + (1 - r) s), the rate at which a converged decoder that cannot tell who speaks
    shows a value.

    >>> predicted_rate(0.1, 1.0), round(predicted_rate(0.1, 0.5), 4), predicted_rate(0.1, 0.0)
    (0.1, 0.1818, 1.0)
    """
    normaliser = r + (1 - r) * s
    return r / normaliser if normaliser else 0.0
