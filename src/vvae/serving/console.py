"""`vvae chat` on a terminal: reads lines, prints bursts as separate lines,
and the z of each reply.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from vvae.core.errors import DataError
from vvae.inference.engine import GenerationConfig
from vvae.latent.persona import Persona
from vvae.latent.steering import Steering, check_steering
from vvae.pipeline.calibration import reaches
from vvae.pipeline.run import Run
from vvae.serving.engines import check_adapter, open_engine
from vvae.serving.session import ChatReply, ChatSession, ConversationReader

__all__ = ["MAX_NEW_TOKENS", "converse", "open_session"]

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
                "the run has no such file",
                where=str(run.path(name)),
                fix="finish it with 'vvae train CONFIG'",
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
        generation=GenerationConfig(
            temperature=temperature, top_p=top_p, max_new_tokens=MAX_NEW_TOKENS
        ),
        window_tokens=run.config.pairs.window_tokens,
        steering=steering,
        reach=reaches(run, found).__getitem__,
        seed=seed,
        shows_z=found.z != "none",
    )


def converse(
    run: Run, speaker: str | None, variant: str, steering: Steering, **settings: Any
) -> None:
    """Chats until end of input or an empty line."""
    console = Console()
    session = open_session(run, speaker, variant, steering, **settings)
    console.print(
        Text(
            f"You are talking to {session.profile.speaker} ({variant}). An empty line ends the "
            "chat.",
            "dim",
        )
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
    return (
        "  ".join(f"{name}={slot.value}{marks[slot.source]}" for name, slot in persona)
        + "   (~ sampled, ! given)"
    )
