"""Text generation behind one Protocol.

A draw is keyed by request: the noise that picks a token is a function of (seed, request key,
position), so a reply does not depend on which others were generated beside it or in which order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from vvae.core.errors import ConfigError
from vvae.core.reporting import Progress

if TYPE_CHECKING:
    pass

__all__ = [
    "DEFAULT_NEW_TOKENS",
    "Completion",
    "Contrast",
    "Engine",
    "GenerationConfig",
    "PlacingEngine",
    "Progress",
    "Request",
    "check_no_contrasts",
    "no_strength",
]

DEFAULT_NEW_TOKENS = 128


class GenerationConfig(BaseModel):
    """A set of options that say how replies are drawn.

    The defaults sample from the model as it is. Truncation and low temperature shrink every rare
    event, so a rate can only be right at temperature 1 and top_p 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, ge=0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int | None = Field(
        None, ge=1, description="null: the 99th percentile of human replies"
    )
    batch_tokens: int = Field(16384, ge=1, description="prompt and reply tokens in memory at once")


class Contrast(NamedTuple):
    """A prompt that lacks something, and how far a reply is pushed away from what it would say."""

    prompt: tuple[int, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt as token ids, the key of its draws, and what it is set off against.

    With contrasts the logits are ``l + sum of w (l - l_without)``: classifier-free guidance (Ho and
    Salimans 2022; of language models Sanchez et al. 2023).
    """

    key: str
    prompt: tuple[int, ...]
    contrasts: tuple[Contrast, ...] = ()
    trunk: int = 0
    """Tokens at the front of the prompt, and of the contrasts', before z: the context, which is
    read once for all prompts that begin with it."""
    opening: tuple[int, ...] = ()
    """Tokens that the reply begins with; they are part of what is written."""


class Completion(NamedTuple):
    """A reply, and whether it ended by itself (``stop``) or was cut (``length``)."""

    text: str
    finish_reason: str
    tokens: int


class Engine(Protocol):
    """A protocol of anything that completes prompts."""

    def complete(
        self,
        requests: Sequence[Request],
        config: GenerationConfig,
        *,
        seed: int,
        progress: Progress | None = None,
    ) -> list[Completion]:
        """Return completions in the order of the requests.

        Raises:
            ConfigError: a request has contrasts, and the engine cannot see a model's logits.
        """
        ...


@runtime_checkable
class PlacingEngine(Engine, Protocol):
    """A protocol of an engine that sees what a model finds likely, and so where a phrase fits."""

    def place(
        self, request: Request, replies: Sequence[str], phrase: str, *, draw: float
    ) -> tuple[int, ...]:
        """Return the tokens of a reply's beginning that ends with a phrase, where the model would
        say it in one of some replies that lack it. The word may grow on when it is written on.

        Args:
            draw: uniform in 0 to 1; it chooses the place.
        """
        ...


def no_strength(where: str = "strength") -> ConfigError:
    """Return the error of a strength asked of an engine that hands out text alone."""
    return ConfigError(
        "a strength needs the model's logits, which this engine does not show",
        where=where,
        fix="take --engine transformers (and --slots 2 or more), or leave the strength out",
    )


def check_no_contrasts(requests: Sequence[Request]) -> None:
    """Raise ConfigError where a request is set off against others, for an engine that cannot.

    Such an engine cannot place a phrase either, so that no request has an opening.
    """
    if any(request.contrasts or request.opening for request in requests):
        raise no_strength()
