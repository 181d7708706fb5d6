"""A run folder: what is in it, read once, and the z its variants are shown."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from vvae.config import RunConfig
from vvae.core.dialogue import Dialogue, Pair
from vvae.core.errors import ConfigError, DataError
from vvae.core.reporting import Reporter, Silent
from vvae.corpus.pairs import benchmark_pairs, eligible_speakers
from vvae.corpus.tables import read_dialogues, read_pairs
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Alternative, Decoder
from vvae.decoder.retrieval import Nearest
from vvae.decoder.trees import Tree
from vvae.decoder.variants import (
    FEW_SHOT_EXAMPLES,
    Fill,
    Variant,
    examples_of,
    imputed,
    misread,
    shown_block,
    training_persona,
)
from vvae.encoders.base import Encoder, load_encoder
from vvae.encoders.llm.encoder import LLMConfig
from vvae.encoders.rules.prototypes import Embedder, nearest_labels
from vvae.inference.engine import GenerationConfig
from vvae.inference.prompts import Block
from vvae.latent.persona import Persona
from vvae.latent.prior import DimensionPrior, Prior, count
from vvae.latent.profile import Profile, completed
from vvae.latent.space import LatentSpace, load_space
from vvae.latent.tables import read_encodings, read_profiles

__all__ = ["Run"]


class Run:
    """A run folder and what is read from it, each file once."""

    def __init__(self, config: RunConfig, *, reporter: Reporter | None = None) -> None:
        self.config, self.folder, self.reporter = config, Path(config.run), reporter or Silent()
        self.variants = config.resolved_variants
        self.space: LatentSpace = load_space(config.space)
        chosen = [
            ("sampling.s", config.sampling.s),
            *((f"variants: {v.name}.s", v.s) for v in self.variants),
        ]
        named = [(where, name) for where, s in chosen if isinstance(s, dict) for name in s]
        named += [
            (f"variants: {v.name}.dimensions", name)
            for v in self.variants
            for name in v.dimensions or ()
        ]
        named += [("bench.known", name) for name in config.bench.known]
        for where, name in named:
            if name not in self.space.by_name:
                fix = f"choose from {', '.join(self.space.names)}"
                raise ConfigError(f"unknown dimension {name!r}", where=where, fix=fix)
        self.shards: int | None = None
        """Encode in so many shards on Ray."""
        self._few_shot: dict[tuple[str, int], list[str]] = {}
        self._descriptions: dict[str, dict[str, str]] = {}

    def override_encoder(self, settings: Mapping[str, Any]) -> None:
        """Replaces settings of a language model as encoder, for this start.

        Raises:
            ConfigError: the encoder of the run is no language model, or a setting cannot be used.
        """
        if not settings:
            return
        encoder = self.config.encoder
        if not isinstance(encoder, LLMConfig):
            fix = "set encoder.kind to llm, or leave it out"
            raise ConfigError(
                "only a language model can be limited", where=f"--{next(iter(settings))}", fix=fix
            )
        try:
            changed = LLMConfig.model_validate({**encoder.model_dump(), **settings})
        except ValidationError as error:
            raise ConfigError(
                error.errors()[0]["msg"], where="encoder", fix="give it in the config"
            ) from None
        self.config = self.config.model_copy(update={"encoder": changed})

    def path(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / name

    def trained_variant(self, name: str) -> Variant:
        """A variant whose adapter is there.

        Raises:
            ConfigError: there is no trained variant of this name.
            DataError: it is not trained yet.
        """
        found = next((v for v in self.variants if v.name == name and v.trained), None)
        if found is None:
            names = ", ".join(v.name for v in self.variants if v.trained)
            raise ConfigError(
                f"no trained variant {name!r}",
                where="--variant",
                fix=f"choose from {names or 'none'}",
            )
        if found.prompt != "persona":
            fix = "choose a variant that was trained with z in words, or none"
            raise ConfigError(f"{name} takes no z", where="--variant", fix=fix)
        if not (made := self.path(f"adapters/{name}/vvae.json")).is_file():
            raise DataError(
                "the run has no such file",
                where=str(made),
                fix="finish it with 'vvae train CONFIG'",
            )
        return found

    @property
    def servable(self) -> list[str]:
        """The trained variants that take z in words or none, the one that samples before the
        others.

        Raises:
            DataError: nothing is trained yet.
        """
        named = [v for v in self.variants if v.trained and v.prompt == "persona"]
        there = [v.name for v in named if self.path(f"adapters/{v.name}/vvae.json").is_file()]
        if not there:
            raise DataError(
                "no adapter here",
                where=str(self.path("adapters")),
                fix="train one with 'vvae train CONFIG'",
            )
        return sorted(there, key=lambda name: name != "SP+FT")

    @cached_property
    def dialogues(self) -> dict[str, Dialogue]:
        """Dialogues by id."""
        return {d.id: d for d in read_dialogues(self.path("dialogues.parquet"))}

    @cached_property
    def pairs(self) -> list[Pair]:
        """All pairs, in dialogue order."""
        return read_pairs(self.path("pairs.parquet"))

    @cached_property
    def personas(self) -> dict[str, Persona]:
        """Pair id -> z read from the reply."""
        encodings = read_encodings(self.path("encodings.parquet"))
        return {e.pair_id: e.persona for e in encodings if e.status == "ok"}

    @cached_property
    def encoded(self) -> list[Pair]:
        """The pairs whose reply was read; one without an answer is no reply without traits."""
        return [pair for pair in self.pairs if pair.pair_id in self.personas]

    @property
    def topics(self) -> dict[str, str]:
        """Dialogue id -> what it was about, where the source says so."""
        return {d.id: prompt for d in self.dialogues.values() if (prompt := d.get("prompt"))}

    @property
    def ledger(self) -> Path:
        """The calls of a language model as encoder; no stage's output, so that nothing is asked
        twice.
        """
        return self.path("ledger.sqlite")

    @property
    def encoder(self) -> Encoder:
        """The encoder that read this run.

        Raises:
            DataError: the run is not encoded, or by another version or config.
        """
        path = self.path("encoder.json")
        try:
            state = path.read_text("utf-8")
        except OSError:
            fix = "make it with 'vvae encode CONFIG'"
            raise DataError("the run has no such file", where=str(path), fix=fix) from None
        return load_encoder(state, self.config.encoder, self.ledger, where=str(path))

    @cached_property
    def prior(self) -> Prior:
        """The prior."""
        return Prior.from_json(
            self.path("prior.json").read_text("utf-8"), where=str(self.path("prior.json"))
        )

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        """Profiles by speaker."""
        return read_profiles(self.path("profiles.parquet"))

    @property
    def learnt(self) -> dict[str, Profile]:
        """Profiles of the speakers whom adapters learn (`pairs.speakers`), the one with most
        replies first.
        """
        chosen = self.config.pairs.speakers
        known = [name for name in self.profiles if chosen is None or name in chosen]
        return {
            name: self.profiles[name]
            for name in sorted(known, key=lambda name: (-self.profiles[name].replies, name))
        }

    def profile(self, speaker: str | None) -> Profile:
        """A speaker's profile by name, or by how it begins; None for the learnt one with most
        replies.

        Raises:
            ConfigError: nobody is called so, or several are.
        """
        if speaker is None:
            return next(iter(self.learnt.values()))
        known = self.profiles
        matches = (
            [speaker] if speaker in known else [name for name in known if name.startswith(speaker)]
        )
        if len(matches) != 1:
            what = f"{len(matches)} speakers are" if matches else "no speaker is"
            best = ", ".join(list(self.learnt)[:5])
            raise ConfigError(
                f"{what} named {speaker!r}", where="--speaker", fix=f"for example {best}"
            )
        return known[matches[0]]

    @cached_property
    def own_priors(self) -> dict[str, Prior]:
        """Speaker -> the distribution of the values read in that speaker's training replies."""
        read: dict[str, list[Persona]] = defaultdict(list)
        for pair in self.encoded:
            if pair.split == "train":
                read[pair.speaker].append(self.personas[pair.pair_id])
        encoder, corpus = self.prior.encoder, self.prior.corpus
        return {
            s: count(personas, self.space, encoder=encoder, corpus=corpus)
            for s, personas in read.items()
        }

    @cached_property
    def speakers(self) -> list[str]:
        """The speakers who can be benchmarked.

        Raises:
            DataError: nobody has enough replies, or what `bench.known` asks for.
        """
        eligible, known = (
            eligible_speakers(self.encoded, self.config.pairs),
            self.config.bench.known,
        )
        able = [s for s in eligible if all(self.profiles[s].persona()[name] for name in known)]
        if not able:
            raise DataError(
                f"no profile with {' and '.join(known)}", where="bench.known", fix="ask for less"
            )
        return able

    @cached_property
    def _benchmark(self) -> list[Pair]:
        """The held-out pairs in the order in which they are used."""
        every = len(self.encoded)
        per_speaker, seed = self.config.bench.per_speaker, self.config.seed
        return benchmark_pairs(
            self.encoded, self.speakers, total=every, per_speaker=per_speaker, seed=seed
        )

    def benched(self, variant: Variant, number: int) -> list[Pair]:
        """The first held-out pairs for a measure of so many; each seed of a variant has others.

        Raises:
            DataError: there are not that many.
        """
        start = variant.seed * number
        if variant.seed and start + number > len(self._benchmark):
            raise DataError(
                f"{len(self._benchmark):,} held-out replies to benchmark, {start + number:,} are "
                "asked for",
                where=f"{variant.name} (seed {variant.seed})",
                fix="lower bench.replies or bench.losses, or raise bench.per_speaker",
            )
        return self._benchmark[start : start + number]

    @cached_property
    def decoder(self) -> Decoder:
        """The base model, loaded when first used; stages change its adapter."""
        with self.reporter.task(f"loading {self.config.decoder.model}"):
            return load_decoder(self.config.decoder)

    @cached_property
    def generation(self) -> GenerationConfig:
        """Generation that can reach human length: max_new_tokens is the 99th percentile of training
        replies.
        """
        chosen = self.config.generate
        if chosen.max_new_tokens is not None:
            return chosen
        sample = [p for p in self.pairs if p.split == "train"][:: max(1, len(self.pairs) // 4000)]
        lengths = [len(self.decoder.tokens(pair.response)) for pair in sample]
        return chosen.model_copy(
            update={"max_new_tokens": math.ceil(np.percentile(lengths, 99)) + 1}
        )

    def marker(self, stage: str) -> Path:
        """Where a stage says that it is done."""
        return self.path(f".stages/{stage.replace(' ', '-')}.json")

    @property
    def timings(self) -> dict[str, float]:
        """Seconds each finished stage took, over all its starts, in the order they ended."""
        markers = sorted(
            self.path(".stages").glob("*.json"), key=lambda path: path.stat().st_mtime_ns
        )
        states = [(path.stem, json.loads(path.read_text("utf-8"))) for path in markers]
        return {name: float(state["seconds"]) for name, state in states if state["done"]}

    def forget_read(self, *names: str) -> None:
        """Drops what was read, after a stage has rewritten it."""
        for name in names:
            self.__dict__.pop(name, None)

    # --- z shown at test time ---

    def test_persona(self, pair: Pair, speaker: str) -> Persona:
        """The persona of a speaker's profile for a pair, complete."""
        return completed(
            self.profiles[speaker], pair, self.prior, self.space, seed=self.config.seed
        )

    def test_block(self, variant: Variant, pair: Pair, speaker: str) -> Block:
        """The z block of a variant at test time."""
        return self._block(variant, pair, speaker, self.test_persona(pair, speaker))

    def _block(self, variant: Variant, pair: Pair, speaker: str, persona: Persona | None) -> Block:
        """What a variant is shown of a speaker's persona for a pair."""
        examples: Sequence[str] = ()
        described: str | None = None
        if variant.prompt == "few-shot":
            examples = self.examples(speaker)
        elif variant.prompt == "retrieval":
            examples = self._nearest.replies(pair, speaker, FEW_SHOT_EXAMPLES)
        elif variant.prompt == "description":
            described = self._described(variant.name).get(speaker)
        return shown_block(
            variant, speaker, persona, self.space, examples=examples, description=described
        )

    def examples(self, speaker: str, number: int = FEW_SHOT_EXAMPLES) -> Sequence[str]:
        """Training replies of a speaker to show, a keyed choice."""
        if (speaker, number) not in self._few_shot:
            chosen = examples_of(speaker, self.pairs, seed=self.config.seed, number=number)
            self._few_shot[speaker, number] = chosen
        return self._few_shot[speaker, number]

    @cached_property
    def _nearest(self) -> Nearest:
        return Nearest(self.pairs, self.dialogues)

    def _described(self, variant: str) -> Mapping[str, str]:
        """Speaker -> description, of one variant."""
        if variant not in self._descriptions:
            path = self.path(f"descriptions/{variant}.json")
            self._descriptions[variant] = json.loads(path.read_text("utf-8"))
        return self._descriptions[variant]

    @cached_property
    def _imputed(self) -> dict[tuple[Fill, str | None], Mapping[str, DimensionPrior]]:
        return {}

    def imputed(self, variant: Variant, speaker: str) -> Mapping[str, DimensionPrior]:
        """What a variant's nulls are filled from in training."""
        own = speaker if variant.fill == "speaker" else None
        key = (variant.fill, own)
        if key not in self._imputed:
            self._imputed[key] = imputed(
                variant.fill, self.prior, self.own_priors.get(own) if own else None
            )
        return self._imputed[key]

    @cached_property
    def _confusable(self) -> dict[str, dict[str, str]]:
        embedder = Embedder()
        return {d.name: nearest_labels(d, embedder) for d in self.space.dimensions}

    def training_block(self, variant: Variant, pair: Pair, draw: int) -> Block:
        """The z block a variant is trained with for a pair; also its posterior z at test time."""
        read = self.personas[pair.pair_id]
        if variant.error:
            near = self._confusable if variant.error.kind == "near" else {}
            seed = self.config.seed + variant.seed
            read = misread(read, variant.error, self.prior, near, pair=pair.pair_id, seed=seed)
        persona = training_persona(
            variant,
            pair,
            read,
            self.imputed(variant, pair.speaker),
            self.config.sampling,
            seed=self.config.seed,
            draw=draw,
        )
        return self._block(variant, pair, pair.speaker, persona)

    def training_tree(self, variant: Variant, window: Sequence[Pair], draw: int) -> Tree:
        """The tree a variant is trained on for one speaker's pairs in a window; each draw of z is a
        branch.
        """
        draws = (
            self.config.train.draws_per_pair
            if variant.z == "sampled" and variant.shows_slots
            else 1
        )
        asked = {
            pair.pair_id: [
                Alternative(str(k), self.training_block(variant, pair, draw * draws + k))
                for k in range(draws)
            ]
            for pair in window
        }
        return self.decoder.tree(self.dialogues[window[0].dialogue], window, asked)

    def with_adapter(self, variant: Variant) -> Decoder:
        """The decoder as a variant uses it."""
        if variant.trained:
            self.decoder.load_adapter(self.path(f"adapters/{variant.name}"))
        else:
            self.decoder.drop_adapter()
        return self.decoder
