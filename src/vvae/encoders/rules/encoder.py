"""The default encoder: deterministic labelling functions, English and Chinese, no language model.

It reads what can be read without one. What it learns from the training split (catchphrase lists,
the scale of the prototype scores) is its state, saved beside the encodings so that chat and audit
read with the same eyes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from vvae.core.dialogue import BURST, Dialogue, Pair, Turn
from vvae.core.errors import DataError
from vvae.core.files import to_json
from vvae.core.random import shuffled
from vvae.core.reporting import Progress
from vvae.encoders.base import LONGEST_READ, EncoderSettings, readable
from vvae.encoders.embedder import Embedder
from vvae.encoders.rules.catchphrase import Catchphrase, CatchphraseConfig, lists_from, mine
from vvae.encoders.rules.prototypes import (
    Label,
    PrototypeConfig,
    PrototypeReader,
    Standard,
    Window,
)
from vvae.latent.persona import Persona, Slot
from vvae.latent.readers import reader
from vvae.latent.readers.lexical import read_cue
from vvae.latent.space import Dimension, LatentSpace
from vvae.latent.tables import Encoding

__all__ = ["RulesConfig", "RulesEncoder"]

TICK = 256
"""Replies between two words on how far it is."""
RULES_VERSION = 4
"""Raised whenever the same reply would be read differently."""


class RulesConfig(EncoderSettings):
    """A set of thresholds of the labelling functions."""

    kind: Literal["rules"] = "rules"
    catchphrase: CatchphraseConfig = Field(default_factory=CatchphraseConfig)
    prototypes: PrototypeConfig = Field(default_factory=PrototypeConfig)

    def key(self, space: LatentSpace) -> list[Any]:
        """Return settings, space and version."""
        # The last number was the other encoder's version, when both stood in every key; it stays,
        # so that what was read then need not be read again.
        return [self, space.to_dict(), RULES_VERSION, 1]

    def fit(
        self,
        pairs: Sequence[Pair],
        space: LatentSpace,
        *,
        topics: Mapping[str, str],
        ledger: Path,
        progress: Progress | None = None,
    ) -> RulesEncoder:
        """Return the encoder fitted on the training pairs among `pairs`."""
        return RulesEncoder.fit(pairs, space, self, topics=topics, progress=progress)

    def load(self, state: str, *, ledger: Path, where: str = "encoder.json") -> RulesEncoder:
        """Return the encoder of a state; its settings are the state's."""
        return RulesEncoder.from_state(state, where=where)


class RulesEncoder:
    """A distribution q(z|x,c) by labelling functions: value, evidence span and confidence, or null.

    Example:
        >>> from vvae.core.dialogue import Dialogue, Message, Turn
        >>> from vvae.corpus.pairs import make_pairs
        >>> said = (("ana", "hey you"), ("ben", "i love chess"))
        >>> turns = tuple(Turn(i, who, (Message(text),)) for i, (who, text) in enumerate(said))
        >>> pairs = make_pairs([Dialogue("d", turns)])
        >>> hobby = {"scope": "speaker", "reader": "hobby", "description": "a hobby"}
        >>> space = LatentSpace.from_dict({"axes": {"attributes": {"hobby": hobby}}})
        >>> encoder = RulesEncoder.fit(pairs, space)
        >>> [str(encoding.persona) for encoding in encoder.encode(pairs)]
        ['hobby=chess']
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
            for d in _by_meaning(space)
        }
        for name, prototypes in self._readers.items():
            prototypes.standard = standards[name]
        self._phrases = {speaker: [c.phrase for c in phrases] for speaker, phrases in lists.items()}
        digest = blake2b(self.state().encode(), digest_size=6).hexdigest()
        self.rejected: Counter[str] = Counter()
        """Stays empty: labelling functions take nothing back."""
        self.id = f"rules-v{RULES_VERSION}-{digest}"

    @classmethod
    def fit(
        cls,
        pairs: Sequence[Pair],
        space: LatentSpace,
        config: RulesConfig | None = None,
        *,
        topics: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> RulesEncoder:
        """Return an encoder that has mined catchphrases and standardised prototype scores.

        Args:
            pairs: only those of the training split are looked at.
            space: the dimensions it reads.
            config: its thresholds; the defaults where there is none.
            topics: dialogue id -> what it was about: a habit must not be the echo of one topic.
        """
        config, topics = config or RulesConfig(), topics or {}
        train = [readable(pair) for pair in pairs if pair.split == "train"]
        lists = mine(train, topics, config.catchphrase) if space.read_by("catchphrase") else {}
        embedder = Embedder()
        names = [pair.pair_id for pair in train]
        sample = shuffled(train, "calibration", name=names)[: config.prototypes.calibration_replies]
        texts = [_flat(pair.response) for pair in sample]
        standards: dict[str, Standard] = {}
        dimensions = _by_meaning(space)
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
        """Return an iterator over z of each pair, in order. Context is needed by the dimensions
        that are read over several turns; without dialogues they are read in the reply alone.
        """
        labels: dict[str, dict[Window, Label]] = {}
        pairs = [readable(pair) for pair in pairs]
        most = max((r.dimension.turns for r in self._readers.values()), default=1)
        windows = list(_windows(pairs, dialogues or {}, most))
        texts = {turn for window in windows for turn in window} if self._readers else set[str]()

        def tick(done: int, _: int) -> None:
            """What is embedded, then what is read: each takes about as long."""
            if progress:
                progress(done, len(texts) + len(pairs))

        if self._readers:
            new = self._embedder.embed(texts, tick)
            for name, prototypes in self._readers.items():
                turns = prototypes.dimension.turns
                asked = sorted({window[-turns:] for window in windows})
                readings = zip(asked, prototypes.read(asked), strict=True)
                labels[name] = {window: label for window, label in readings if label}
            self._embedder.drop(new)

        def read() -> Iterator[Encoding]:
            for done, (pair, window) in enumerate(zip(pairs, windows, strict=True), start=1):
                yield Encoding(pair.pair_id, self.id, self._persona(pair, window, labels))
                if done % TICK == 0 or done == len(pairs):
                    tick(len(texts) + done, len(pairs))

        return read()

    def scores(self, name: str, replies: Sequence[str]) -> npt.NDArray[np.float64] | None:
        """Return how much of each label of a dimension is in each reply, shape (replies, labels);
        None of one that is not read by meaning.
        """
        if (prototypes := self._readers.get(name)) is None:
            return None
        windows = [(_flat(reply),) for reply in replies]
        new = self._embedder.embed({window[0] for window in windows})
        found = prototypes.scores(windows)
        self._embedder.drop(new)
        return found

    def _persona(
        self, pair: Pair, window: Window, labels: Mapping[str, Mapping[Window, Label]]
    ) -> Persona:
        slots: dict[str, Slot] = {}
        for dimension in self.space.dimensions:
            name = dimension.name
            read = reader(dimension.reader).read
            if read is None:
                if cue := read_cue(pair.response, dimension):
                    slots[name] = Slot(cue.value, "observed", (cue.start, cue.end), 1.0)
                elif label := labels.get(name, {}).get(window[-dimension.turns :]):
                    whole = (0, len(pair.response))
                    slots[name] = Slot(label.value, "observed", whole, label.confidence)
            elif span := read(pair.response, self._phrases.get(pair.speaker, ())):
                slots[name] = Slot(span.value, "observed", (span.start, span.end), 1.0)
        return Persona(slots)

    def accounts(self) -> dict[str, Any]:
        """Return nothing: nothing is called."""
        return {}

    def about(self) -> str | None:
        """Return nothing that a person must know before."""
        return None

    def check_errors(self, missing: int, total: int, outcomes: Mapping[str, int]) -> None:
        """Raise nothing: no reading is ever missing."""

    def state(self) -> str:
        """Return everything needed to read again in the same way, as JSON."""
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
        return to_json(body)

    @classmethod
    def from_state(cls, text: str, *, where: str = "encoder.json") -> RulesEncoder:
        """Return the encoder whose `state` a text is.

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


def _by_meaning(space: LatentSpace) -> list[Dimension]:
    """Return the dimensions that are read by meaning and not by words."""
    return [d for d in space.dimensions if d.reader == "prototype"]


def _windows(
    pairs: Iterable[Pair], dialogues: Mapping[str, Dialogue], turns: int
) -> Iterator[Window]:
    """Yield the last turns of each pair's context and its reply, each as one line."""
    places: dict[str, dict[int, int]] = {}
    for pair in pairs:
        before: Sequence[Turn] = ()
        dialogue = dialogues.get(pair.dialogue)
        if turns > 1 and dialogue is not None:
            if pair.dialogue not in places:
                places[pair.dialogue] = {turn.id: at for at, turn in enumerate(dialogue.turns)}
            place = places[pair.dialogue]
            end = place[pair.turn]
            before = dialogue.turns[max(place[pair.window], end - turns + 1) : end]
        yield (*(_flat(turn.text[:LONGEST_READ]) for turn in before), _flat(pair.response))


def _flat(reply: str) -> str:
    return reply.replace(BURST, " ")
