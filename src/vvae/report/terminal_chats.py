"""What is said on a terminal of chats: an import, its people, a diagnosis, a person taken out,
probes of an adapter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vvae.corpus.conversations import Survey
from vvae.corpus.explaining import Reading
from vvae.corpus.forgetting import Removed
from vvae.corpus.formats import RecognisedFile, formats
from vvae.corpus.importing import mapping_path

__all__ = [
    "print_doctor",
    "print_files",
    "print_forgotten",
    "print_import",
    "print_memorisation",
    "print_people",
    "print_readings",
]

SHOWN = 12
PARTNERS = 4
BEGINNING = 60
"""Characters that are shown of a file that is not read."""


def _table(*columns: str, title: str = "") -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def print_files(files: Sequence[RecognisedFile]) -> None:
    """Print which file was taken for what, and why; where none is a chat, how each begins."""
    console = Console()
    known = [entry for entry in files if entry.format]
    if not known:
        _print_unknown(console, files)
        return
    table = Table()
    for column in ("file", "format", "why"):
        table.add_column(column)
    for entry in known[: 4 * SHOWN]:
        table.add_row(Text(entry.file.name), entry.format, Text(entry.why))
    console.print(table)
    if len(known) > 4 * SHOWN:
        console.print(f"and {len(known) - 4 * SHOWN:,} more")
    for why, n in Counter(entry.why for entry in files if not entry.format).most_common():
        files_ = "1 file" if n == 1 else f"{n:,} files"
        console.print(f"{files_} not read: {why}", highlight=False, markup=False)


def _print_unknown(console: Console, files: Sequence[RecognisedFile]) -> None:
    """What was looked at in vain, and what for."""
    table = Table()
    for column in ("file", "bytes", "begins with", "why not read"):
        table.add_column(column, justify="right" if column == "bytes" else "left")
    for entry in files[:SHOWN]:
        begins = " ".join(entry.file.head[: 2 * BEGINNING].split())[:BEGINNING]
        table.add_row(Text(entry.file.name), f"{entry.file.size:,}", Text(begins), Text(entry.why))
    console.print(table)
    if len(files) > SHOWN:
        console.print(f"and {len(files) - SHOWN:,} more")
    console.print(f"looked for the signs of {', '.join(formats())}", highlight=False)


def print_readings(found: Sequence[Reading]) -> None:
    """Print what messages and lines were read as, with samples as they stand in the export."""
    console = Console()
    for reading in found:
        either = f" ({reading.doubtful:,} may be something else)" if reading.doubtful else ""
        console.print(
            Text.assemble(f"{reading.n:>9,}  {reading.format}: ", (reading.what, "bold"), either)
        )
        for sample in reading.samples:
            console.print(Text(f"{'':11}{sample}", "dim"), no_wrap=True, overflow="ellipsis")


def print_people(counted: Survey) -> None:
    """Print who writes, by real name, in how many chats and with whom."""
    table = _table("", "name", "messages", "chats", "with", title="Who writes")
    table.columns[1].justify = table.columns[4].justify = "left"
    for number, (name, n) in enumerate(counted.messages.most_common(4 * SHOWN), start=1):
        chats, partners = counted.company(name)
        others = ", ".join(other for other, _ in partners.most_common(PARTNERS))
        more = f" and {len(partners) - PARTNERS:,} more" if len(partners) > PARTNERS else ""
        table.add_row(str(number), Text(name), f"{n:,}", f"{chats:,}", Text(others + more))
    Console().print(table)
    if len(counted.messages) > 4 * SHOWN:
        Console().print(f"and {len(counted.messages) - 4 * SHOWN:,} more")
    if again := next((n for n in counted.messages if re.fullmatch(r".+ \(2\)", n)), None):
        name = again.removesuffix(" (2)")
        Console().print(
            Text(f"{name} stands twice: one person in several apps? Write '{name}: []' into a file")
            + Text(" and give it with --aliases")
        )


def print_import(summary: Mapping[str, Any], folder: Path) -> None:
    """Print what became of every message."""
    console = Console()
    table = _table("messages", f"{summary['messages']:,}")
    table.add_row(f"kept, in {summary['dialogues']:,} dialogues", f"{summary['kept']:,}")
    for reason, n in {**summary["left_out"], **summary["malformed"]}.items():
        table.add_row(Text(f"left out: {reason}"), f"{n:,}")
    console.print(table)
    _print_order(console, summary)
    people = _table("speaker", "messages", "turns")
    for name, counts in list(summary["speakers"].items())[:SHOWN]:
        mark = " (to be learnt)" if name in summary["learn"] else ""
        people.add_row(Text(name + mark), f"{counts['messages']:,}", f"{counts['turns']:,}")
    console.print(people)
    if len(summary["speakers"]) > SHOWN:
        console.print(f"and {len(summary['speakers']) - SHOWN:,} more")
    if summary["private"]:
        replaced = (
            ", ".join(f"{n:,} {kind}" for kind, n in summary["replaced"].items()) or "nothing"
        )
        console.print(f"replaced: {replaced}", highlight=False)
        console.print(
            f"real names: {mapping_path(folder)} (yours alone to read; delete it when you like)"
        )
    else:
        console.print("[yellow]names and numbers are as they were; keep these chats to yourself[/]")
    console.print(
        f"then: vvae doctor {folder}; vvae init mine.yaml --data {folder}", highlight=False
    )


def _print_order(console: Console, summary: Mapping[str, Any]) -> None:
    """What was put in order, what may be something else, and what --gap would change."""
    if n := summary["newest_first"]:
        console.print(f"chats told newest first, turned round: {n:,}", highlight=False)
    if n := summary["out_of_order"]:
        console.print(f"out of order, sorted by time: {n:,} messages", highlight=False)
    if n := summary["may_be_either"]:
        console.print(
            f"may be the app's own words or a person's: {n:,} messages (--explain shows some)",
            highlight=False,
        )
    if summary["left_out"].get("nobody answered"):
        gaps = ", ".join(
            f"{float(minutes) / 60:g} h {n:,}"
            for minutes, n in summary["unanswered_by_gap"].items()
        )
        console.print(
            f"nobody would have answered, if this silence ended every conversation: {gaps} "
            "(--gap MINUTES)",
            highlight=False,
        )


def print_forgotten(removals: Mapping[Path, Removed]) -> None:
    """Print what was taken out, and what must be made again."""
    console = Console()
    for folder, removed in removals.items():
        gone = (
            f", {removed.dialogues:,} dialogues left with one person removed"
            if removed.dialogues
            else ""
        )
        console.print(
            f"{folder}: {removed.turns:,} turns removed{gone}", highlight=False, markup=False
        )
        if removed.deleted:
            console.print(
                f"  deleted, made again by 'vvae run': {', '.join(removed.deleted)}",
                highlight=False,
                markup=False,
            )
        if removed.retrain:
            console.print(
                f"  must be retrained: {', '.join(removed.retrain)}", highlight=False, markup=False
            )
        if removed.untouched:
            console.print(
                f"  not looked at: the chats it was made from, {removed.untouched}; where they are "
                "a folder of 'vvae import', give that folder, too",
                style="yellow",
                highlight=False,
                markup=False,
            )
    console.print(
        "copies of adapters, cards and exports elsewhere are yours to find", style="yellow"
    )


def print_doctor(diagnosis: Mapping[str, Any]) -> None:
    """Print the diagnosis."""
    console = Console()
    corpus = diagnosis["corpus"]
    spoken = ", ".join(f"{name} {100 * share:.0f} %" for name, share in corpus["languages"].items())
    span = f"{corpus['from'][:10]} to {corpus['to'][:10]}" if corpus["from"] else "no dates"
    console.print(
        f"{corpus['dialogues']:,} dialogues, {corpus['turns']:,} turns, {corpus['messages']:,} "
        "messages of "
        f"{corpus['speakers']:,} people; {span}; {spoken}; emoji in "
        f"{100 * corpus['emoji_rate']:.1f} % of turns",
        highlight=False,
    )
    if "pairs" in diagnosis:
        _print_readings(console, diagnosis)
    for problem in diagnosis["problems"]:
        console.print(Text(f"✗ {problem}", "red"))
    for advice in diagnosis["advice"]:
        console.print(Text(f"• {advice}", "yellow"))
    if not diagnosis["problems"]:
        console.print("[green]✓ these chats can carry a persona[/]" if "pairs" in diagnosis else "")


def _print_readings(console: Console, diagnosis: Mapping[str, Any]) -> None:
    pairs = diagnosis["pairs"]
    console.print(
        f"{pairs['train']:,} training and {pairs['heldout']:,} held-out replies", highlight=False
    )
    people = Table(title="Speakers", title_justify="left")
    for column in ("speaker", "training", "in dialogues", "held out", "profile"):
        people.add_column(column, justify="left" if column in ("speaker", "profile") else "right")
    for row in diagnosis["speakers"][:SHOWN]:
        profile = ", ".join(f"{name}: {value}" for name, value in row["profile"].items()) or "–"
        people.add_row(
            Text(row["name"]),
            f"{row['train']:,}",
            str(row["train_dialogues"]),
            f"{row['heldout']:,}",
            Text(profile),
        )
    console.print(people)
    if len(diagnosis["speakers"]) > SHOWN:
        console.print(f"and {len(diagnosis['speakers']) - SHOWN:,} more")
    rates = _table(
        "dimension",
        "r",
        "predicted",
        title="How often a trait shows (r), and how often a decoder would show it",
    )
    for name, row in diagnosis["dimensions"].items():
        rates.add_row(name, f"{100 * row['r']:.1f} %", f"{100 * row['predicted']:.1f} %")
    console.print(rates)
    metrics = _table(
        "metric",
        "people",
        "replies",
        "known to",
        "decides",
        title=f"{diagnosis['benchmarked']} speakers to benchmark",
    )
    for name, row in diagnosis["metrics"].items():
        width = f"± {row['known_to_points']:.1f} points" if row["replies"] else "–"
        decides = "yes" if row["measurable"] else "no"
        metrics.add_row(
            f"{name}: {row['dimension']}", str(row["speakers"]), str(row["replies"]), width, decides
        )
    console.print(metrics)
    if not diagnosis["problems"]:
        _print_work(console, diagnosis)


def _print_work(console: Console, diagnosis: Mapping[str, Any]) -> None:
    """How long the run would take here; nothing to say of one that will be refused."""
    here, work = diagnosis["machine"], diagnosis["work"]
    power = f"{here['gflops']:,} GFLOP/s" if here["gflops"] else "torch is not installed"
    console.print(
        f"this machine: {here['gpu'] or str(here['cores']) + ' cores'}, {here['memory_gb']} GB, "
        f"{power}",
        highlight=False,
    )
    if work["seconds"]:
        console.print(
            f"the run: about {work['seconds']['all'] / 60:.0f} min and {work['memory_gb']} GB "
            f"({work['parameters'] / 1e6:,.0f} M parameters)",
            highlight=False,
        )
    else:
        console.print("how long the run takes cannot be told for this model", highlight=False)
    if (reading := diagnosis.get("reading")) and reading["pairs"]:
        here_too = f", about {reading['minutes']} min a variant here" if reading["minutes"] else ""
        console.print(
            f"z is read after about {reading['pairs']:,} training replies ({reading['sightings']} "
            f"in which the catchphrase is seen){here_too}; this config has {reading['planned']:,}",
            highlight=False,
        )


def print_memorisation(probes: Mapping[str, Any]) -> None:
    """Print the probes of an adapter."""
    console = Console()
    verbatim, member = probes["verbatim"], probes["membership"]
    table = _table("probe", "figure", "95 % interval", "n")
    for name in ("variant", "people"):
        row = verbatim[name]
        spread = f"{100 * row['low']:.1f} … {100 * row['high']:.1f} %"
        who = probes["variant"] if name == "variant" else "people"
        table.add_row(
            f"{verbatim['run']} words or more verbatim, {who}",
            f"{100 * row['share']:.1f} %",
            spread,
            str(row["n"]),
        )
    spread = f"{member['low']:.2f} … {member['high']:.2f}"
    table.add_row(
        "membership, AUC", f"{member['auc']:.2f}", spread, " + ".join(map(str, member["n"]))
    )
    console.print(table)
    if probes["canaries"]:
        ranks = _table(
            "secret planted", f"rank of {probes['secrets']}", "exposure", title="Canaries"
        )
        for canary in sorted(probes["canaries"], key=lambda canary: int(canary["times"])):
            ranks.add_row(
                f"{canary['times']} x", str(canary["rank"]), f"{canary['exposure']:.1f} bits"
            )
        console.print(ranks)
    for warning in probes["warnings"]:
        console.print(Text(f"⚠ {warning}", "yellow"))
