"""What the benchmark found, typed: the contents of results.json.

The names of metrics are keys beside the fields that every body of replies has, so that a new metric
is one more key.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = [
    "Bound",
    "Estimate",
    "FigureResult",
    "Finite",
    "HumanRate",
    "HumanResults",
    "Phrase",
    "PrimaryComparison",
    "Results",
    "Share",
    "SwappedRate",
    "VariantRate",
    "VariantResults",
    "finite",
    "points",
]


def finite(value: float | None, digits: int = 4) -> float | None:
    """Return a number as it is stored: rounded, and None where it is none."""
    return None if value is None or not math.isfinite(value) else round(value, digits)


def points(share: float) -> float | None:
    """Return a difference of shares in percentage points, as it is stored."""
    return finite(100 * share, 2)


Finite = Annotated[float | None, BeforeValidator(finite)]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HumanRate(_Stored):
    """A rate of people: how often they show a value, over all held-out replies of the benchmarked
    speakers.
    """

    rate: Finite
    positives: int
    replies: int
    speakers: int
    measurable: bool
    """Whether there are positives enough to compare with."""
    observation_rate: Finite
    """r of the dimension in training."""
    low: Finite = None
    high: Finite = None
    opening: Finite = None
    """The same rate in the first words of each reply alone (`HumanResults.opening_words`)."""


class SwappedRate(_Stored):
    """A variant's rates under another speaker's profile."""

    shown: Finite
    """Of the value shown, which is the other's."""
    true: Finite
    """Of the value that the true speaker has."""
    n: int


class Share(_Stored):
    """A share of replies, or a difference of two, with its 95 % interval over speakers."""

    value: Finite
    low: Finite
    high: Finite


class VariantRate(_Stored):
    """A rate of a variant: how often it shows a value, beside people; deviation and interval in
    points.
    """

    rate: Finite
    target: Finite
    deviation: float | None
    low: float | None
    high: float | None
    n: int
    predicted: float | None
    """The rate that training converges to where the context does not tell who speaks; None where
    nothing is predicted."""
    predicted_own: float | None = None
    """The same where it does."""
    in_training: float | None
    """The share of training replies with a z in which the reply shows it."""
    slope: Finite
    """Of the speakers' rates over people's: 1 where frequent phrases stay frequent."""
    slope_low: Finite = None
    slope_high: Finite = None
    swapped: SwappedRate | None
    opening: Share | None = None
    """The share in the first words of each reply alone: a long reply has more places for a habit.
    """
    opening_people: Share | None = None
    """The same, less people's."""


class Phrase(_Stored):
    """The probability of the speaker's catchphrase by teacher forcing; speakers count equally."""

    profile: float
    swapped: float
    n: int
    own: Share | None = None
    """Under the own profile."""
    others: Share | None = None
    """Under another's."""
    known: Share | None = None
    """Under what is known of the own profile, its nulls left out."""
    written: Share | None = None
    """The share of replies that have it, by the probability at each place of those that the variant
    wrote itself (`vvae.metrics.teacher_forcing.said_in_own`)."""
    written_people: Share | None = None
    """The same, less how often those people say it."""
    read: Share | None = None
    """Under the own less under another's: 0 where the decoder does not look at z."""
    people: Share | None = None
    """Under the own, less people's rate."""


class HumanResults(BaseModel):
    """The results of people's own replies."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, HumanRate]

    length: float
    repetition: float
    opening_words: int | None = None
    """Words of a reply that its beginning has: as many as people's replies have on average."""
    emoji_consistency: tuple[int, int] | None = None

    @property
    def rates(self) -> dict[str, HumanRate]:
        """Return metric -> rate."""
        return self.__pydantic_extra__


class Bound(_Stored):
    """Bounds on -log p(x|c) of people's replies, in nats a reply: with one draw of the nulls and
    with several.
    """

    elbo: float
    iwae: float
    draws: int
    n: int


class VariantResults(BaseModel):
    """The results of one variant's replies, and how likely people's are under it."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, VariantRate]

    length: float
    repetition: float
    cut: int
    n: int
    emoji_consistency: tuple[int, int] | None = None
    loss_n: int | None = None
    loss_posterior_z: float | None = None
    loss_profile_z: float | None = None
    loss_known_z: float | None = None
    loss_own_z: float | None = None
    loss_context_z: float | None = None
    loss_swapped_z: float | None = None
    loss_none_z: float | None = None
    reconstruction: float | None = None
    bound: Bound | None = None
    forced: Phrase | None = None

    @property
    def rates(self) -> dict[str, VariantRate]:
        """Return metric -> rate."""
        return self.__pydantic_extra__


class Estimate(_Stored):
    """A figure with its interval; of a variant also the signed deviation from people.

    Of people the interval is the value's own, of a variant the deviation's.
    """

    value: Finite
    low: Finite
    high: Finite
    n: int | None = None
    """Replies."""
    parts: int | None = None
    """What they hold of what is counted: of labels, the replies in which one was read."""
    p: Finite = None
    """How likely a figure as great is of people's own replies; of a variant beside all other such
    figures."""
    deviation: Finite = None
    together: Finite = None
    """Share of speakers who are taken for themselves by all their replies together."""


class FigureResult(_Stored):
    """A figure of people and of each variant."""

    title: str
    unit: str
    human: Estimate
    variants: dict[str, Estimate]
    chance: Finite = None


class PrimaryComparison(_Stored):
    """The comparison of SP+FT and P+FT on CP: the difference of absolute deviations, in points."""

    claim: str
    difference: float | None
    low: float | None
    high: float | None


class Results(BaseModel):
    """The contents of results.json."""

    model_config = ConfigDict(extra="ignore")

    human: HumanResults
    variants: dict[str, VariantResults]
    primary: PrimaryComparison | None = None
    primary_forced: PrimaryComparison | None = None
    """The same by teacher forcing."""
    people_forced: Share | None = None
    """People's rate, of the speakers on whose replies probabilities were measured."""
    habits: dict[str, FigureResult] = {}
    kl: float | None = None
    timings: dict[str, float] = {}
    notice: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data: what was measured, and nothing for what was not."""
        return self.model_dump(mode="json", exclude_unset=True)
