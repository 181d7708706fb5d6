"""A run: a config, the folder that it fills, and the models that it needs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from vvae.config import RunConfig, load_config
from vvae.core.dialogue import Pair
from vvae.core.errors import ConfigError, DataError, choose_from
from vvae.core.reporting import Reporter, Silent
from vvae.corpus.pairs import benchmark_pairs, eligible_speakers, learned_speakers
from vvae.decoder.conditions import Conditions
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Decoder
from vvae.decoder.variants import DEFAULT_VARIANT, Variant
from vvae.encoders.base import Encoder, EncoderSettings
from vvae.inference.engine import GenerationConfig
from vvae.latent.profile import Profile
from vvae.latent.space import load_space
from vvae.pipeline.artifacts import Artifacts

__all__ = ["Run"]


class Run(Artifacts):
    """A config and its run folder.

    Args:
        config: as in a config file; ``config.run`` is the folder.
        reporter: where progress goes; nowhere by default.

    Raises:
        ConfigError: the config names a dimension that its latent space does not have.
    """

    def __init__(self, config: RunConfig, *, reporter: Reporter | None = None) -> None:
        super().__init__(Path(config.run), load_space(config.space))
        self.config, self.reporter = config, reporter or Silent()
        self.variants = config.resolved_variants
        config.check_dimensions(self.space)
        self._conditions: dict[str, Conditions] = {}

    @classmethod
    def open(cls, path: str | Path, *, reporter: Reporter | None = None) -> Run:
        """Return the run of a folder, wherever it was moved to, or of a config file.

        Raises:
            ConfigError: there is no config, or it cannot be used.

        Example:
            >>> import vvae
            >>> run = vvae.Run.open("runs/demo")  # doctest: +SKIP
            >>> run.prior["tone"].rate  # doctest: +SKIP
            0.06
        """
        path = Path(path)
        if not path.is_dir():
            return cls(load_config(path), reporter=reporter)
        config = load_config(path / "config.yaml")
        return cls(config.model_copy(update={"run": str(path)}), reporter=reporter)

    def make(self, until: str = "report") -> Run:
        """Run all stages up to one, skipping what is done; return this run.

        Args:
            until: a group of stages: dialogues, pairs, encode, prior, profiles, train, replies,
                losses, bench or report.

        Raises:
            VVAEError: whatever a stage raises; finished stages stay.
        """
        from vvae.pipeline.runner import run_stages

        run_stages(self, until=until)
        return self

    def rewritten(self, names: Iterable[str]) -> None:
        """Drop what was read of files that a stage has written anew, and what was made of it."""
        super().rewritten(names)
        self._conditions.clear()
        for attribute in ("speakers", "_benchmark", "_learned"):
            self.__dict__.pop(attribute, None)

    # --- variants and speakers ---

    def conditions(self, variant: Variant) -> Conditions:
        """Return what a variant is shown, in training and at test time."""
        if variant.name not in self._conditions:
            self._conditions[variant.name] = self._new_conditions(variant)
        return self._conditions[variant.name]

    def _new_conditions(self, variant: Variant) -> Conditions:
        return Conditions(
            variant,
            lambda: self.corpus,
            self.config.sampling,
            seed=self.config.seed,
            draws_per_pair=self.config.train.draws_per_pair,
            descriptions=partial(self.descriptions, variant),
            z=self.config.bench.z,
        )

    def descriptions(self, variant: Variant) -> Mapping[str, str]:
        """Return speaker -> description in free text, of a variant that is shown one."""
        text = self.path(f"descriptions/{variant.name}.json").read_text("utf-8")
        by_speaker: dict[str, str] = json.loads(text)
        return by_speaker

    def trained_variant(self, name: str) -> Variant:
        """Return a variant that takes z in words, or none, and whose adapter is there.

        Raises:
            ConfigError: there is no trained variant of this name, or it takes no words.
            DataError: it is not trained yet.
        """
        variant = next((v for v in self.variants if v.name == name and v.trained), None)
        if variant is None:
            fix = choose_from(name, (v.name for v in self.variants if v.trained))
            raise ConfigError(f"no trained variant {name!r}", where=str(self.folder), fix=fix)
        if variant.prompt != "persona":
            fix = "choose a variant that was trained with the persona written into the prompt"
            raise ConfigError(f"{name} takes no z", where=str(self.folder), fix=fix)
        if not (metadata := self.path(f"adapters/{name}/vvae.json")).is_file():
            raise DataError(
                "the run has no such file",
                where=str(metadata),
                fix="finish it with 'vvae train CONFIG'",
            )
        return variant

    def servable_variant(self, name: str) -> Variant:
        """Return a variant that can be talked to: a trained one, or the base model, prompted.

        Raises:
            ConfigError: there is none of this name, or it takes no words.
            DataError: it is not trained yet.
        """
        variant = next((v for v in self.variants if v.name == name), None)
        return variant if variant and variant.talks_untrained else self.trained_variant(name)

    @property
    def servable(self) -> list[str]:
        """Return the trained variants that take z in words or none, the one that samples first.

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
        return sorted(there, key=lambda name: name != DEFAULT_VARIANT)

    @cached_property
    def _learned(self) -> frozenset[str] | None:
        """The speakers to be learnt; None where that is everybody."""
        chosen = self.config.pairs.speakers
        if chosen == "benchmarked":
            return frozenset(learned_speakers(self.valid_pairs, self.config.pairs))
        return None if chosen is None else frozenset(chosen)

    @property
    def learned_profiles(self) -> dict[str, Profile]:
        """Return the profiles of the speakers whom adapters learn, most replies first."""
        chosen = self._learned
        known = [p for name, p in self.profiles.items() if chosen is None or name in chosen]
        ordered = sorted(known, key=lambda profile: (-profile.replies, profile.speaker))
        return {profile.speaker: profile for profile in ordered}

    def profile(self, speaker: str | None) -> Profile:
        """Return a speaker's profile by name, or by how the name begins.

        Args:
            speaker: None for the learned one with most replies.

        Raises:
            ConfigError: nobody is called so, or several are.
        """
        if speaker is None:
            return next(iter(self.learned_profiles.values()))
        known = self.profiles
        matches = (
            [speaker] if speaker in known else [name for name in known if name.startswith(speaker)]
        )
        if len(matches) != 1:
            what = f"{len(matches)} speakers are" if matches else "no speaker is"
            names = dict.fromkeys([*self.learned_profiles, *known])
            raise ConfigError(
                f"{what} named {speaker!r}",
                where=str(self.folder),
                fix=choose_from(speaker, matches or names, shown=5),
            )
        return known[matches[0]]

    # --- what is benchmarked ---

    @cached_property
    def speakers(self) -> list[str]:
        """Return the speakers who can be benchmarked.

        Raises:
            DataError: nobody has enough replies, or what `bench.known` asks for.
        """
        eligible = eligible_speakers(self.valid_pairs, self.config.pairs)
        known = self.config.bench.known
        able = [s for s in eligible if all(self.profiles[s].persona()[name] for name in known)]
        if not able:
            raise DataError(
                f"no profile with {' and '.join(known)}", where="bench.known", fix="ask for less"
            )
        return able

    @cached_property
    def _benchmark(self) -> list[Pair]:
        """The held-out pairs in the order in which they are used."""
        return benchmark_pairs(
            self.valid_pairs,
            self.speakers,
            total=len(self.valid_pairs),
            per_speaker=self.config.bench.per_speaker,
            seed=self.config.seed,
        )

    def benchmarked(self, number: int) -> list[Pair]:
        """Return the first held-out pairs for a measure of so many: the same ones for every variant
        and every seed of it, so that both can be told apart from the contexts.
        """
        return self._benchmark[:number]

    # --- models ---

    @property
    def ledger(self) -> Path:
        """Return the path of the calls to endpoints; no stage's output, so that nothing is asked
        twice.
        """
        return self.path("ledger.sqlite")

    @property
    def encoder(self) -> Encoder:
        """Return the encoder that read this run.

        Raises:
            DataError: the run is not encoded, or by another version or config.
        """
        return self._encoder(self.config.encoder)

    @property
    def single_encoder(self) -> Encoder:
        """Return the same encoder for readings of a few replies, in which one answer that is
        missing is no reason to stop: its encoding says so.

        Raises:
            DataError: as `encoder` does.
        """
        return self._encoder(self.config.encoder.for_shard(1))

    @property
    def passing_encoder(self) -> Encoder:
        """Return the same encoder for conversations of which nothing shall stay in the run: a
        model's answers, which quote them, are deleted when they are read; what they cost is not.

        Raises:
            DataError: as `encoder` does.
        """
        from vvae.encoders.llm.encoder import LLMEncoder

        encoder = self.single_encoder
        if isinstance(encoder, LLMEncoder):
            encoder.keeps_answers = False
        return encoder

    def _encoder(self, settings: EncoderSettings) -> Encoder:
        path = self.path("encoder.json")
        try:
            state = path.read_text("utf-8")
        except OSError:
            fix = "make it with 'vvae encode CONFIG'"
            raise DataError("the run has no such file", where=str(path), fix=fix) from None
        return settings.load(state, ledger=self.ledger, where=str(path))

    @cached_property
    def decoder(self) -> Decoder:
        """Return the base model, loaded when first used; stages change its adapter."""
        with self.reporter.task(f"loading {self.config.decoder.model}"):
            decoder = load_decoder(self.config.decoder)
        if decoder.slower_because:
            self.reporter.say(decoder.slower_because)
        return decoder

    def with_adapter(self, variant: Variant) -> Decoder:
        """Return the decoder as a variant uses it.

        Raises:
            ConfigError: its weights are spread over processes, which is for training only.
        """
        if self.config.decoder.shard:
            fix = "leave it out from here on, or let vLLM write (docs/training.md)"
            raise ConfigError("spread weights only train", where="decoder.shard", fix=fix)
        if variant.trained:
            self.decoder.load_adapter(self.path(f"adapters/{variant.name}"))
        else:
            self.decoder.drop_adapter()
        return self.decoder

    @cached_property
    def generation(self) -> GenerationConfig:
        """Return settings of generation that can reach human length.

        `max_new_tokens` is the 99th percentile of training replies where the config has none.
        """
        chosen = self.config.generate
        if chosen.max_new_tokens is not None:
            return chosen
        sample = [p for p in self.pairs if p.split == "train"][:: max(1, len(self.pairs) // 4000)]
        lengths = [len(self.decoder.prompter.tokens(pair.response)) for pair in sample]
        longest = math.ceil(np.percentile(lengths, 99)) + 1
        return chosen.model_copy(update={"max_new_tokens": longest})
