"""The values taken in the latent space.

A `Persona` holds a `Slot` or null for each dimension; null means "the text gives no evidence",
which is a value of its own and distinct from the empty string.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

__all__ = ["Persona", "Slot", "Source"]

Source = Literal["observed", "sampled", "given"]
"""Where a value comes from: read in text, drawn from the prior, or set by the user."""


class Slot(NamedTuple):
    """A value of z with its origin.

    `evidence` is a [start, end) span in the reply's characters; `confidence` lies in (0, 1) and is
    monotone, not calibrated.

    Example:
        >>> Slot("oh no", "observed", evidence=(0, 5)).value
        'oh no'
    """

    value: str
    source: Source
    evidence: tuple[int, int] | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Persona:
    """A point of the latent space: a slot or null for each dimension. Nulls are not stored."""

    slots: Mapping[str, Slot] = field(default_factory=dict)

    def __getitem__(self, dimension: str) -> Slot | None:
        return self.slots.get(dimension)

    def __iter__(self) -> Iterator[tuple[str, Slot]]:
        return iter(self.slots.items())

    def __len__(self) -> int:
        return len(self.slots)

    def __str__(self) -> str:
        """Return the values in one line: ``tone=playful  topic~films``, ~ where one was drawn.

        >>> print(Persona({"tone": Slot("tender", "observed"), "hobby": Slot("chess", "sampled")}))
        tone=tender  hobby~chess
        """
        mark = {"observed": "=", "given": "=", "sampled": "~"}
        return "  ".join(f"{name}{mark[slot.source]}{slot.value}" for name, slot in self)

    def value(self, dimension: str) -> str | None:
        """Return the value of a dimension, or None for null."""
        slot = self.slots.get(dimension)
        return None if slot is None else slot.value

    def with_slots(self, slots: Mapping[str, Slot]) -> Persona:
        """Return this persona with some slots replaced or added."""
        return Persona({**self.slots, **slots})

    def within(self, names: Collection[str]) -> Persona:
        """Return the slots of some dimensions."""
        return Persona({name: slot for name, slot in self.slots.items() if name in names})

    def without(self, name: str) -> Persona:
        """Return this persona with a dimension left out."""
        return Persona({other: slot for other, slot in self.slots.items() if other != name})

    def only(self, *sources: Source) -> Persona:
        """Return the slots that come from the given sources."""
        return Persona({name: slot for name, slot in self.slots.items() if slot.source in sources})
