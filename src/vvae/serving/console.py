"""`vvae chat` on a terminal: reads lines, prints bursts as separate lines,
and the z of each reply.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from vvae.latent.steering import Steering
from vvae.pipeline.run import Run
from vvae.serving.chat import open_session
from vvae.serving.session import ChatReply

__all__ = ["converse"]


def converse(
    run: Run, speaker: str | None, variant: str, steering: Steering, **settings: Any
) -> None:
    """Chat on the terminal until end of input or an empty line."""
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
            line = console.input("[bold]you[/] ")
        except EOFError:
            break
        if not line.strip():
            break
        with console.status("typing"):
            reply = session.reply(line)
        _show(console, session.profile.speaker, reply)


def _show(console: Console, speaker: str, reply: ChatReply) -> None:
    for message in reply.messages or ("…",):
        console.print(Text.assemble((f"{speaker[:12]} ", "bold cyan"), message))
    console.print(Text(f"  z  {reply.z}   (~ drawn)", style="dim"))
    if strengths := reply.steered.strengths:
        pushed = ", ".join(f"{name} by {strength:g}" for name, strength in strengths.items())
        console.print(Text(f"  »  pushed: {pushed}", style="dim"))
    if taken := reply.accepted:
        missed = [name for name in reply.steered.demands if name not in taken.met]
        met = f": misses {', '.join(missed)}" if missed else ""
        sign, number = "✗" if missed else "✓", f"reply {taken.number + 1} of {taken.written}"
        console.print(Text(f"  {sign}  {number} written{met}", style="dim"))
    for note in reply.steered.notes:
        console.print(Text(f"  !  {note}", style="dim"))
