"""`vvae chat` on a terminal: reads lines, prints bursts as separate lines, and the z of each reply."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from vvae import records
from vvae.calibration import reaches
from vvae.chat import ChatReply, ChatSession, ConversationReader
from vvae.engine import Engine, GenerationConfig
from vvae.errors import ConfigError, DataError
from vvae.export import adapter_to_gguf
from vvae.llama import LlamaEngine, check_vocabulary
from vvae.persona import Persona
from vvae.pretrained import gguf_of
from vvae.prompt import PROMPT_VERSION
from vvae.prompter import Prompter, load_prompter
from vvae.run import Run
from vvae.steering import Steering, check_steering
from vvae.variants import Variant

__all__ = [
    "check_adapter",
    "converse",
    "end_of_turn",
    "llama_base",
    "llama_parts",
    "open_engine",
    "open_session",
]

MAX_NEW_TOKENS = 120


def open_session(
    run: Run,
    speaker: str | None,
    variant: str,
    steering: Steering,
    *,
    temperature: float,
    top_p: float,
    seed: int,
    engine: str = "auto",
    base: Path | None = None,
) -> ChatSession:
    """A session over a finished run.

    Raises:
        DataError: a file of the run is missing.
        ConfigError: the speaker, the variant, a dimension or a label is unknown.
    """
    found = run.trained_variant(variant)
    for name in ("prior.json", "profiles.parquet"):
        if not run.path(name).exists():
            raise DataError(
                "the run has no such file", where=str(run.path(name)), fix="finish it with 'vvae train CONFIG'"
            )
    profile = run.profile(speaker)
    reader = ConversationReader(run.encoder, run.space)
    check_steering(steering, run.space, where="vvae chat")
    check_adapter(run, found)
    prompter, opened = open_engine(run, found, engine, base)
    return ChatSession(
        prompter=prompter,
        engine=opened,
        space=run.space,
        prior=run.prior,
        profile=profile,
        reader=reader,
        generation=GenerationConfig(temperature=temperature, top_p=top_p, max_new_tokens=MAX_NEW_TOKENS),
        window_tokens=run.config.pairs.window_tokens,
        steering=steering,
        reach=reaches(run, found).__getitem__,
        seed=seed,
        shows_z=found.z != "none",
    )


def check_adapter(run: Run, variant: Variant) -> None:
    """Raises DataError where an adapter is of another prior, or another form of prompt, than the run's."""
    made = json.loads(run.path(f"adapters/{variant.name}/vvae.json").read_text("utf-8"))
    if made["prior"] != records.digest(run.path("prior.json")) or made["prompt_version"] != PROMPT_VERSION:
        raise DataError(
            "the adapter was trained on other data", where=str(run.folder), fix="finish it with 'vvae train'"
        )


def open_engine(run: Run, variant: Variant, engine: str, base: Path | None) -> tuple[Prompter, Engine]:
    """What writes a trained variant's replies, one at a time.

    llama.cpp where it is installed and the base is there as GGUF (given, or the small model's own), else transformers.

    Raises:
        ModelError: the base is not that of the run, or cannot be loaded.
        ConfigError: llama.cpp was asked for and there is no base as GGUF.
    """
    file = llama_base(run, engine, base)
    if file is None:
        decoder = run.with_adapter(variant)
        return decoder, decoder.engine
    with run.reporter.task(f"loading {file.name}"):
        prompter, (adapter,) = llama_parts(run, [variant.name], base)
        return prompter, LlamaEngine(file, adapter, stop=end_of_turn(prompter))


def llama_base(run: Run, engine: str, base: Path | None) -> Path | None:
    """The base as GGUF where llama.cpp writes; None where transformers does.

    Raises:
        ConfigError: llama.cpp was asked for and there is none.
    """
    file = base or gguf_of(run.config.decoder.model)
    if engine == "llama.cpp" and file is None:
        raise ConfigError("llama.cpp needs the base model as GGUF", where="--engine", fix="give it with --gguf")
    by_itself = engine == "auto" and base is None
    missing = by_itself and not importlib.util.find_spec("xllamacpp")
    return None if engine == "transformers" or missing else file


def llama_parts(run: Run, adapters: Sequence[str], base: Path | None) -> tuple[Prompter, list[Path]]:
    """The prompter, and the adapters as GGUF.

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
    """The text that ends a reply, where the template has one."""
    end = prompter.frame.end.strip()
    return [end] if end else []


def converse(run: Run, speaker: str | None, variant: str, steering: Steering, **settings: Any) -> None:
    """Chats until end of input or an empty line."""
    console = Console()
    session = open_session(run, speaker, variant, steering, **settings)
    console.print(
        Text(f"You are talking to {session.profile.speaker} ({variant}). An empty line ends the chat.", "dim")
    )
    while True:
        try:
            heard = console.input("[bold]you[/] ")
        except EOFError:
            break
        if not heard.strip():
            break
        with console.status("typing"):
            reply = session.reply(heard)
        _show(console, session.profile.speaker, reply)


def _show(console: Console, speaker: str, reply: ChatReply) -> None:
    for message in reply.messages or ("…",):
        console.print(Text.assemble((f"{speaker[:12]} ", "bold cyan"), message))
    console.print(Text(f"  z  {_described(reply.persona)}", style="dim"))
    for note in reply.steered.notes:
        console.print(Text(f"  !  {note}", style="dim"))


def _described(persona: Persona) -> str:
    marks = {"sampled": "~", "given": "!", "observed": ""}
    return "  ".join(f"{name}={slot.value}{marks[slot.source]}" for name, slot in persona) + "   (~ sampled, ! given)"
