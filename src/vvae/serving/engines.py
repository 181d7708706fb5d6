"""What writes a trained variant's replies: llama.cpp where it can, else transformers."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from vvae.core.errors import ConfigError, DataError
from vvae.core.files import digest
from vvae.decoder.export import adapter_to_gguf
from vvae.decoder.variants import Variant
from vvae.encoders.in_the_loop import needs_encoder
from vvae.inference.engine import Engine
from vvae.inference.llama import LlamaEngine, check_vocabulary
from vvae.inference.models import gguf_of
from vvae.inference.prompts import PROMPT_VERSION
from vvae.inference.tokenizer import Prompter, load_prompter
from vvae.latent.space import LatentSpace
from vvae.latent.steering import Steering
from vvae.pipeline.run import Run

__all__ = [
    "check_adapter",
    "end_of_turn",
    "llama_base",
    "llama_parts",
    "open_engine",
    "reads",
    "why_unread",
]


def check_adapter(run: Run, variant: Variant) -> None:
    """Raise DataError where an adapter is of another prior, or another form of prompt, than the
    run's. A prior that was corrected by hand since is the same one.
    """
    metadata = json.loads(run.path(f"adapters/{variant.name}/vvae.json").read_text("utf-8"))
    if (
        metadata["prior"] not in (digest(run.path("prior.json")), *run.corrected.get("priors", ()))
        or metadata["prompt_version"] != PROMPT_VERSION
    ):
        raise DataError(
            "the adapter was trained on other data",
            where=str(run.folder),
            fix="finish it with 'vvae train'",
        )


def why_unread(run: Run, allowed: str | None) -> ConfigError | None:
    """Return why a conversation may not be given to a run's encoder; None where it may.

    A run may be somebody else's: its config must not send a conversation, or a key, to a server of
    its choice.

    Args:
        allowed: the URL that whoever chats has allowed.
    """
    others = [url for url in run.config.encoder.beyond if url != (allowed or "").rstrip("/")]
    if not others:
        return None
    return ConfigError(
        f"this run's encoder would send the conversation to {others[0]}",
        where="auto",
        fix=f"allow it with --encoder-endpoint {others[0]}, or leave out auto and candidates",
    )


def reads(steering: Steering, space: LatentSpace) -> bool:
    """Return whether an encoder must read the conversation, or candidates of a reply."""
    follows = any(knob.mode == "auto" for knob in steering.knobs.values())
    several = (steering.candidates or 1) > 1
    demanded = [n for n, rate in steering.rates.items() if several and rate is not None]
    return follows or needs_encoder(demanded, space)


def open_engine(
    run: Run, variant: Variant, engine: str, base: Path | None
) -> tuple[Prompter, Engine]:
    """Return the prompter and what writes a trained variant's replies, one at a time.

    llama.cpp where it is installed and the base is there as GGUF (given, or the small model's own),
    else transformers.

    Raises:
        ModelError: the base is not that of the run, or cannot be loaded.
        ConfigError: llama.cpp was asked for and there is no base as GGUF.
    """
    file = llama_base(run, engine, base)
    if file is None:
        decoder = run.with_adapter(variant)
        return decoder.prompter, decoder.engine
    with run.reporter.task(f"loading {file.name}"):
        prompter, (adapter,) = llama_parts(run, [variant.name], base)
        return prompter, LlamaEngine(file, adapter, stop=end_of_turn(prompter))


def llama_base(run: Run, engine: str, base: Path | None) -> Path | None:
    """Return the base as GGUF where llama.cpp writes; None where transformers does.

    Raises:
        ConfigError: llama.cpp was asked for and there is none.
    """
    file = base or gguf_of(run.config.decoder.model)
    if engine == "llama.cpp" and file is None:
        raise ConfigError(
            "llama.cpp needs the base model as GGUF", where="--engine", fix="give it with --gguf"
        )
    by_itself = engine == "auto" and base is None
    missing = by_itself and not importlib.util.find_spec("xllamacpp")
    return None if engine == "transformers" or missing else file


def llama_parts(
    run: Run, adapters: Sequence[str], base: Path | None
) -> tuple[Prompter, list[Path]]:
    """Return the prompter, and the adapters as GGUF.

    Args:
        base: where it was given; the small model's own file has its tokens.

    Raises:
        ModelError: the base is not that of the run, or of a family that llama.cpp names otherwise.
    """
    model = run.config.decoder.model
    prompter = load_prompter(model)
    if base is not None:
        check_vocabulary(base, prompter.tokenizer)
    files = []
    for name in adapters:
        files.append(run.path(f"export/{name}/adapter.gguf"))
        adapter_to_gguf(run.path(f"adapters/{name}"), model, files[-1])
    return prompter, files


def end_of_turn(prompter: Prompter) -> list[str]:
    """Return the text that ends a reply, where the template has one."""
    end = prompter.frame.end.strip()
    return [end] if end else []
