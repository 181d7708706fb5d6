"""What lies in a run folder, each file read once; docs/architecture.md lists the files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from vvae.core.dialogue import Dialogue, Pair
from vvae.core.files import digest
from vvae.corpus.tables import PAIRS, StoredDialogues
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.persona import Persona
from vvae.latent.prior import Prior
from vvae.latent.profile import Profile
from vvae.latent.space import LatentSpace
from vvae.latent.tables import read_encodings, read_profiles

__all__ = ["CORRECTED", "CORRECTIONS", "UNREVIEWED", "VERDICTS", "Artifacts"]

T = TypeVar("T")
VERDICTS = "review.json"
"""What people said of readings."""
UNREVIEWED = "encodings.unreviewed.parquet"
"""The encoder's own readings, where what people said of them was put into effect."""
CORRECTIONS = "corrections.json"
"""Digests of the encodings that were written so, and of the priors before."""
CORRECTED = ("encodings.parquet", "prior.json", "profiles.parquet")
"""What is made anew then."""


class Artifacts:
    """A run folder and what is read from it."""

    def __init__(self, folder: Path, space: LatentSpace) -> None:
        self.folder, self.space = folder, space
        self._read: dict[str, object] = {}

    def path(self, name: str) -> Path:
        """Return the path of a file of the run."""
        return self.folder / name

    def _once(self, name: str, load: Callable[[Path], T]) -> T:
        if name not in self._read:
            self._read[name] = load(self.path(name))
        value: T = self._read[name]  # type: ignore[assignment]
        return value

    def rewritten(self, names: Iterable[str]) -> None:
        """Drop what was read of files that a stage has written anew, and what was made of it."""
        for name in names:
            self._read.pop(name, None)
        for attribute in ("corpus", "valid_pairs"):
            self.__dict__.pop(attribute, None)

    @property
    def dialogues(self) -> Mapping[str, Dialogue]:
        """Return dialogue id -> dialogue."""
        return self._once("dialogues.parquet", StoredDialogues)

    @property
    def topics(self) -> dict[str, str]:
        """Return dialogue id -> what it was about, where the source says so."""
        return {d.id: topic for d in self.dialogues.values() if (topic := d.get("prompt"))}

    @property
    def pairs(self) -> list[Pair]:
        """Return all pairs, in dialogue order."""
        return self._once("pairs.parquet", PAIRS.read)

    @property
    def posteriors(self) -> Mapping[str, Persona]:
        """Return pair id -> z as the encoder read it in the reply, with nulls."""
        return self._once(
            "encodings.parquet",
            lambda p: {e.pair_id: e.persona for e in read_encodings(p) if e.status == "ok"},
        )

    @property
    def corrected(self) -> Mapping[str, list[str]]:
        """Return the digests of the encodings into which corrections were put, and of the priors
        before; empty where the encodings are as the encoder read them.
        """
        path = self.path(CORRECTIONS)
        if not path.is_file() or not self.path(UNREVIEWED).is_file():
            return {}
        known: dict[str, list[str]] = json.loads(path.read_text("utf-8"))
        return known if digest(self.path("encodings.parquet")) in known["encodings"] else {}

    @property
    def readings(self) -> Mapping[str, Persona]:
        """Return pair id -> z as the encoder read it, before any correction."""
        if not self.corrected:
            return self.posteriors
        encodings = read_encodings(self.path(UNREVIEWED))
        return {e.pair_id: e.persona for e in encodings if e.status == "ok"}

    @cached_property
    def valid_pairs(self) -> list[Pair]:
        """Return the pairs with a valid posterior.

        Pairs that the encoder failed on are excluded: a failure is not the same as a persona of
        nulls, and taking it for one would lower r.
        """
        return [pair for pair in self.pairs if pair.pair_id in self.posteriors]

    @property
    def prior(self) -> Prior:
        """Return the prior."""
        return self._once(
            "prior.json", lambda p: Prior.from_json(p.read_text("utf-8"), where=str(p))
        )

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """Return speaker -> profile."""
        return self._once("profiles.parquet", read_profiles)

    @cached_property
    def corpus(self) -> EncodedCorpus:
        """Return dialogues, pairs, posteriors, prior and profiles together."""
        return EncodedCorpus(
            self.dialogues,
            self.valid_pairs,
            self.posteriors,
            self.prior,
            self.profiles,
            self.space,
        )

    def marker(self, stage: str) -> Path:
        """Return where a stage says that it is done."""
        return self.path(f".stages/{stage.replace(' ', '-')}.json")

    @property
    def timings(self) -> dict[str, float]:
        """Return the seconds that each finished stage took, over all its starts, in the order they
        ended.
        """
        markers = sorted(
            self.path(".stages").glob("*.json"), key=lambda path: path.stat().st_mtime_ns
        )
        states = [(path.stem, json.loads(path.read_text("utf-8"))) for path in markers]
        return {name: float(state["seconds"]) for name, state in states if state["done"]}
