"""What an encoder q(z|x,c) is, and the settings that make one."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from pydantic import BaseModel, ConfigDict

from vvae.core.dialogue import Dialogue, Pair
from vvae.core.errors import ConfigError
from vvae.core.reporting import Progress
from vvae.latent.space import LatentSpace
from vvae.latent.tables import Encoding

if TYPE_CHECKING:
    from vvae.encoders.llm.encoder import Plan

__all__ = ["LONGEST_READ", "Encoder", "EncoderSettings", "readable"]

LONGEST_READ = 4_000
"""Characters of a reply that are read: what a person types ends before, and a pasted text without
end must cost no more than a long reply does.
"""


def readable(pair: Pair) -> Pair:
    """Return a pair whose reply is no longer than an encoder reads."""
    if len(pair.response) <= LONGEST_READ:
        return pair
    return replace(pair, response=pair.response[:LONGEST_READ])


class Encoder(Protocol):
    """A distribution q(z|x,c): anything that reads z in replies."""

    id: str
    """Names kind, version and state: two encoders with the same id read alike."""
    rejected: Counter[str]
    """Values that were read and not accepted, by dimension and reason, in what was read last."""

    def encode(
        self,
        pairs: Sequence[Pair],
        dialogues: Mapping[str, Dialogue],
        *,
        progress: Progress | None = None,
    ) -> Iterator[Encoding]:
        """Yield the encoding of each pair, in order."""
        ...

    def state(self) -> str:
        """Return, as text, everything needed to read again in the same way."""
        ...

    def accounts(self) -> dict[str, Any]:
        """Return what reading has cost so far: attempts by outcome, tokens, cost.

        Empty where nothing is called.
        """
        ...

    def about(self) -> str | None:
        """Return one line about itself that a person wants to know before it reads, if any."""
        ...

    def check_errors(self, missing: int, total: int, outcomes: Mapping[str, int]) -> None:
        """Raise EndpointError where too many of `total` replies have no answer."""
        ...


class EncoderSettings(BaseModel):
    """A set of options of one kind of encoder, and how an encoder is made of them.

    A kind is a subclass with a field ``kind: Literal["..."]``, listed in
    `vvae.encoders.registry`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def calls_a_model(self) -> bool:
        """Return whether reading costs calls to somebody's endpoint."""
        return False

    @property
    def beyond(self) -> tuple[str, ...]:
        """Return the URLs of other machines to which texts are sent to be read."""
        return ()

    @abstractmethod
    def key(self, space: LatentSpace) -> list[Any]:
        """Return what encodings depend on, the encoder's own version included."""

    @abstractmethod
    def fit(
        self,
        pairs: Sequence[Pair],
        space: LatentSpace,
        *,
        topics: Mapping[str, str],
        ledger: Path,
        progress: Progress | None = None,
    ) -> Encoder:
        """Return the encoder fitted on the training pairs among `pairs`.

        Args:
            topics: dialogue id -> what it was about, where that is known.
            ledger: where calls to an endpoint are kept.

        Raises:
            EndpointError: a model is to be called and does not answer.
        """

    @abstractmethod
    def load(self, state: str, *, ledger: Path, where: str = "encoder.json") -> Encoder:
        """Return the encoder of a state.

        Raises:
            DataError: the text is no state of this version and these settings.
        """

    def subset(self, pairs: Sequence[Pair], *, seed: int) -> Sequence[Pair]:
        """Return the pairs that are to be read, in dialogue order: all, where nothing limits."""
        return pairs

    def limited(self, settings: Mapping[str, Any]) -> Self:
        """Return these settings with limits on what is read or spent.

        Raises:
            ConfigError: nothing here can be limited, or a value cannot be used.
        """
        if not settings:
            return self
        raise ConfigError(
            "only a language model can be limited",
            where=f"encoder.{next(iter(settings))}",
            fix="set encoder.kind to llm, or leave it out",
        )

    def for_shard(self, shards: int) -> Self:
        """Return the settings of one of several shards that are read apart."""
        return self

    def plan(
        self,
        pairs: Sequence[Pair],
        space: LatentSpace,
        *,
        topics: Mapping[str, str],
        dialogues: Mapping[str, Dialogue],
        ledger: Path,
        seed: int,
    ) -> Plan:
        """Return what reading would take, without a call.

        Raises:
            ConfigError: nothing would be called.
        """
        raise ConfigError(
            "the encoder is no language model",
            where="encoder.kind",
            fix="just run it: labelling functions call nothing",
        )
