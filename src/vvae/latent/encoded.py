"""A corpus that an encoder has read: what training, benchmark and reports all look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from vvae.core.dialogue import Dialogue, Pair
from vvae.latent.persona import Persona
from vvae.latent.prior import Prior, count_by_speaker
from vvae.latent.profile import Profile
from vvae.latent.space import LatentSpace

__all__ = ["EncodedCorpus"]


@dataclass(frozen=True)
class EncodedCorpus:
    """A corpus with what was read in it: dialogues and their pairs, z of each reply, and the prior
    and profiles made of it.
    """

    dialogues: Mapping[str, Dialogue]
    """Dialogue id -> dialogue."""
    pairs: Sequence[Pair]
    """The pairs with a valid posterior, in dialogue order."""
    posteriors: Mapping[str, Persona]
    """Pair id -> z as the encoder read it in the reply, with nulls."""
    prior: Prior
    profiles: Mapping[str, Profile]
    """Speaker -> profile."""
    space: LatentSpace

    @cached_property
    def by_id(self) -> Mapping[str, Pair]:
        """Return the pairs by their ids."""
        return {pair.pair_id: pair for pair in self.pairs}

    @cached_property
    def speaker_priors(self) -> Mapping[str, Prior]:
        """Return by speaker the distribution of the values read in their training replies."""
        return count_by_speaker(self.pairs, self.posteriors, self.space, self.prior)
