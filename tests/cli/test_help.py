"""Help as a stranger reads it: panels, a sentence for each option, an example that can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

import vvae.cli.main  # noqa: F401 -- adds the commands
from tests.support.runs import vvae as run_vvae
from vvae.cli.app import FIRST_STEPS, PANELS, app

TREE: Any = typer.main.get_command(app)


def leaves(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that lead to it."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from leaves(inner, *path, name)


COMMANDS = dict(leaves(TREE))
commands = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def parse(line: str) -> tuple[tuple[str, ...], Any]:
    """The command that a line names and the context it was parsed into; nothing is run."""
    program, *words = shlex.split(line)
    assert program == "vvae"
    command, path = TREE, tuple[str, ...]()
    while hasattr(command, "commands"):
        path = (*path, words.pop(0))
        command = command.commands[path[-1]]
    return path, command.make_context(" ".join(path), words)


@commands
def test_help_ends_with_an_example_that_the_commands_own_parser_takes(
    path: tuple[str, ...],
) -> None:
    (line,) = re.findall(r"^  Example:  (.+)$", COMMANDS[path].get_help(context(path)), re.M)
    assert parse(line)[0] == path


@commands
def test_each_option_and_argument_says_what_it_is(path: tuple[str, ...]) -> None:
    for param in COMMANDS[path].params:
        words = (param.help or "").split()
        assert len(words) >= 3, param.name
        assert not param.help.startswith("Of "), param.name


def context(path: tuple[str, ...]) -> Any:
    return typer.Context(COMMANDS[path], info_name=" ".join(("vvae", *path)))


def test_every_command_stands_in_one_panel_and_none_is_lost() -> None:
    text = run_vvae("--help").stdout
    titles = re.findall(r"^(\w[\w ]*):$", text, re.M)
    assert titles == ["Options", *PANELS]
    for name in TREE.commands:
        assert len(re.findall(rf"^  {name} ", text, re.M)) == 1, name


def test_a_command_that_has_no_panel_yet_is_listed_at_the_end() -> None:
    extended = typer.Typer(cls=type(TREE), rich_markup_mode=None)
    extended.command("brand-new")(lambda: None)
    extended.command("serve")(lambda: None)
    tree: Any = typer.main.get_command(extended)
    text = tree.get_help(typer.Context(tree))
    assert text.index("Start:") < text.index("serve") < text.index("More:")
    assert text.index("More:") < text.index("brand-new")


def test_vvae_alone_says_the_first_steps() -> None:
    said = run_vvae()
    assert (said.returncode, said.stdout.strip()) == (0, FIRST_STEPS.strip())
    steps = re.findall(r"vvae \w+ .*-?\S+$", FIRST_STEPS.rpartition("\n\n")[0], re.M)
    assert [parse(step)[0] for step in steps] == [("import",), ("init",), ("run",), ("chat",)]
