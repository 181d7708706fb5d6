"""From an app's export to chats: bring in, examine, take a person out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from vvae.cli.app import app

__all__: list[str] = []

DateOrder = Literal["auto", "day-first", "month-first"]


@app.command("import")
def import_chats(
    path: Annotated[
        Path, typer.Argument(help="An export as the app wrote it: a file, a folder or a zip.")
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write.")] = None,
    format: Annotated[
        str, typer.Option(help="Told from the content; or whatsapp, telegram, ... (docs).")
    ] = "auto",
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say what each file was taken for, and each line, with samples; write nothing.",
        ),
    ] = False,
    who: Annotated[
        bool, typer.Option("--who", help="List who writes, by real name, and ask whom to learn.")
    ] = False,
    learn: Annotated[
        list[str] | None, typer.Option(help="Whom to learn; all others get pseudonyms.")
    ] = None,
    aliases: Annotated[
        Path | None, typer.Option(help="File that joins the identities of a person.")
    ] = None,
    gap: Annotated[
        float | None, typer.Option(min=0.1, help="Minutes of silence that end a conversation.")
    ] = None,
    dates: Annotated[DateOrder, typer.Option(help="Only where the file does not tell.")] = "auto",
    columns: Annotated[
        str, typer.Option(help="Of a table: speaker=author,text=body,time=when.")
    ] = "",
    keep: Annotated[
        list[str] | None, typer.Option(help="Keep what a step takes out: bots, links, ...")
    ] = None,
    languages: Annotated[str, typer.Option(help="Only dialogues in these: en,zh.")] = "",
    real_names: Annotated[
        bool, typer.Option("--real-names", help="Change no names and no numbers.")
    ] = False,
    presidio: Annotated[
        str | None,
        typer.Option(
            help="Look for names and places with Presidio, too: spaCy's model, en_core_web_lg."
        ),
    ] = None,
    malformed_limit: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share that is let pass.")
    ] = 0.01,
) -> None:
    """Bring your own chats: an app's export becomes dialogues.

    Other people's names and numbers do not come along.
    """
    from vvae.core.console import console_reporter
    from vvae.corpus.explaining import readings
    from vvae.corpus.formats import Hints, find
    from vvae.corpus.importing import Intake, bring_in, read_aliases, read_columns, survey
    from vvae.report.terminal_chats import (
        print_files,
        print_import,
        print_people,
        print_readings,
    )

    files = find(path, format)
    reporter = console_reporter()
    if explain:
        print_files(files)
        with reporter.task("reading the export") as tick:
            found = readings(files, Hints(dates, read_columns(columns)), tick)
        print_readings(found)
        return
    finder = None
    if presidio:
        from vvae.corpus.privacy.presidio import presidio_finder

        finder = presidio_finder(presidio)
    options = Intake(
        hints=Hints(dates, read_columns(columns)),
        aliases=read_aliases(aliases) if aliases else {},
        learn=tuple(learn or ()),
        keep=tuple(keep or ()),
        languages=tuple(filter(None, languages.split(","))),
        gap=gap,
        private=not real_names,
        malformed_limit=malformed_limit,
        finder=finder,
    )
    with reporter.task("reading the export") as tick:
        counted = survey(files, options, tick)
    if who:
        print_people(counted)
        if not (sys.stdin.isatty() and out):
            typer.echo("Then: vvae import ... --learn NAME -o chats")
            return
        options = options.choosing(
            typer.prompt("Whom to learn (number or name, several with commas)"), counted
        )
    with reporter.task("making dialogues") as tick:
        summary = bring_in(files, out or Path("chats"), options, counted=counted, tick=tick)
    print_import(summary, out or Path("chats"))


@app.command()
def doctor(
    path: Annotated[
        Path, typer.Argument(help="Chats ('vvae import'), a config, a run, or an export.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write what was found as JSON.")] = None,
) -> None:
    """Say whether chats can carry a persona, before any model runs.

    Says too what can be measured with them, and how long training takes on this machine.
    """
    from vvae.core.console import console_reporter
    from vvae.core.files import write_json
    from vvae.evaluation.doctor import examine
    from vvae.report.terminal_chats import print_doctor

    diagnosis = examine(path, reporter=console_reporter())
    print_doctor(diagnosis)
    if out:
        write_json(out, diagnosis)


@app.command()
def forget(
    speaker: Annotated[str, typer.Argument(help="As in the chats, or the real name.")],
    folders: Annotated[list[Path], typer.Argument(help="Runs and folders of chats.")],
) -> None:
    """Take a person out of chats and runs.

    Says what must be trained again.
    """
    from vvae.corpus.forgetting import forget as take_out
    from vvae.report.terminal_chats import print_forgotten

    for folder in folders:
        print_forgotten(take_out(speaker, folder))
