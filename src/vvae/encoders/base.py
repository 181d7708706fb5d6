"""Which encoder reads a run: labelling functions (`rules`) or a language model (`llm`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Discriminator, Tag

from vvae.core.dialogue import Dialogue, Pair
from vvae.encoders.llm.encoder import LLMConfig, LLMEncoder
from vvae.encoders.rules.encoder import RulesConfig, RulesEncoder
from vvae.latent.space import LatentSpace
from vvae.latent.tables import Encoding

__all__ = ["ENCODERS", "Encoder", "EncoderConfig", "fit_encoder", "load_encoder"]

Progress = Callable[[int, int], None]
ENCODERS = ("rules", "llm")


def _kind(value: Any) -> str:
    kind = (
        value.get("kind", "rules") if isinstance(value, dict) else getattr(value, "kind", "rules")
    )
    return kind if kind in ENCODERS else "rules"  # whose own check then names the key


EncoderConfig = Annotated[
    Annotated[RulesConfig, Tag("rules")] | Annotated[LLMConfig, Tag("llm")], Discriminator(_kind)
]
"""The config of either, told apart by `kind`."""


class Encoder(Protocol):
    """q(z|x,c): anything that reads z in replies."""

    id: str
    nulled: Counter[str]

    def encode(
        self,
        pairs: Sequence[Pair],
        dialogues: Mapping[str, Dialogue],
        *,
        progress: Progress | None = None,
    ) -> Iterator[Encoding]:
        """z of each pair, in order."""
        ...

    def state(self) -> str:
        """Everything needed to read again in the same way."""
        ...

    def accounts(self) -> dict[str, Any]:
        """What reading has cost so far: attempts by how they ended, tokens, cost; empty where
        nothing is called.
        """
        ...


def fit_encoder(
    config: RulesConfig | LLMConfig,
    pairs: Sequence[Pair],
    topics: Mapping[str, str],
    space: LatentSpace,
    ledger: Path,
    *,
    progress: Progress | None = None,
) -> RulesEncoder | LLMEncoder:
    """The encoder of a config, fitted on the training pairs among `pairs`; a language model is
    probed.

    Raises:
        EndpointError: the language model does not answer.
    """
    if isinstance(config, LLMConfig):
        return LLMEncoder.fit(pairs, topics, space, config, ledger).probe()
    return RulesEncoder.fit(pairs, topics, space, config, progress=progress)


def load_encoder(
    text: str, config: RulesConfig | LLMConfig, ledger: Path, *, where: str = "encoder.json"
) -> RulesEncoder | LLMEncoder:
    """The encoder of a run from its state.

    Raises:
        DataError: the text is no state of this version and config.
    """
    if isinstance(config, LLMConfig):
        return LLMEncoder.from_state(text, config, ledger, where=where)
    return RulesEncoder.from_state(text, where=where)
