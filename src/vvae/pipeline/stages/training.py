"""Descriptions, adapters, and adapters for other software."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vvae.core.errors import ConfigError
from vvae.core.files import digest, write_text
from vvae.core.random import shuffled
from vvae.corpus.consent import CONSENT, check_consent, read_consent
from vvae.corpus.pairs import learnt
from vvae.decoder.export import adapter_to_gguf, merge, modelfile
from vvae.decoder.model import grouped, per_token
from vvae.decoder.train import plan, planned, train
from vvae.decoder.variants import Variant
from vvae.inference.engine import GenerationConfig, Request
from vvae.inference.models import gguf_of, hub_name
from vvae.inference.prompts import PROMPT_VERSION, description_request
from vvae.inference.tokenizer import load_prompter
from vvae.pipeline.run import Run

__all__ = ["consent", "describe_speakers", "export_adapter", "train_variant"]

DESCRIBED_REPLIES, DESCRIPTION_TOKENS = 12, 80
"""Training replies a description is made from, and its length at the most."""


def describe_speakers(run: Run, variant: Variant) -> None:
    """Descriptions in free text of the speakers a variant meets; its base model writes them."""
    config, prompter = run.config, run.decoder
    steps = plan(learnt(run.encoded, config.pairs), config.train, seed=config.seed + variant.seed)
    described = sorted({*run.speakers, *(pair.speaker for pair in planned(steps))})
    shown = {s: run.examples(s, DESCRIBED_REPLIES) for s in described}
    asked = [
        Request(s, prompter.tokens(description_request(prompter.frame, replies)))
        for s, replies in shown.items()
        if replies
    ]
    settings = GenerationConfig(temperature=0, max_new_tokens=DESCRIPTION_TOKENS)
    prompter.drop_adapter()
    with run.reporter.task(f"describing speakers: {variant.name}") as tick:
        written = prompter.engine.complete(asked, settings, seed=config.seed, progress=tick)
    found = {
        request.key: " ".join(c.text.split()) for request, c in zip(asked, written, strict=True)
    }
    write_text(
        run.path(f"descriptions/{variant.name}.json"),
        json.dumps(found, ensure_ascii=False, indent=1),
    )


def consent(run: Run, *, required: bool = False) -> None:
    """Holds training to the consent file.

    Raises:
        ConfigError: somebody has not agreed.
    """
    path = run.config.data.consent_file
    learnt_speakers = run.config.pairs.speakers
    present = {name for dialogue in run.dialogues.values() for name in dialogue.speakers}
    check_consent(
        read_consent(path) if path else None,
        present if learnt_speakers is None else learnt_speakers,
        present,
        required=required,
        where=str(path or f"{run.config.data.path}/{CONSENT}"),
    )


def train_variant(run: Run, variant: Variant) -> None:
    """The adapter of one variant.

    Raises:
        ConfigError: somebody has not agreed to be learnt.
    """
    consent(run)
    config = run.config
    seed = config.seed + variant.seed
    steps = plan(learnt(run.encoded, config.pairs), config.train, seed=seed)
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
    build = partial(run.training_tree, variant)
    folder = run.path(f"adapters/{variant.name}")
    validate = None
    if config.train.patience:
        if sum(v.trained for v in run.variants) > 1:
            fix = "leave out train.patience, or train one variant"
            raise ConfigError(
                "variants that stop early cannot be compared", where="train.patience", fix=fix
            )
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


def _validation(run: Run, variant: Variant) -> Callable[[], float]:
    """What measures the loss per token on held-out pairs, with z as in training; the same pairs and
    draws each time.
    """
    held = [pair for pair in learnt(run.encoded, run.config.pairs) if pair.split == "heldout"]
    ids = [pair.pair_id for pair in held]
    chosen = shuffled(held, "validation", run.config.seed, name=ids)[
        : run.config.train.validation_pairs
    ]
    trees = [run.training_tree(variant, window, 0) for window in grouped(chosen).values()]
    return lambda: per_token(
        run.decoder.losses(trees, budget=run.config.train.token_budget).values()
    )


def export_adapter(
    run: Run, variant: Variant, *, gguf: bool, merged: bool, base: str | None = None
) -> list[Path]:
    """A trained adapter as other software wants it, under `export/`; returns what was written.

    Args:
        base: what the Modelfile starts from; the small model's own file or the base's name by
            default.
    """
    model, adapter = run.config.decoder.model, run.path(f"adapters/{variant.name}")
    folder = run.path(f"export/{variant.name}")
    written = []
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
        written += [folder / "adapter.gguf", folder / "Modelfile"]
    if merged:
        decoder = run.with_adapter(variant)
        with run.reporter.task("merging the adapter into its base"):
            merge(decoder, folder / "merged")
        written.append(folder / "merged")
    return written
