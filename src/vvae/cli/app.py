"""The commands' tree; each group of commands adds its own."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

__all__ = ["app", "audit_app", "card_app", "engine_app", "prior_app"]

ORDER = (
    *("init", "import", "doctor", "run", "chat", "serve", "card", "export"),
    *("encode", "prior", "train", "bench", "report", "analyze"),
    *("study", "control", "turing", "privacy", "audit", "dialogbench"),
    *("collect", "forget", "engine"),
)
"""Commands in the order in which help lists them: first what everybody needs."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    cls=_InOrder,
    context_settings={"max_content_width": 100},
    help="Chat models that talk like particular people, with knobs one can read (V-VAE).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
prior_app = typer.Typer(help="The empirical prior p(z).", no_args_is_help=True)
app.add_typer(prior_app, name="prior")
audit_app = typer.Typer(help="How far an encoder can be trusted.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")
card_app = typer.Typer(help="Character cards, V2 and V3, as JSON or PNG.", no_args_is_help=True)
app.add_typer(card_app, name="card")
engine_app = typer.Typer(help="A model's server on this machine.", no_args_is_help=True)
app.add_typer(engine_app, name="engine")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vvae {version('vvae')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass
