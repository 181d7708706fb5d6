"""Text generation behind one Protocol.

A draw is keyed by request: the noise that picks a token is a function of (seed, request key,
position), so a reply does not depend on which others were generated beside it or in which order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from vvae.core.reporting import Progress

if TYPE_CHECKING:
    pass

__all__ = ["DEFAULT_NEW_TOKENS", "Completion", "Engine", "GenerationConfig", "Progress", "Request"]

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


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt as token ids, and the key of its draws."""

    key: str
    prompt: tuple[int, ...]


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
        """Return completions in the order of the requests."""
        ...
