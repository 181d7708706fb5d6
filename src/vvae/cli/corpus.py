"""From an app's export to chats: bring in, examine, take a person out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from vvae.cli.app import app, example

__all__: list[str] = []

DateOrder = Literal["auto", "day-first", "month-first"]


@app.command(
    "import", epilog=example('vvae import "WhatsApp Chat with Ben.txt" --learn Ana -o chats')
)
def import_chats(
    path: Annotated[
        Path, typer.Argument(help="An export as the app wrote it: a file, a folder or a zip.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write; 'chats' by default.")
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="Format of the export: whatsapp, telegram, ...; auto tells it by the content."
        ),
    ] = "auto",
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show what each file and each line would be taken for, and write nothing.",
        ),
    ] = False,
    who: Annotated[
        bool,
        typer.Option(
            "--who", help="List who writes, by real name, and on a terminal ask whom to learn."
        ),
    ] = False,
    learn: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Somebody to learn to talk like (give it again for more people); all others get "
            "pseudonyms.",
        ),
    ] = None,
    aliases: Annotated[
        Path | None,
        typer.Option(help="YAML file that says which names are one person: Ana: [Ana Work]."),
    ] = None,
    gap: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Minutes of silence that end a conversation; told from the chats by default.",
        ),
    ] = None,
    dates: Annotated[
        DateOrder,
        typer.Option(
            help="Whether dates begin with the day or the month, if the file leaves it open."
        ),
    ] = "auto",
    columns: Annotated[
        str,
        typer.Option(help="Which columns of a table are what: speaker=author,text=body,time=when."),
    ] = "",
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP",
            help="Keep what is left out otherwise: bots, forwarded, links or duplicates.",
        ),
    ] = None,
    languages: Annotated[
        str, typer.Option(help="Bring in only dialogues in these languages: en,zh; all by default.")
    ] = "",
    real_names: Annotated[
        bool, typer.Option("--real-names", help="Leave all names and numbers as they are.")
    ] = False,
    presidio: Annotated[
        str | None,
        typer.Option(
            help="Also replace names and places that Presidio finds with this model of spaCy's: "
            "en_core_web_lg."
        ),
    ] = None,
    malformed_limit: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Largest share of malformed messages that is let pass."
        ),
    ] = 0.01,
) -> None:
    """Turn an app's export into chats to learn from.

    Other people's names and numbers do not come along.
    """
    from vvae.core.console import console_reporter
    from vvae.corpus.explaining import readings
    from vvae.corpus.formats import Hints, look, some_chat
    from vvae.corpus.importing import (
        Intake,
        bring_in,
        dialogues_of_import,
        read_aliases,
        read_columns,
        survey,
    )
    from vvae.report.terminal_chats import (
        print_files,
        print_import,
        print_people,
        print_readings,
    )

    files = look(path, format)
    if explain:
        print_files(files)
    some_chat(path, files)
    reporter = console_reporter()
    if explain:
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
    folder = out or Path("chats")
    if (n := dialogues_of_import(folder)) is not None:
        reporter.say(
            f"{folder} holds an earlier import (dialogues: {n:,}), to be replaced by this one; "
            "-o FOLDER keeps both"
        )
    with reporter.task("making dialogues") as tick:
        summary = bring_in(files, folder, options, counted=counted, tick=tick)
    print_import(summary, folder)


@app.command(epilog=example("vvae doctor chats"))
def doctor(
    path: Annotated[
        Path, typer.Argument(help="Folder of 'vvae import', a config, a run, or an app's export.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write the findings to, as JSON.")
    ] = None,
) -> None:
    """Say whether chats can carry a persona, before any model runs.

    Also says what can be measured with them, and how long training takes on this machine. The exit
    code is 1 where 'vvae run' would refuse them.
    """
    from vvae.core.console import console_reporter
    from vvae.core.files import write_json
    from vvae.evaluation.doctor import examine
    from vvae.report.terminal_chats import print_doctor

    diagnosis = examine(path, reporter=console_reporter())
    print_doctor(diagnosis)
    if out:
        write_json(out, diagnosis)
    if diagnosis["problems"]:
        raise typer.Exit(1)


@app.command(epilog=example("vvae forget Ben runs/chats"))
def forget(
    speaker: Annotated[
        str, typer.Argument(help="The person, by the name in the chats or by the real name.")
    ],
    folders: Annotated[
        list[Path], typer.Argument(help="Runs and folders of chats to take the person out of.")
    ],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask first; only a terminal is asked at all.")
    ] = False,
) -> None:
    """Take a person out of chats and runs, for good.

    Says what must be trained again.
    """
    from vvae.corpus.forgetting import forget as take_out
    from vvae.report.terminal_chats import print_forgotten

    if sys.stdin.isatty() and not yes:
        places = ", ".join(map(str, folders))
        question = f"Take {speaker} out of {places}, and delete what was made from it, for good?"
        if not typer.confirm(question):
            typer.echo("nothing was changed")
            raise typer.Exit(1)
    for folder in folders:
        print_forgotten(take_out(speaker, folder))
