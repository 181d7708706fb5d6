"""The commands' tree; each group of commands adds its own."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

__all__ = ["FIRST_STEPS", "app", "audit_app", "card_app", "engine_app", "example", "prior_app"]

PANELS = {
    "Start": ("import", "doctor", "init", "run", "chat", "serve", "demo-chat"),
    "Stages": ("encode", "prior", "train", "bench", "report", "analyze", "engine"),
    "Ask": ("study", "control", "score", "turing", "privacy", "audit", "dialogbench"),
    "Hand on": ("card", "export"),
    "People": ("collect", "forget"),
}
"""Commands by what people want of them; help lists one that stands nowhere here at its end."""
FIRST_STEPS = """\
Chat models that talk like particular people. From an app's export to a model that chats:

  1. Bring in  vvae import "WhatsApp Chat with Ben.txt" --learn Ana -o chats
  2. Train     vvae init mine.yaml --data chats
               vvae run mine.yaml
  3. Talk      vvae chat runs/chats --speaker Ana

All commands: vvae --help. What one does, with an example: vvae import --help."""
"""What `vvae` alone says."""


class _Panels(TyperGroup):
    """The commands in panels, in plain text: help does not wait for rich."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the panels, then those that stand in none."""
        names = super().list_commands(ctx)
        placed = [name for panel in PANELS.values() for name in panel if name in names]
        return [*placed, *(name for name in names if name not in placed)]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each panel that has commands."""
        commands = {name: self.commands[name] for name in self.list_commands(ctx)}
        commands = {name: command for name, command in commands.items() if not command.hidden}
        placed = {name for panel in PANELS.values() for name in panel}
        width = max(map(len, commands))
        for title, panel in {**PANELS, "More": commands.keys() - placed}.items():
            rows = [
                (name.ljust(width), command.get_short_help_str(formatter.width - 6 - width))
                for name, command in commands.items()
                if name in panel
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def example(command: str) -> str:
    r"""Return the end of a command's help: an example, which `\b` keeps as it is."""
    return f"\b\nExample:  {command}"


app = typer.Typer(
    cls=_Panels,
    context_settings={"max_content_width": 100},
    help="Chat models that talk like particular people, with knobs one can read (V-VAE).",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
prior_app = typer.Typer(
    help="Count and show the prior p(z): how often people show a trait.", no_args_is_help=True
)
app.add_typer(prior_app, name="prior")
audit_app = typer.Typer(
    help="Measure how far an encoder's readings can be trusted.", no_args_is_help=True
)
app.add_typer(audit_app, name="audit")
card_app = typer.Typer(
    help="Write and read character cards (V2 and V3, JSON or PNG).", no_args_is_help=True
)
app.add_typer(card_app, name="card")
engine_app = typer.Typer(
    help="Run a model's server on this machine, for an encoder to ask.", no_args_is_help=True
)
app.add_typer(engine_app, name="engine")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vvae {version('vvae')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(FIRST_STEPS)
