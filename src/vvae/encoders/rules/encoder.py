"""The default encoder: deterministic labelling functions, English and Chinese, no language model.

It reads what can be read without one. What it learns from the training split (catchphrase lists,
the scale of the prototype scores) is its state, saved beside the encodings so that chat and audit
read with the same eyes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vvae.core.dialogue import BURST, Dialogue, Pair
from vvae.core.errors import DataError
from vvae.core.random import shuffled
from vvae.core.text import Span
from vvae.encoders.rules.catchphrase import Catchphrase, CatchphraseConfig, lists_from, mine
from vvae.encoders.rules.lexical import (
    read_catchphrase,
    read_cue,
    read_emoji,
    read_hobby,
    read_nickname,
)
from vvae.encoders.rules.prototypes import Embedder, PrototypeConfig, PrototypeReader, Standard
from vvae.latent.persona import Persona, Slot
from vvae.latent.space import LatentSpace
from vvae.latent.tables import Encoding

__all__ = ["RULES_VERSION", "RulesConfig", "RulesEncoder"]

RULES_VERSION = 2
"""Raised whenever the same reply would be read differently."""

Progress = Callable[[int, int], None]


class RulesConfig(BaseModel):
    """Thresholds of the labelling functions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["rules"] = "rules"
    catchphrase: CatchphraseConfig = Field(default_factory=CatchphraseConfig)
    prototypes: PrototypeConfig = Field(default_factory=PrototypeConfig)


class RulesEncoder:
    """q(z|x,c) as labelling functions: value, evidence span and confidence, or null, for each
    dimension.
    """

    def __init__(
        self,
        space: LatentSpace,
        config: RulesConfig,
        lists: Mapping[str, tuple[Catchphrase, ...]],
        standards: Mapping[str, Standard],
        embedder: Embedder | None = None,
    ) -> None:
        self.space, self.config, self.lists = space, config, lists
        self._embedder = embedder or Embedder()
        self._readers = {
            d.name: PrototypeReader(d, config.prototypes, self._embedder)
            for d in space.read_by("prototype")
        }
        for name, reader in self._readers.items():
            reader.standard = standards[name]
        self._phrases = {speaker: [c.phrase for c in phrases] for speaker, phrases in lists.items()}
        digest = blake2b(self.state().encode(), digest_size=6).hexdigest()
        self.nulled: Counter[str] = Counter()
        """Values that were not believed; labelling functions take none back."""
        self.id = f"rules-v{RULES_VERSION}-{digest}"

    @classmethod
    def fit(
        cls,
        pairs: Sequence[Pair],
        topics: Mapping[str, str],
        space: LatentSpace,
        config: RulesConfig,
        *,
        progress: Progress | None = None,
    ) -> RulesEncoder:
        """Mines catchphrases and standardises prototype scores, on the training pairs among `pairs`
        only.
        """
        train = [pair for pair in pairs if pair.split == "train"]
        lists = mine(train, topics, config.catchphrase) if space.read_by("catchphrase") else {}
        embedder = Embedder()
        names = [pair.pair_id for pair in train]
        sample = shuffled(train, "calibration", name=names)[: config.prototypes.calibration_replies]
        texts = [_flat(pair.response) for pair in sample]
        standards: dict[str, Standard] = {}
        dimensions = space.read_by("prototype")
        if dimensions:
            embedder.embed(texts, progress)
        for dimension in dimensions:
            standards[dimension.name] = PrototypeReader(dimension, config.prototypes, embedder).fit(
                texts
            )
        return cls(space, config, lists, standards, embedder)

    def encode(
        self,
        pairs: Sequence[Pair],
        dialogues: Mapping[str, Dialogue] | None = None,
        *,
        progress: Progress | None = None,
    ) -> Iterator[Encoding]:
        """z of each pair, in order. The context is not needed by any of these functions."""
        labels: dict[str, dict[str, tuple[str, float]]] = {}
        if self._readers:
            texts = sorted({_flat(pair.response) for pair in pairs})
            new = self._embedder.embed(texts, progress)
            for name, reader in self._readers.items():
                read = zip(texts, reader.read(texts), strict=True)
                labels[name] = {text: (label.value, label.score) for text, label in read if label}
            self._embedder.drop(new)
        return (Encoding(pair.pair_id, self.id, self._persona(pair, labels)) for pair in pairs)

    def _persona(
        self, pair: Pair, labels: Mapping[str, Mapping[str, tuple[str, float]]]
    ) -> Persona:
        slots: dict[str, Slot] = {}
        flat = _flat(pair.response)
        for dimension in self.space.dimensions:
            name = dimension.name
            if dimension.reader == "prototype":
                if cue := read_cue(pair.response, dimension):
                    slots[name] = Slot(cue.value, "observed", (cue.start, cue.end), 1.0)
                elif found := labels[name].get(flat):
                    slots[name] = Slot(
                        found[0], "observed", (0, len(pair.response)), _confidence(found[1])
                    )
            elif span := self._read(dimension.reader, pair):
                slots[name] = Slot(span.value, "observed", (span.start, span.end), 1.0)
        return Persona(slots)

    def _read(self, reader: str, pair: Pair) -> Span | None:
        match reader:
            case "catchphrase":
                return read_catchphrase(pair.response, self._phrases.get(pair.speaker, ()))
            case "emoji":
                return read_emoji(pair.response)
            case "nickname":
                return read_nickname(pair.response)
            case _:
                return read_hobby(pair.response)

    def accounts(self) -> dict[str, Any]:
        """Nothing is called."""
        return {}

    def state(self) -> str:
        """Everything needed to read again in the same way, as JSON."""
        body = {
            "rules": RULES_VERSION,
            "config": self.config.model_dump(mode="json"),
            "space": self.space.to_dict(),
            "catchphrases": {
                speaker: [list(c) for c in phrases]
                for speaker, phrases in sorted(self.lists.items())
            },
            "standards": {
                name: r.standard._asdict() for name, r in self._readers.items() if r.standard
            },
        }
        return json.dumps(body, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_state(cls, text: str, *, where: str = "encoder.json") -> RulesEncoder:
        """The inverse of `state`.

        Raises:
            DataError: the text is no state of this version.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            if data["rules"] != RULES_VERSION:
                raise ValueError(f"rules version {data['rules']}, this is {RULES_VERSION}")
            space = LatentSpace.from_dict(data["space"], where=where)
            standards = {
                n: Standard(tuple(s["mean"]), tuple(s["deviation"]))
                for n, s in data["standards"].items()
            }
            return cls(
                space,
                RulesConfig.model_validate(data["config"]),
                lists_from(data["catchphrases"]),
                standards,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"not an encoder state ({error})", where=where, fix="run 'vvae encode' again"
            ) from None


def _flat(reply: str) -> str:
    return reply.replace(BURST, " ")


def _confidence(score: float) -> float:
    """A standardised score as a number in (0, 1): monotone, not a calibrated probability."""
    return round(score / (score + 2.0), 4) if score > 0 else 0.0
