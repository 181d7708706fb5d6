"""The empirical prior p(z_k).

p(z_k) is the distribution of the observed (non-null) values of dimension k over the training pairs:
60 "friend" and 40 "lover" give 0.6 and 0.4 (V-VAE, arXiv 2506.01524). Counts are integers, so
priors of shards add. The *observation rate* r is the share of training replies in which the encoder
observed the dimension. How nulls are filled from a prior is `vvae.latent.sampling`'s.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from vvae.core.dialogue import Pair
from vvae.core.errors import DataError
from vvae.core.files import to_json
from vvae.core.random import index_below
from vvae.latent.persona import Persona
from vvae.latent.space import LatentSpace
from vvae.latent.tables import Encoding

__all__ = ["HELD", "DimensionPrior", "Prior", "count", "count_by_speaker"]

HELD = 5
"""Observations that a prior counts for where a speaker's own are held towards it."""


@dataclass(frozen=True)
class DimensionPrior:
    """A distribution of one dimension: integer counts of its observed values, and of nulls.

    Values are ordered by count, then by code points, so a draw does not depend on how they were
    counted.
    """

    counts: Mapping[str, int]
    nulls: int

    @property
    def observed(self) -> int:
        """Return the number of replies with a value."""
        return sum(self.counts.values())

    @property
    def total(self) -> int:
        """Return the number of all replies."""
        return self.observed + self.nulls

    @property
    def rate(self) -> float:
        """Return the observation rate r; 0 when nothing was counted."""
        return self.observed / self.total if self.total else 0.0

    def share(self, value: str) -> float:
        """Return the probability of a value; 0 when nothing was counted."""
        return self.counts.get(value, 0) / self.observed if self.observed else 0.0

    @cached_property
    def ordered(self) -> list[tuple[str, int]]:
        """Return (value, count) pairs, most frequent first."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))

    @cached_property
    def _cumulative(self) -> list[int]:
        return list(accumulate(n for _, n in self.ordered))

    def draw(self, *key: str | int) -> str | None:
        """Return the value a key draws, or None when nothing was ever observed."""
        if not self._cumulative:
            return None
        return self.ordered[
            bisect_right(self._cumulative, index_below(self._cumulative[-1], *key))
        ][0]

    def shrunk(self, own: DimensionPrior, weight: int = HELD) -> DimensionPrior:
        """Return p(v|s), a speaker's own counts held towards this prior, which counts for so many
        observations (the mean of a Dirichlet posterior)::

            p(v|s) = (n_s(v) + k p(v)) / (n_s + k)

        >>> prior = DimensionPrior({"friend": 3, "lover": 1}, nulls=0)
        >>> prior.shrunk(DimensionPrior({"lover": 5}, nulls=0)).share("lover")
        0.625
        """
        if not self.observed:
            return own
        values = {**self.counts, **own.counts}
        counts = {
            v: own.counts.get(v, 0) * self.observed + weight * self.counts.get(v, 0) for v in values
        }
        return DimensionPrior({v: n for v, n in counts.items() if n}, own.nulls)

    def __add__(self, other: DimensionPrior) -> DimensionPrior:
        return DimensionPrior(
            dict(Counter(self.counts) + Counter(other.counts)), self.nulls + other.nulls
        )


@dataclass(frozen=True)
class Prior:
    """A prior of every dimension, with what it was counted from."""

    dimensions: Mapping[str, DimensionPrior]
    encoder: str
    corpus: str

    @classmethod
    def count(
        cls, encodings: Iterable[Encoding], space: LatentSpace | None = None, *, corpus: str = ""
    ) -> Prior:
        """Return the prior of what an encoder read; failed encodings are left out.

        Args:
            encodings: of training replies.
            space: the dimensions counted; the ones of the package by default.
            corpus: names what was counted.

        Example:
            >>> from vvae.latent.tables import Encoding
            >>> from vvae.latent.persona import Persona, Slot
            >>> friend = Persona({"relationship": Slot("friend", "observed")})
            >>> prior = Prior.count([Encoding("d#1", "e", friend), Encoding("d#3", "e", Persona())])
            >>> prior["relationship"].rate, prior["relationship"].counts
            (0.5, {'friend': 1})
        """
        valid = [encoding for encoding in encodings if encoding.status == "ok"]
        encoder = valid[0].encoder if valid else ""
        personas = (encoding.persona for encoding in valid)
        return count(personas, space or LatentSpace.load(), encoder=encoder, corpus=corpus)

    def __getitem__(self, dimension: str) -> DimensionPrior:
        return self.dimensions[dimension]

    def __add__(self, other: Prior) -> Prior:
        if self.encoder != other.encoder or set(self.dimensions) != set(other.dimensions):
            raise DataError(
                "priors of different encoders or spaces do not add", fix="encode all shards alike"
            )
        merged = {name: self[name] + other[name] for name in self.dimensions}
        return Prior(merged, self.encoder, self.corpus if self.corpus == other.corpus else "merged")

    def to_json(self) -> str:
        """Return readable JSON, equal for equal priors."""
        body = {
            name: {
                "observation_rate": round(p.rate, 6),
                "total": p.total,
                "nulls": p.nulls,
                "counts": dict(p.ordered),
            }
            for name, p in self.dimensions.items()
        }
        head = {"encoder": self.encoder, "corpus": self.corpus, "dimensions": body}
        return to_json(head)

    @classmethod
    def from_json(cls, text: str, *, where: str = "prior.json") -> Prior:
        """Return the prior that `to_json` wrote.

        Raises:
            DataError: the text is no prior.
        """
        try:
            data = json.loads(text)
            dimensions = {
                name: DimensionPrior(
                    {str(v): int(n) for v, n in d["counts"].items()}, int(d["nulls"])
                )
                for name, d in data["dimensions"].items()
            }
            return cls(dimensions, str(data["encoder"]), str(data["corpus"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"not a prior ({error})", where=where, fix="make it again with 'vvae prior'"
            ) from None


def count(personas: Iterable[Persona], space: LatentSpace, *, encoder: str, corpus: str) -> Prior:
    """Return the counts of each dimension's values over the personas read from training replies."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in space.names}
    total = 0
    for persona in personas:
        total += 1
        for name, slot in persona:
            if slot.source == "observed" and name in counts:
                counts[name][slot.value] += 1
    dimensions = {name: DimensionPrior(dict(c), total - c.total()) for name, c in counts.items()}
    return Prior(dimensions, encoder, corpus)


def count_by_speaker(
    pairs: Iterable[Pair], posteriors: Mapping[str, Persona], space: LatentSpace, like: Prior
) -> dict[str, Prior]:
    """Return for each speaker the distribution of the values read in their training replies.

    Args:
        pairs: those without a posterior, and held-out ones, are left out.
        posteriors: pair id -> z read from the reply.
        like: the corpus's prior, whose encoder and corpus are noted in each of them.
    """
    by_speaker: dict[str, list[Persona]] = defaultdict(list)
    for pair in pairs:
        if pair.split == "train" and pair.pair_id in posteriors:
            by_speaker[pair.speaker].append(posteriors[pair.pair_id])
    return {
        speaker: count(personas, space, encoder=like.encoder, corpus=like.corpus)
        for speaker, personas in by_speaker.items()
    }
