"""A speaker's profile: the values read most often in that speaker's training messages, with their
support.

Up to three ranked values per dimension; nulls stay null on disk. Speaker-scope values belong to the
speaker, pair-scope values to (speaker, listener). Turn-scope values have no profile: they are drawn
or inferred when used, from the speaker's own habits where the space says so (`Dimension.draws`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from vvae.core.dialogue import Pair
from vvae.latent.persona import Persona, Slot
from vvae.latent.space import LatentSpace

__all__ = ["RANKS", "Profile", "Ranked", "build_profiles", "ranked"]

RANKS = 3


class Ranked(NamedTuple):
    """A value and the number of training replies in which it was observed."""

    value: str
    support: int


@dataclass(frozen=True)
class Profile:
    """A profile of one speaker: what is known of them from the training split.

    Example:
        >>> ana = Profile("ana", 40, {"hobby": (Ranked("chess", 3), Ranked("hiking", 1))})
        >>> print(ana.persona())
        hobby=chess
    """

    speaker: str
    replies: int
    """Training replies it was built from."""
    values: Mapping[str, tuple[Ranked, ...]] = field(default_factory=dict)
    """Speaker-scope dimension -> ranked values; absent for null."""
    by_listener: Mapping[str, Mapping[str, tuple[Ranked, ...]]] = field(default_factory=dict)
    """Listener -> pair-scope dimension -> ranked values."""
    habits: Mapping[str, tuple[Ranked, ...]] = field(default_factory=dict)
    """Dimension whose unset values are drawn from the speaker's own -> all values, most frequent
    first."""

    def persona(self, listener: str | None = None) -> Persona:
        """Return the first-ranked values, towards a listener if one is known; nulls stay null."""
        ranked = {**self.values, **self.by_listener.get(listener or "", {})}
        return Persona(
            {name: Slot(values[0].value, "observed") for name, values in ranked.items() if values}
        )


def ranked(counts: Mapping[str, int], most: int | None = RANKS) -> tuple[Ranked, ...]:
    """Return the values counted most often, up to `most`; all of them where it is None."""
    return tuple(
        Ranked(*item) for item in sorted(counts.items(), key=lambda vn: (-vn[1], vn[0]))[:most]
    )


def build_profiles(
    pairs: Iterable[Pair], personas: Mapping[str, Persona], space: LatentSpace
) -> dict[str, Profile]:
    """Return the profiles of all speakers from their training-side pairs; held-out pairs are not
    looked at.

    Args:
        personas: pair id -> z read from the reply.
    """
    replies: Counter[str] = Counter()
    counts: dict[tuple[str, str | None, str], Counter[str]] = defaultdict(Counter)
    habits: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for pair in pairs:
        if pair.split != "train":
            continue
        replies[pair.speaker] += 1
        for name, slot in personas.get(pair.pair_id, Persona()):
            scope = space.by_name[name].scope
            if space.by_name[name].draws == "speaker":
                habits[pair.speaker][name][slot.value] += 1
            elif scope == "speaker":
                counts[pair.speaker, None, name][slot.value] += 1
            elif (
                scope == "pair" and pair.listener is not None
            ):  # in a group it is unknown who was meant
                counts[pair.speaker, pair.listener, name][slot.value] += 1
    values: dict[str, dict[str, tuple[Ranked, ...]]] = defaultdict(dict)
    by_listener: dict[str, dict[str, dict[str, tuple[Ranked, ...]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for (owner, listener, name), counter in sorted(
        counts.items(), key=lambda item: tuple(map(str, item[0]))
    ):
        (values[owner] if listener is None else by_listener[owner][listener])[name] = ranked(
            counter
        )
    return {
        s: Profile(
            s,
            n,
            values.get(s, {}),
            dict(by_listener.get(s, {})),
            {name: ranked(counter, None) for name, counter in sorted(habits[s].items())},
        )
        for s, n in sorted(replies.items())
    }
