"""Results and priors as tables on a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vvae.decoder.examples import Example
from vvae.encoders.llm.encoder import Plan
from vvae.latent.prior import Prior
from vvae.metrics.metric import metrics_of
from vvae.report.numbers import number, percent, points, spread
from vvae.report.verdict import of_likeness, of_nulls, used_share

__all__ = [
    "print_annotators",
    "print_audit",
    "print_claims",
    "print_dialogbench",
    "print_examples",
    "print_likeness",
    "print_plan",
    "print_positive_control",
    "print_prior",
    "print_results",
    "print_study_plan",
    "print_turing",
    "print_variant_likeness",
]

BAR = 24


def print_claims(study: Mapping[str, Any]) -> None:
    """Print the claims of a study with their verdicts; rates in points, losses in nats."""
    table = Table(title=f"{study['title']}: {study['question']}", title_justify="left")
    for column in ("claim", "estimate", "95 % interval", "n", "p adjusted", "verdict"):
        table.add_column(column, justify="left" if column in ("claim", "verdict") else "right")
    for row in study["claims"]:
        estimate = around = n = p = "–"
        if "estimate" in row:
            digits = 3 if row["unit"] == "nats" else 1
            value, low, high = (
                number(row[key], digits, signed=True) for key in ("estimate", "low", "high")
            )
            estimate, around = f"{value} {row['unit']}", f"{low} … {high}"
            n = f"{row['n']:,}"
            p = f"{row['p_adjusted']:.3f}" if "p_adjusted" in row else "–"
        colour = {"holds": "green", "does not hold": "red"}.get(row["verdict"], "yellow")
        table.add_row(Text(row["claim"]), estimate, around, n, p, Text(row["verdict"], colour))
    Console().print(table)


def print_examples(variant: str, examples: Sequence[Example]) -> None:
    """Print training replies of a variant: what stands before each, and its tokens that carry loss,
    parted by bars and on a terminal coloured.
    """
    console = Console(highlight=False, soft_wrap=True)
    for one in examples:
        what = f"{variant}, {one.pair_id}: {one.prompt_tokens} tokens before the reply, "
        console.print(Text(what + f"{one.reply_tokens} that carry loss", "bold"))
        reply = "│".join(("", *one.reply, ""))
        console.print(Text.assemble((one.prompt, "dim"), (reply, "green")))
        console.print()


def print_positive_control(cells: Mapping[str, Any], model: str) -> None:
    """Print what the cells of a positive control came to beside what they must come to."""
    table = Table(title=f"positive control, {model}", title_justify="left")
    for column in ("cell", "must be", "P", "standard error", "sightings", "other value"):
        table.add_column(column, justify="left" if column == "cell" else "right")
    for name, cell in cells.items():
        last = cell["points"][-1]
        shares = (percent(value) for value in (cell["expected"], last["p"], last["se"]))
        table.add_row(Text(name), *shares, f"{last['sightings']:,}", percent(last["other"]))
    Console().print(table)


def print_control(found: Mapping[str, Any]) -> None:
    """Print, dimension by dimension, how far a value that is set comes back."""
    way = [f"strength {found['strength']:g}"] if found["strength"] else []
    if found["candidates"] > 1:
        looked = f"up to {found['candidates']} candidates ({found['written']:.1f} in the mean)"
        way.append(looked)
    title = f"control, {found['variant']}, {found['contexts']} contexts: "
    table = Table(title=title + (", ".join(way) or "training alone"), title_justify="left")
    for column in ("set", "V", "p, adjusted", "score, deviations", "largest V elsewhere"):
        table.add_column(column, justify="left" if column == "set" else "right")
    rows = [row for row in found["matrix"] if "v" in row]
    for row in rows:
        if row["set"] != row["read"]:
            continue
        moved = found["shifts"].get(row["set"])
        others = [one for one in rows if one["set"] == row["set"] != one["read"]]
        most = max(others, key=lambda one: one["v"], default=None)
        table.add_row(
            row["set"],
            number(row["v"]),
            number(row["p_adjusted"], 3),
            number(moved["shift"], 2, signed=True) if moved else "–",
            f"{number(most['v'])} ({most['read']})" if most else "–",
        )
    Console().print(table)


def print_study_plan(title: str, plan: Mapping[str, Any]) -> None:
    """Print how well each claim of a study would be known, and which cannot be decided."""
    table = Table(title=f"{title}: what {plan['replies']:,} replies a variant can decide")
    for column in (
        "claim",
        "standard error",
        "smallest effect",
        "known from",
        "can it be decided?",
    ):
        table.add_column(column, justify="right" if "st" in column[:5] else "left")
    for row in plan["claims"]:
        error = effect = "–"
        if "error" in row:
            digits = 4 if row["unit"] == "nats" else 1
            error, effect = (
                f"{row[key]:.{digits}f} {row['unit']}" for key in ("error", "detectable")
            )
        why = row.get("why_not")
        answer = Text(f"cannot be decided here: {why}", "yellow") if why else Text("yes", "green")
        if "error" not in row:
            answer = Text("–")
        table.add_row(Text(row["claim"]), error, effect, Text(row["basis"]), answer)
    Console().print(table)
    told = ", ".join(
        f"{name} {worth:.3f}" for name, worth in plan["worth"].items() if worth >= 5e-4
    )
    Console().print(
        Text(
            f"What the profile tells of the values in a reply, in nats: {told or 'nothing'}; "
            f"{plan['told']:.4f} a token in all. A smallest effect is found in four of five "
            f"studies; {plan['speakers']} speakers."
        )
    )


def print_likeness(found: Any, different: Sequence[Any]) -> None:
    """Print how like a person's own replies a text is, and how it differs."""
    console = Console()
    for line in of_likeness(found):
        console.print(Text(line))
    for difference in different[:5]:
        console.print(Text(f"  {difference.says}"))
    if not different:
        console.print(Text("  no difference of form that is sure"))


def print_variant_likeness(found: Any, folder: Path) -> None:
    """Print how often people's own replies are more like them than each variant's."""
    table = Table(
        title="a person's own reply is more like them than one of (50 %: not to be told apart)",
        title_justify="left",
    )
    for column in ("", "share", "95 % interval", "speakers"):
        table.add_column(column, justify="left" if not column else "right")
    others = {"other people": found.told[1]} if 1 in found.told else {}
    for name, row in {**others, **found.variants}.items():
        around = f"{percent(row.low)} … {percent(row.high)}"
        table.add_row(Text(name), percent(row.value), around, str(row.speakers))
    Console().print(table)
    Console().print(Text(f"{folder / 'likeness' / 'report.html'}"), soft_wrap=True)


def print_turing(scores: Mapping[str, Any]) -> None:
    """Print how often judges picked the person, by variant and by judge."""
    table = Table(title="Judges picked the person (50 %: could not tell)", title_justify="left")
    for column in ("", "share", "95 % interval", "answers"):
        table.add_column(column, justify="left" if not column else "right")
    for name, row in scores["variants"].items():
        around = f"{percent(row['low'])} … {percent(row['high'])}"
        table.add_row(Text(name), percent(row["picked_the_person"]), around, str(row["answers"]))
    for name, row in scores["judges"].items():
        table.add_row(
            Text(f"judge {name}"), percent(row["picked_the_person"]), "", str(row["answers"])
        )
    Console().print(table)


def print_dialogbench(scores: Mapping[str, Any]) -> None:
    """Print the accuracy by task."""
    table = Table(title="DialogBench, % right", title_justify="left")
    for column in ("task", "lenient", "strict", "in every rotation", "no letter", "questions"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for name, row in [*scores["tasks"].items(), ("mean of tasks", scores)]:
        shares = (percent(row[key]) for key in ("lenient", "strict", "always", "no_letter"))
        table.add_row(Text(name), *shares, f"{row['questions']:,}")
    Console().print(table)


def print_annotators(agreement: Mapping[str, Any]) -> None:
    """Print the agreement of annotators by dimension."""
    table = Table(title=f"{len(agreement['annotators'])} annotators", title_justify="left")
    for column in ("dimension", "kappa", "same value", "kept what was filled in", "couples"):
        table.add_column(column, justify="left" if column == "dimension" else "right")
    for name, row in agreement["dimensions"].items():
        kappa = "–" if row["kappa"] is None else f"{row['kappa']:.2f}"
        table.add_row(
            name, kappa, percent(row["agreement"]), percent(row["kept"]), str(row["couples"])
        )
    Console().print(table)


def print_results(path: Path, report: Path | None = None) -> None:
    """Print the rates of results.json against people, signed deviations in points with 95 %
    intervals.
    """
    results = json.loads(path.read_text("utf-8"))
    console = Console()
    for metric in (m.name for m in metrics_of("value") if m.name in results["human"]):
        human = results["human"][metric]
        if not human["measurable"]:
            console.print(
                f"{metric}: not measurable on this corpus ({human['positives']} human positives, "
                "30 needed)"
            )
            continue
        table = Table(
            title=f"{metric}: people {percent(human['rate'])} (n = {human['replies']})",
            title_justify="left",
        )
        for column in ("variant", "rate", "deviation", "95 % interval", "predicted", "n"):
            table.add_column(column, justify="left" if column == "variant" else "right")
        for name, variant in results["variants"].items():
            rate = variant[metric]
            row = (
                percent(rate["rate"]),
                points(rate["deviation"]),
                spread(rate),
                _range(rate["predicted"], rate.get("predicted_own")),
                str(rate["n"]),
            )
            table.add_row(name, *row)
        console.print(table)
    _print_phrases(console, results)
    if primary := results.get("primary"):
        console.print(
            f"{primary['claim']}: {points(primary['difference'])} points ({spread(primary)})",
            highlight=False,
        )
    losses = "   ".join(
        f"{name} {v['loss_posterior_z']:.3f} / {v['loss_profile_z']:.3f}"
        for name, v in results["variants"].items()
    )
    console.print(f"loss, posterior z / profile z:   {losses}", highlight=False)
    if results.get("notice"):
        console.print(Text(results["notice"], "yellow"))
    if report is not None:
        print(report)  # noqa: T201


def _print_phrases(console: Console, results: Mapping[str, Any]) -> None:
    """Print the probability of the catchphrase shown, by teacher forcing, beside people's rate."""
    if not results["human"].get("CP", {}).get("measurable"):
        return
    measured = {n: f for n, v in results["variants"].items() if (f := v.get("forced"))}
    measured = {name: phrase for name, phrase in measured.items() if phrase.get("people")}
    if not measured:
        return
    table = Table(title="P(catchphrase), by teacher forcing", title_justify="left")
    for column in ("variant", "own profile", "another's", "beyond people", "95 % interval", "n"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for name, phrase in measured.items():
        beyond, low, high = (
            points(100 * phrase["people"][end]) for end in ("value", "low", "high")
        )
        own, others = percent(phrase["profile"]), percent(phrase["swapped"])
        table.add_row(name, own, others, beyond, f"{low} … {high}", str(phrase["n"]))
    console.print(table)


def print_audit(audit: Mapping[str, Any]) -> None:
    """Print the scores of an audit with 95 % intervals."""
    if audit["kind"] == "information":
        return _print_information(audit)
    against = audit["kind"] == "labels"
    names = ("precision", "recall", "f1", "coverage") if against else ("kappa", "kappa_both")
    table = Table(title=f"{audit['name']}: {audit['encoder']}", title_justify="left")
    heads = (
        "dimension",
        *names,
        *(("named", "labelled", "n") if against else ("agreement", "both", "n")),
    )
    for column in heads:
        table.add_column(column, justify="left" if column == "dimension" else "right")
    for name, scores in audit["dimensions"].items():
        cells = [_spread(scores[measure], percent=against) for measure in names]
        if against:
            counts = [scores["predicted"], scores["labelled"], scores["n"]]
        else:
            counts = [percent(scores["agreement"]), scores["both"], scores["n"]]
        table.add_row(name, *cells, *map(str, counts))
    console = Console(width=max(Console().width, 108))
    console.print(table)
    for line in of_nulls(audit["dimensions"]):
        console.print(Text(line))
    if left_out := audit.get("left_out"):
        most = sorted(left_out.items(), key=lambda item: -item[1])
        console.print(
            "left out: " + "; ".join(f"{n:,} {reason}" for reason, n in most),
            highlight=False,
            markup=False,
        )


def _print_information(audit: Mapping[str, Any]) -> None:
    table = Table(title=f"{audit['name']}: {audit['encoder']}", title_justify="left")
    heads: tuple[str, ...] = ("observed", "H", "r H", "worth to the model", "of H", "n", "another")
    heads += ("as the profile", "by chance", "n")
    for column in ("dimension", *heads):
        table.add_column(column, justify="left" if column == "dimension" else "right")
    for name, d in audit["dimensions"].items():
        table.add_row(
            name,
            percent(d["rate"]),
            f"{d['entropy']:.2f}",
            f"{d['bound']:.3f}",
            _spread(d["used"], percent=False, digits=3),
            percent(used_share(d)),
            str(d["n"]),
            str(d["changed"]),
            _spread(d["agreement"], percent=True),
            percent(d["chance"]),
            str(d["profiled"]),
        )
    for axis, a in audit.get("axes", {}).items():
        used = _spread(a["used"], percent=False, digits=3)
        table.add_row(f"all of {axis}", percent(a["rate"]), "", "", used, "", str(a["n"]))
    console = Console(width=max(Console().width, 132))
    console.print(table)
    total = sum(d["bound"] for d in audit["dimensions"].values())
    console.print(
        f"nats a reply; r H of all dimensions: {total:.2f}; another: redraws that came out as "
        "another value",
        highlight=False,
    )


def _spread(
    estimate: Mapping[str, float | None], *, percent: bool, digits: int | None = None
) -> str:
    if estimate["value"] is None:
        return "–"
    scale, usual = (100, 1) if percent else (1, 2)
    digits = usual if digits is None else digits
    value, low, high = (
        f"{scale * (estimate[name] or 0):z.{digits}f}" for name in ("value", "low", "high")
    )
    return f"{value} ({low}–{high})"


def print_plan(plan: Plan) -> None:
    """Print what encoding with a language model would take."""
    tokens = f"about {plan.prompt_tokens:,} prompt and {plan.completion_tokens:,} completion tokens"
    cost = "no price given (encoder.price)"
    if plan.cost is not None:
        cost = f"cost about {plan.cost:.2f}"
    known = f" ({plan.known:,} more are answered already)" if plan.known else ""
    Console().print(f"{plan.calls:,} calls{known}, {tokens}, {cost}", highlight=False)


def print_prior(prior: Prior, top: int) -> None:
    """Print each dimension's most frequent values with bars, and its observation rate."""
    table = Table(title=f"prior of {prior.encoder}", title_justify="left")
    for column in ("dimension", "value", "share", "count", ""):
        table.add_column(
            column, justify="right" if column in ("share", "count") else "left", overflow="fold"
        )
    for name, dimension in prior.dimensions.items():
        head = f"[bold]{name}[/]  r = {percent(dimension.rate)}"
        if not dimension.observed:
            table.add_row(head, "[dim]never observed[/]", "", "", "", end_section=True)
            continue
        values = dimension.ordered
        for row, (value, n) in enumerate(values[:top]):
            share = n / dimension.observed
            bar = "█" * round(share / (values[0][1] / dimension.observed) * BAR)
            table.add_row(
                head if row == 0 else "",
                value.replace("[", r"\["),
                percent(share),
                str(n),
                f"[blue]{bar}[/]",
            )
        rest = values[top:]
        if rest:
            n = sum(count for _, count in rest)
            table.add_row(
                "", f"[dim]{len(rest)} more[/]", percent(n / dimension.observed), str(n), ""
            )
        table.add_section()
    Console().print(table)


def _range(low: float | None, high: float | None) -> str:
    """Two predictions as one text; one where they are the same."""
    return percent(low) if high in (None, low) else f"{percent(low)} … {percent(high)}"
