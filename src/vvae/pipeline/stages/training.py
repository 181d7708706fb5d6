"""Descriptions, adapters, and adapters for other software."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from vvae.config import RunConfig
from vvae.core.errors import ConfigError
from vvae.core.files import digest, write_json
from vvae.core.random import shuffled
from vvae.corpus.consent import CONSENT, check_consent, read_consent
from vvae.corpus.pairs import learned_pairs, learned_speakers
from vvae.decoder.conditions import training_examples
from vvae.decoder.examples import Example, examples
from vvae.decoder.export import adapter_to_gguf, merge, modelfile
from vvae.decoder.model import grouped, per_token
from vvae.decoder.train import Step, plan, planned, train
from vvae.decoder.variants import Variant
from vvae.inference.engine import GenerationConfig, Request
from vvae.inference.models import gguf_of, hub_name
from vvae.inference.prompts import PROMPT_VERSION, description_request
from vvae.inference.tokenizer import load_prompter
from vvae.pipeline.keys import decoder_key, sampling_key, train_key, variant_key
from vvae.pipeline.run import Run
from vvae.pipeline.stage import Stage
from vvae.pipeline.stages.corpus import READ

__all__ = ["check_patience", "consent", "examples_of", "export_adapter", "stages"]

DESCRIBED_REPLIES, DESCRIPTION_TOKENS = 12, 80
"""Training replies a description is made from, and its length at the most."""


def stages(run: Run) -> list[Stage]:
    """Return the stages that make descriptions and adapters."""
    config, space = run.config, run.space.to_dict()
    result: list[Stage] = []
    for variant in run.variants:
        if variant.prompt == "description":
            result.append(
                Stage(
                    f"describe {variant.name}",
                    group="profiles",
                    inputs=READ,
                    outputs=(f"descriptions/{variant.name}.json",),
                    settings={
                        "variant seed": variant.seed,
                        "training pairs": config.train.pairs,
                        "decoder": decoder_key(config.decoder),
                        "pairs": config.pairs,
                        "bench": config.bench.model_dump(include={"known"}),
                        "seed": config.seed,
                        "prompts": PROMPT_VERSION,
                    },
                    work=partial(describe_speakers, variant=variant),
                )
            )
    for variant in run.variants:
        if not variant.trained:
            continue
        described = variant.prompt == "description"
        result.append(
            Stage(
                f"train {variant.name}",
                group="train",
                inputs=(*READ, f"descriptions/{variant.name}.json") if described else READ,
                outputs=(f"adapters/{variant.name}",),
                settings={
                    "variant": variant_key(variant),
                    "train": train_key(config.train),
                    "decoder": decoder_key(config.decoder),
                    "pairs": config.pairs,
                    "sampling": sampling_key(config.sampling),
                    "space": space,
                    "seed": config.seed,
                    "prompts": PROMPT_VERSION,
                },
                work=partial(train_variant, variant=variant),
                resumes=True,
            )
        )
    return result


def describe_speakers(run: Run, variant: Variant) -> None:
    """Write descriptions in free text of the speakers a variant meets, by its base model."""
    config, decoder = run.config, run.decoder
    pairs = learned_pairs(run.valid_pairs, config.pairs)
    steps = plan(pairs, config.train, seed=config.seed + variant.seed)
    speakers = sorted({*run.speakers, *(pair.speaker for pair in planned(steps))})
    examples = {
        speaker: training_examples(
            run.valid_pairs, speaker, seed=config.seed, number=DESCRIBED_REPLIES
        )
        for speaker in speakers
    }
    prompter = decoder.prompter
    requests = [
        Request(speaker, prompter.tokens(description_request(prompter.frame, replies)))
        for speaker, replies in examples.items()
        if replies
    ]
    settings = GenerationConfig(temperature=0, max_new_tokens=DESCRIPTION_TOKENS)
    decoder.drop_adapter()
    with run.reporter.task(f"describing speakers: {variant.name}") as tick:
        completions = decoder.engine.complete(requests, settings, seed=config.seed, progress=tick)
    descriptions = {
        request.key: " ".join(completion.text.split())
        for request, completion in zip(requests, completions, strict=True)
    }
    write_json(run.path(f"descriptions/{variant.name}.json"), descriptions)


def consent(run: Run, *, required: bool = False) -> None:
    """Raise where the consent file does not allow training on these chats.

    Raises:
        ConfigError: somebody has not agreed.
    """
    path = run.config.data.consent_file
    chosen = run.config.pairs.speakers
    present = {name for dialogue in run.dialogues.values() for name in dialogue.speakers}
    check_consent(
        read_consent(path) if path else None,
        present if chosen is None else learned_speakers(run.pairs, run.config.pairs),
        present,
        required=required,
        where=str(path or f"{run.config.data.path}/{CONSENT}"),
    )


def check_patience(config: RunConfig, variants: Iterable[Variant]) -> None:
    """Raise ConfigError where several variants would be trained, and each might stop early."""
    if config.train.patience and sum(v.trained for v in variants) > 1:
        fix = "leave out train.patience, or train one variant"
        raise ConfigError(
            "variants that stop early cannot be compared", where="train.patience", fix=fix
        )


def train_variant(run: Run, variant: Variant) -> None:
    """Train the adapter of one variant and write it.

    Raises:
        ConfigError: somebody has not agreed to be learnt.
    """
    consent(run)
    config = run.config
    seed = config.seed + variant.seed
    steps = _steps(run, variant)
    description = {
        "variant": variant.model_dump(mode="json"),
        "space": run.space.to_dict(),
        "prompt_version": PROMPT_VERSION,
        "prior": digest(run.path("prior.json")),
        "decoder": config.decoder.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json"),
        "sampling": config.sampling.model_dump(mode="json"),
        "seed": seed,
    }
    build = partial(run.conditions(variant).training_tree, run.decoder)
    folder = run.path(f"adapters/{variant.name}")
    validate = None
    if config.train.patience:
        check_patience(config, run.variants)
        validate = _validation(run, variant)
    with run.reporter.task(f"training {variant.name}") as tick:
        train(
            run.decoder,
            steps,
            build,
            config.train,
            folder,
            seed=seed,
            description=description,
            speakers=sorted({pair.speaker for pair in planned(steps)})
            if variant.prompt == "voice"
            else (),
            progress=tick,
            say=run.reporter.say,
            validate=validate,
        )


def examples_of(run: Run, variant: Variant, number: int) -> list[Example]:
    """Return the first training replies of a variant, in the order in which it is trained on them.

    Raises:
        ModelError: a vector stands for the speaker, which no text shows.
    """
    build = partial(run.conditions(variant).training_tree, run.decoder)
    return examples(run.decoder.prompter.tokenizer, _steps(run, variant), build, number)


def _steps(run: Run, variant: Variant) -> list[Step]:
    config = run.config
    pairs = learned_pairs(run.valid_pairs, config.pairs)
    return plan(pairs, config.train, seed=config.seed + variant.seed)


def _validation(run: Run, variant: Variant) -> Callable[[], float]:
    """What measures the loss per token on held-out pairs, with z as in training; the same pairs and
    draws each time.
    """
    pairs = learned_pairs(run.valid_pairs, run.config.pairs)
    held = [pair for pair in pairs if pair.split == "heldout"]
    ids = [pair.pair_id for pair in held]
    chosen = shuffled(held, "validation", run.config.seed, name=ids)[
        : run.config.train.validation_pairs
    ]
    conditions = run.conditions(variant)
    windows = grouped(chosen).values()
    trees = [conditions.training_tree(run.decoder, window, 0) for window in windows]
    return lambda: per_token(
        run.decoder.losses(trees, budget=run.config.train.token_budget).values()
    )


def export_adapter(
    run: Run, variant: Variant, *, gguf: bool, merged: bool, base: str | None = None
) -> list[Path]:
    """Write a trained adapter as other software wants it, under `export/`; return what was written.

    Args:
        base: what the Modelfile starts from; the small model's own file or the base's name by
            default.
    """
    model, adapter = run.config.decoder.model, run.path(f"adapters/{variant.name}")
    folder = run.path(f"export/{variant.name}")
    paths = []
    if gguf:
        with run.reporter.task("writing a GGUF adapter"):
            adapter_to_gguf(adapter, model, folder / "adapter.gguf")
        # Labels only: what else the prior counts are people's own words.
        labels = [f"{d.name}: {next(iter(d.labels))}" for d in run.space.dimensions if d.labels]
        example = f"[persona] {'; '.join(labels)}"
        modelfile(
            base or str(gguf_of(model) or hub_name(model)),
            load_prompter(model).frame,
            example,
            folder,
        )
        paths += [folder / "adapter.gguf", folder / "Modelfile"]
    if merged:
        decoder = run.with_adapter(variant)
        with run.reporter.task("merging the adapter into its base"):
            merge(decoder, folder / "merged")
        paths.append(folder / "merged")
    return paths
