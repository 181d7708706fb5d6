"""The empirical prior p(z_k), and the draws that fill nulls.

p(z_k) is the distribution of the observed (non-null) values of dimension k over the training pairs:
60 "friend" and 40 "lover" give 0.6 and 0.4 (V-VAE, arXiv 2506.01524). Counts are integers, so
priors of shards add.

The *observation rate* r is the share of training replies in which the encoder observed the
dimension. When a null is filled with probability s and left out otherwise, a value in the prompt
belongs to the reply with probability

    P(x has v | z = v) = r / (r + (1 - r) s)

for every value v (this project's derivation), which predicts how often a trained decoder uses what
it is shown.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vvae.core.dialogue import Pair
from vvae.core.errors import DataError
from vvae.core.random import index_below, uniform
from vvae.latent.persona import Persona, Slot
from vvae.latent.space import LatentSpace

__all__ = [
    "DimensionPrior",
    "Prior",
    "SamplingConfig",
    "count",
    "fill",
    "predicted_rate",
    "scope_id",
]

DrawScope = Literal["pair", "dialogue", "speaker"]


class SamplingConfig(BaseModel):
    """How nulls are filled in training (the variants that sample)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: DrawScope = Field(
        "pair", description="what shares a draw: each pair, each dialogue or each speaker"
    )
    s: float | dict[str, float] = Field(
        1.0, description="probability that a null is filled, for all or per dimension"
    )

    def probability(self, dimension: str) -> float:
        """s of a dimension; 1 where only others are listed."""
        return self.s.get(dimension, 1.0) if isinstance(self.s, dict) else self.s

    def model_post_init(self, _: object) -> None:
        """Checks the range of the probabilities."""
        for value in self.s.values() if isinstance(self.s, dict) else [self.s]:
            if not 0 <= value <= 1:
                raise ValueError("a sampling probability lies between 0 and 1")


@dataclass(frozen=True)
class DimensionPrior:
    """Integer counts of the observed values of one dimension, and of nulls.

    Values are ordered by count, then by code points, so a draw does not depend on how they were
    counted.
    """

    counts: Mapping[str, int]
    nulls: int

    @property
    def observed(self) -> int:
        """Replies with a value."""
        return sum(self.counts.values())

    @property
    def total(self) -> int:
        """All replies."""
        return self.observed + self.nulls

    @property
    def rate(self) -> float:
        """The observation rate r; 0 when nothing was counted."""
        return self.observed / self.total if self.total else 0.0

    @cached_property
    def ordered(self) -> list[tuple[str, int]]:
        """(value, count), most frequent first."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))

    @cached_property
    def _cumulative(self) -> list[int]:
        return list(accumulate(n for _, n in self.ordered))

    def draw(self, *key: str | int) -> str | None:
        """The value a key draws, None when nothing was ever observed."""
        if not self._cumulative:
            return None
        return self.ordered[
            bisect_right(self._cumulative, index_below(self._cumulative[-1], *key))
        ][0]

    def __add__(self, other: DimensionPrior) -> DimensionPrior:
        return DimensionPrior(
            dict(Counter(self.counts) + Counter(other.counts)), self.nulls + other.nulls
        )


@dataclass(frozen=True)
class Prior:
    """The prior of every dimension, with what it was counted from."""

    dimensions: Mapping[str, DimensionPrior]
    encoder: str
    corpus: str

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
        """Readable JSON, equal for equal priors."""
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
        return json.dumps(head, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = "prior.json") -> Prior:
        """The inverse of `to_json`.

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
    """Counts the observed values of each dimension over the personas read from training replies."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in space.names}
    total = 0
    for persona in personas:
        total += 1
        for name, slot in persona:
            if slot.source == "observed" and name in counts:
                counts[name][slot.value] += 1
    dimensions = {name: DimensionPrior(dict(c), total - c.total()) for name, c in counts.items()}
    return Prior(dimensions, encoder, corpus)


def scope_id(pair: Pair, scope: DrawScope | Literal["listener", "turn"]) -> str:
    """The id whose draws are shared: of the pair (turn), the dialogue, the speaker, or speaker and
    listeners.
    """
    match scope:
        case "pair" | "turn":
            return pair.pair_id
        case "dialogue":
            return f"{pair.dialogue}\x1f{pair.speaker}"
        case "speaker":
            return pair.speaker
        case "listener":
            return "\x1f".join((pair.speaker, *sorted(pair.listeners)))


def fill(
    persona: Persona,
    values: DimensionPrior,
    name: str,
    scope: str,
    *,
    seed: int,
    s: float = 1.0,
    draw: int = 0,
) -> Persona:
    """The persona with a null of one dimension replaced, with probability s, by a draw from its
    prior.

    The draw is a pure function of (seed, dimension, scope id, draw number).
    """
    if persona[name] is not None or uniform("shown", seed, name, scope, draw) >= s:
        return persona
    value = values.draw("value", seed, name, scope, draw)
    return persona if value is None else persona.with_slots({name: Slot(value, "sampled")})


def predicted_rate(r: float, s: float = 1.0) -> float:
    """P(x has v | z = v) = r / (r + (1 - r) s): the rate a decoder trained to convergence shows a
    value at.

    >>> predicted_rate(0.1, 1.0), round(predicted_rate(0.1, 0.5), 4), predicted_rate(0.1, 0.0)
    (0.1, 0.1818, 1.0)
    """
    shown = r + (1 - r) * s
    return r / shown if shown else 0.0
