"""`vvae chat` on a terminal: reads lines, prints bursts as separate lines, and the z of each reply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from vvae import records
from vvae.chat import ChatReply, ChatSession, check_knobs
from vvae.encoder.rules import RulesEncoder
from vvae.engine import GenerationConfig
from vvae.errors import ConfigError, DataError
from vvae.persona import Persona
from vvae.prompt import PROMPT_VERSION
from vvae.run import Run

__all__ = ["converse", "open_session"]

MAX_NEW_TOKENS = 120


def open_session(
    run: Run,
    speaker: str | None,
    variant: str,
    given: Mapping[str, str],
    modes: Mapping[str, Any],
    *,
    temperature: float,
    top_p: float,
    seed: int,
) -> ChatSession:
    """A session over a finished run.

    Raises:
        DataError: a file of the run is missing.
        ConfigError: the speaker, the variant, a dimension or a label is unknown.
    """
    found = next((v for v in run.variants if v.name == variant), None)
    if found is None or not found.trained:
        names = ", ".join(v.name for v in run.variants if v.trained)
        raise ConfigError(f"no trained variant {variant!r}", where="--variant", fix=f"choose from {names or 'none'}")
    for name in ("encoder.json", "prior.json", "profiles.parquet", f"adapters/{variant}/vvae.json"):
        if not run.path(name).exists():
            raise DataError(
                "the run has no such file", where=str(run.path(name)), fix="finish it with 'vvae train CONFIG'"
            )
    if speaker is None:
        speaker = max(run.profiles, key=lambda name: (run.profiles[name].replies, name))
    matches = [name for name in run.profiles if name == speaker] or [n for n in run.profiles if n.startswith(speaker)]
    if len(matches) != 1:
        best = sorted(run.profiles, key=lambda n: -run.profiles[n].replies)[:5]
        what = f"{len(matches)} speakers are" if matches else "no speaker is"
        raise ConfigError(f"{what} named {speaker!r}", where="--speaker", fix=f"for example {', '.join(best)}")
    encoder = RulesEncoder.from_state(run.path("encoder.json").read_text("utf-8"))
    check_knobs(run.space, given, modes)
    made = json.loads(run.path(f"adapters/{variant}/vvae.json").read_text("utf-8"))
    if made["prior"] != records.digest(run.path("prior.json")) or made["prompt_version"] != PROMPT_VERSION:
        raise DataError(
            "the adapter was trained on other data", where=str(run.folder), fix="finish it with 'vvae train'"
        )
    decoder = run.with_adapter(found)
    return ChatSession(
        decoder=decoder,
        engine=decoder.engine,
        space=run.space,
        prior=run.prior,
        profile=run.profiles[matches[0]],
        encoder=encoder,
        generation=GenerationConfig(temperature=temperature, top_p=top_p, max_new_tokens=MAX_NEW_TOKENS),
        window_tokens=run.config.pairs.window_tokens,
        seed=seed,
        given=given,
        modes=modes,
        shows_z=found.z != "none",
    )


def converse(
    run: Run, speaker: str | None, variant: str, given: Mapping[str, str], modes: Mapping[str, Any], **settings: Any
) -> None:
    """Chats until end of input or an empty line."""
    console = Console()
    session = open_session(run, speaker, variant, given, modes, **settings)
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


def _described(persona: Persona) -> str:
    marks = {"sampled": "~", "given": "!", "observed": ""}
    return "  ".join(f"{name}={slot.value}{marks[slot.source]}" for name, slot in persona) + "   (~ sampled, ! given)"
