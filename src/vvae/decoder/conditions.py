"""What a variant is shown beside a context: in training, and at test time.

In training a persona variant is shown z as read in the very reply that it learns (the posterior),
with nulls left out or filled (`vvae.latent.sampling`). At test time it is shown the speaker's
profile, whose nulls are filled in one of four ways (`TestZ`); one that is prompted is never told
what was drawn from the prior, as nobody would tell a model that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Literal, get_args

from vvae.core.dialogue import Pair
from vvae.core.random import shuffled
from vvae.decoder.model import Branch, Decoder
from vvae.decoder.retrieval import Nearest
from vvae.decoder.trees import Tree
from vvae.decoder.variants import Variant
from vvae.encoders.embedder import Embedder
from vvae.encoders.rules.prototypes import nearest_labels
from vvae.inference.prompts import (
    PersonaLine,
    SpeakerVector,
    description_line,
    few_shot_lines,
    persona_line,
    prompted_line,
)
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import DimensionPrior
from vvae.latent.readers import reader
from vvae.latent.sampling import (
    SamplingConfig,
    complete,
    dropped,
    fill,
    fill_all,
    fill_by_scope,
    fill_values,
    misread,
    pair_keys,
)

__all__ = ["Conditions", "TestZ", "told_at_test", "training_examples"]

TestZ = Literal["profile", "known", "own", "context"]
"""What a profile's nulls are filled with at test time:

    profile  draws from the prior, as training with s = 1 fills them
    known    nothing: nulls are left out
    own      draws from the speaker's own values, p(z|s)
    context  of turn scope what was last read before in the conversation, p(z|c); the other nulls
             are left out
"""
TEST_Z: tuple[TestZ, ...] = get_args(TestZ)

FEW_SHOT_EXAMPLES = 4


def told_at_test(variant: Variant, z: TestZ) -> TestZ:
    """Return how the nulls of a profile are filled for a variant at test time: what was drawn from
    the prior is left out of a prompt.
    """
    return "known" if z == "profile" and not variant.trained else z


def training_examples(
    pairs: Sequence[Pair], speaker: str, *, seed: int, number: int = FEW_SHOT_EXAMPLES
) -> list[str]:
    """Return training replies of a speaker, a deterministic random subset.

    A smaller number of them is a part of a larger one.
    """
    own = [pair for pair in pairs if pair.speaker == speaker and pair.split == "train"]
    ids = [pair.pair_id for pair in own]
    return [pair.response for pair in shuffled(own, "few-shot", seed, name=ids)[:number]]


class Conditions:
    """A source of what one variant is shown, for any pair of an encoded corpus.

    Args:
        corpus: called when the corpus is first needed.
        sampling: the config's; the variant's own settings come first.
        seed: of the run; the variant's own is added in training.
        draws_per_pair: branches of a training tree for each reply, each with a draw of its own.
        descriptions: speaker -> description; called where the variant is shown one.
        z: which one the variant is shown at test time (`told_at_test`).
    """

    def __init__(
        self,
        variant: Variant,
        corpus: Callable[[], EncodedCorpus],
        sampling: SamplingConfig,
        *,
        seed: int,
        draws_per_pair: int = 1,
        descriptions: Callable[[], Mapping[str, str]] = dict,
        z: TestZ = "profile",
    ) -> None:
        self.variant, self.sampling = variant, variant.sampling(sampling)
        self.z = told_at_test(variant, z)
        self._corpus, self._seed, self._draws = corpus, seed, draws_per_pair
        self._descriptions = descriptions
        self._examples = lru_cache(None)(self._training_examples)
        self._values = lru_cache(None)(self._fill_values)

    @cached_property
    def corpus(self) -> EncodedCorpus:
        """Return the corpus that the pairs are of."""
        return self._corpus()

    # --- at test time ---

    def test_persona(self, pair: Pair, speaker: str, z: TestZ | None = None) -> Persona:
        """Return the persona of a speaker's profile for a pair.

        Args:
            z: how its nulls are filled; as the variant is shown it where None.
        """
        corpus = self.corpus
        profile = corpus.profiles[speaker]
        known = profile.persona(pair.listener)
        match z or self.z:
            case "profile":
                return complete(profile, pair, corpus.prior, corpus.space, seed=self._seed)
            case "known":
                return known
            case "own":
                own = corpus.speaker_priors.get(speaker)
                values = own.dimensions if own else {}
                return fill_by_scope(known, pair, values, corpus.space, seed=self._seed)
            case "context":
                return known.with_slots(self._last_read(pair))

    def test_line(self, pair: Pair, speaker: str, z: TestZ | None = None) -> PersonaLine:
        """Return what the variant is shown for a pair under a speaker's profile."""
        return self.line(pair, speaker, self.test_persona(pair, speaker, z))

    def test_lines(self, pair: Pair) -> dict[TestZ, PersonaLine]:
        """Return what the variant is shown for a pair under each z of the speaker that a chat could
        have; only `profile` where it is shown no z.
        """
        shown: tuple[TestZ, ...] = TEST_Z if self.variant.shows_slots else TEST_Z[:1]
        return {z: self.test_line(pair, pair.speaker, z) for z in shown}

    def line(self, pair: Pair, speaker: str, persona: Persona | None) -> PersonaLine:
        """Return what the variant is shown of a persona; None where it is shown nothing.

        Args:
            speaker: whose persona it is; examples and descriptions are of them.
        """
        if persona is None or not self.variant.shows_persona:
            return None
        if self.variant.dimensions is not None:
            persona = persona.within(self.variant.dimensions)
        space = self.corpus.space
        match self.variant.prompt:
            case "persona":
                return persona_line(persona, space)
            case "plain" | "rarely":
                return prompted_line(persona, space, rarely=self.variant.prompt == "rarely")
            case "few-shot":
                return few_shot_lines(persona, space, self._examples(speaker))
            case "retrieval":
                nearest = self._nearest.replies(pair, speaker, FEW_SHOT_EXAMPLES)
                return few_shot_lines(persona, space, nearest)
            case "description":
                text = self._described.get(speaker)
                return description_line(text) if text else None
            case "voice":
                return SpeakerVector(speaker)

    # --- in training ---

    def fill_values(self, speaker: str) -> Mapping[str, DimensionPrior]:
        """Return what the nulls of a speaker's replies are filled from."""
        return self._values(speaker if self.variant.fill in ("speaker", "shrunk") else None)

    def training_persona(
        self, pair: Pair, draw: int, *, only: Collection[str] | None = None
    ) -> Persona | None:
        """Return z as it stands beside the pair's reply; each draw fills the nulls anew.

        Args:
            only: fill the nulls of these dimensions alone, where the others are not looked at.
        """
        posterior = self.corpus.posteriors[pair.pair_id]
        seed = self._seed + self.variant.seed
        if error := self.variant.error:
            near = self._near if error.kind == "near" else {}
            posterior = misread(
                posterior, error, self.corpus.prior, near, pair=pair.pair_id, seed=seed
            )
        match self.variant.z:
            case "none":
                return None
            case "observed":
                key, rate = pair_keys(pair)["turn"], self.sampling.drop
                return dropped(posterior, rate, key, seed=seed, draw=draw)
            case "sampled":
                values = self.fill_values(pair.speaker)
                if only is not None:
                    values = {name: values[name] for name in only}
                if self.variant.fill == "context":
                    posterior = self._filled_from_context(pair, posterior, values, draw)
                return fill_all(
                    posterior, values, pair_keys(pair), self.sampling, seed=seed, draw=draw
                )

    def training_line(self, pair: Pair, draw: int) -> PersonaLine:
        """Return what the variant is shown in training; at test time this is its posterior z."""
        return self.line(pair, pair.speaker, self.training_persona(pair, draw))

    def training_tree(self, decoder: Decoder, window: Sequence[Pair], draw: int) -> Tree:
        """Return the tree of one speaker's pairs in a window; each draw of z is a branch.

        Args:
            draw: the pass over the data.
        """
        draws = self._draws if self.variant.samples else 1
        branches = {
            pair.pair_id: [
                Branch(str(k), self.training_line(pair, draw * draws + k)) for k in range(draws)
            ]
            for pair in window
        }
        return decoder.tree(self.corpus.dialogues[window[0].dialogue], window, branches)

    # --- made once ---

    def _filled_from_context(
        self, pair: Pair, posterior: Persona, names: Collection[str], draw: int
    ) -> Persona:
        """A posterior whose nulls of turn scope are, with the sampling probability, what was last
        read before the pair.
        """
        for name, slot in self._last_read(pair).items():
            if name in names:
                posterior = fill(
                    posterior,
                    DimensionPrior({slot.value: 1}, nulls=0),
                    name,
                    pair_keys(pair)[self.sampling.draw_per],
                    seed=self._seed + self.variant.seed,
                    s=self.sampling.probability(name),
                    draw=draw,
                )
        return posterior

    def _last_read(self, pair: Pair) -> dict[str, Slot]:
        """Of each dimension of turn scope what was last read before a pair in its window; what only
        a person's own turns tell is theirs.
        """
        before = [
            earlier
            for earlier in self._of_dialogue[pair.dialogue]
            if pair.window <= earlier.turn < pair.turn
        ]
        heard: dict[str, Slot] = {}
        for dimension in self.corpus.space.dimensions:
            if dimension.scope != "turn":
                continue
            own = reader(dimension.reader).owner == "writer"
            for earlier in reversed(before):
                slot = self.corpus.posteriors[earlier.pair_id][dimension.name]
                if slot and (earlier.speaker == pair.speaker or not own):
                    heard[dimension.name] = slot
                    break
        return heard

    @cached_property
    def _of_dialogue(self) -> Mapping[str, Sequence[Pair]]:
        pairs: dict[str, list[Pair]] = defaultdict(list)
        for pair in self.corpus.pairs:
            pairs[pair.dialogue].append(pair)
        return pairs

    def _training_examples(self, speaker: str) -> list[str]:
        return training_examples(self.corpus.pairs, speaker, seed=self._seed)

    def _fill_values(self, speaker: str | None) -> Mapping[str, DimensionPrior]:
        own = self.corpus.speaker_priors.get(speaker) if speaker else None
        return fill_values(self.variant.fill, self.corpus.prior, own)

    @cached_property
    def _described(self) -> Mapping[str, str]:
        return self._descriptions()

    @cached_property
    def _nearest(self) -> Nearest:
        return Nearest(self.corpus.pairs, self.corpus.dialogues)

    @cached_property
    def _near(self) -> dict[str, dict[str, str]]:
        embedder = Embedder()
        return {d.name: nearest_labels(d, embedder) for d in self.corpus.space.dimensions}
