"""The figures of how far knobs turn: python -m benchmarks.knob_figures docs/figures

Draws docs/figures/knobs.json and knobs-loop.json, an adapter of more and one of less training:
knobs-control.svg, knobs-strength.svg (dose and response), knobs-read.svg (values set against values
read) and knobs-rates.svg (of the second). What `vvae control` and `python -m benchmarks.knobs`
measured is put into one of the two files, beside what is there, by

    python -m benchmarks.knob_figures docs/figures --into knobs-loop.json \\
        --control RUN/control/SP+FT/*.json RUN/control/SP+FT/*/control.json --rates CELLS.jsonl
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.study_figures import COLOURS
from vvae.evaluation.controllability import Cell, Control, Way, adjust

WAYS = {
    "": ("training alone", COLOURS["soft"], "o"),
    "strength-1": ("strength 1", COLOURS["predicted"], "^"),
    "strength-2": ("strength 2", COLOURS["model"], "s"),
    "candidates-16": ("up to 16 candidates", COLOURS["human"], "D"),
    "strength-2-candidates-16": ("both", COLOURS["ink"], "P"),
}
DOSES = {"": 0.0, "strength-1": 1.0, "strength-2": 2.0, "strength-3": 3.0}
LEVEL = 0.05
"""Adjusted p up to which a leak is listed."""
SHOWN = (COLOURS["human"], COLOURS["model"], COLOURS["predicted"], COLOURS["ink"])


Found = dict[str, dict[str, dict[str, Any]]]
"""Way -> dimension -> what was measured."""


def gathered(files: Sequence[Path]) -> Found:
    """What some control.json hold, by way; files of one way hold different dimensions. p are
    adjusted over all of a way, as `vvae control` does over those that it measures together.
    """
    result: Found = {}
    matrices: dict[str, list[Cell]] = {}
    for path in files:
        found: Control = json.loads(path.read_text("utf-8"))
        way = Way(found["strength"], found["candidates"]).name
        matrices.setdefault(way, []).extend(found["matrix"])
        for name in found["dimensions"]:
            count = path.parent / f"{name}.candidates.json"
            result.setdefault(way, {})[name] = {
                "contexts": found["contexts"],
                "shift": found["shifts"].get(name),
                "read": found["confusion"][name],
                **(json.loads(count.read_text("utf-8")) if count.is_file() else {}),
            }
    for way, matrix in matrices.items():
        adjust(matrix)
        for cell in matrix:
            row = result[way][cell["set"]]
            if cell["set"] == cell["read"]:
                row |= {name: cell.get(name) for name in ("n", "v", "p", "p_adjusted")}
            elif cell.get("p_adjusted", 1.0) <= LEVEL:
                row.setdefault("elsewhere", {})[cell["read"]] = cell["v"]
    return result


def draw_control(more: Found, less: Found, path: Path) -> None:
    """V of each dimension, by the way in which it was set; hollow: the adapter of less training."""
    import matplotlib.pyplot as plt

    best: dict[str, float] = {}
    for of_way in (*more.values(), *less.values()):
        for name, of in of_way.items():
            best[name] = max(best.get(name, 0.0), of["v"] or 0.0)
    names = sorted(best, key=best.__getitem__)
    figure, axis = plt.subplots(figsize=(7, 0.36 * len(names) + 1.2))
    for found, filled in ((more, True), (less, False)):
        for way, (label, colour, marker) in WAYS.items():
            of_way = {name: of for name, of in found.get(way, {}).items() if of["v"] is not None}
            if of_way:
                axis.scatter(
                    [of["v"] for of in of_way.values()],
                    [names.index(name) for name in of_way],
                    edgecolors=colour,
                    facecolors=colour if filled else "white",
                    marker=marker,
                    s=42,
                    label=label,
                    zorder=3,
                )
    axis.set_yticks(range(len(names)), names)
    axis.set_xlim(-0.02, 1.02)
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel("Cramér's V between the value set and the value read")
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(reversed(labels), reversed(handles), strict=True))  # filled where there is one
    axis.legend(
        [once[label] for label, *_ in WAYS.values() if label in once],
        [label for label, *_ in WAYS.values() if label in once],
        frameon=False,
        loc="lower right",
    )
    _save(figure, path)


def draw_doses(found: Found, path: Path) -> None:
    """V by the strength of the push, a line for each dimension; diamonds: by candidates."""
    import matplotlib.pyplot as plt

    names = [name for name in found[""] if any(name in found.get(w, {}) for w in list(DOSES)[1:])]
    figure, axis = plt.subplots(figsize=(5.4, 3.6))
    last = max(dose for way, dose in DOSES.items() if way in found) + 0.6
    for name, colour in zip(names, SHOWN, strict=False):
        points = [
            (dose, found[w][name]["v"]) for w, dose in DOSES.items() if name in found.get(w, {})
        ]
        axis.plot(*zip(*points, strict=True), color=colour, marker="o", ms=4, label=name)
        if name in found.get("candidates-16", {}):
            axis.plot([last], [found["candidates-16"][name]["v"]], "D", color=colour, ms=6)
    axis.set_ylim(-0.02, 1.02)
    doses = [dose for way, dose in DOSES.items() if way in found]
    axis.set_xticks([*doses, last], ["training", *(f"{d:g}" for d in doses[1:]), "16 cand."])
    axis.set_xlabel("strength w")
    axis.set_ylabel("V, value set and value read")
    axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, path)


def draw_read(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Values set (rows) against values read, percent of a row; those read where none was set stand
    together as "other".
    """
    import matplotlib.pyplot as plt
    import numpy as np

    columns = 3
    figure, axes = plt.subplots(
        math.ceil(len(found) / columns),
        columns,
        figsize=(12, 3.6 * math.ceil(len(found) / columns)),
    )
    for axis, (name, of) in zip(axes.flat, found.items(), strict=False):
        values = list(of["read"])
        further = [*values, "other", "none read"]
        shares = np.zeros((len(values), len(further)))
        for row, value in enumerate(values):
            of_row = of["read"][value]
            for read, count in of_row.items():
                place = read if read in values else "other" if read else "none read"
                shares[row, further.index(place)] += 100 * count / sum(of_row.values())
        kept = [n for n in range(len(further)) if n < len(values) or shares[:, n].any()]
        axis.imshow(shares[:, kept], cmap="Blues", vmin=0, vmax=130, aspect="auto")
        for row, column in np.ndindex(len(values), len(kept)):
            if (share := shares[row, kept[column]]) >= 0.5:
                axis.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7)
        axis.set_xticks(range(len(kept)), [further[n] for n in kept], rotation=40, ha="right")
        axis.set_yticks(range(len(values)), values)
        axis.tick_params(labelsize=7, length=0)
        axis.set_title(name, fontsize=10)
    for axis in list(axes.flat)[len(found) :]:
        axis.set_axis_off()
    figure.tight_layout()
    _save(figure, path)


def draw_rates(cells: list[dict[str, Any]], path: Path) -> None:
    """The rate delivered by the rate asked for."""
    import matplotlib.pyplot as plt

    labels = list(dict.fromkeys(map(_label, cells)))
    ways = sorted({cell["candidates"] for cell in cells})
    size = (4.2 * len(ways), 3.8)
    figure, axes = plt.subplots(1, len(ways), figsize=size, sharey=True, squeeze=False)
    for axis, candidates in zip(axes[0], ways, strict=True):
        axis.plot([0, 50], [0, 50], color=COLOURS["soft"], lw=0.8, ls=":")
        for label, colour in zip(labels, (*SHOWN, COLOURS["soft"]), strict=False):
            own = [c for c in cells if _label(c) == label and c["candidates"] == candidates]
            if not own:
                continue
            axis.errorbar(
                [100 * cell["asked"] for cell in own],
                [100 * cell["delivered"] for cell in own],
                yerr=[196 * cell["error"] for cell in own],
                color=colour,
                marker="o",
                ms=4,
                lw=1.2,
                label=label,
            )
        title = "training alone" if candidates == 1 else f"up to {candidates} candidates"
        title += ", words put in" if candidates == 4 else ""
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("asked for, %")
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    axes[0, 0].set_ylabel("delivered, % of replies")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, bbox_inches="tight", facecolor="white", metadata={"Date": None})
    plt.close(figure)


def put_into(path: Path, control: Sequence[Path], rates: Sequence[Path]) -> None:
    """Adds what was measured to a file; the same dimension of a way is written over, and the same
    cell of rates.
    """
    kept = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    for way, of_way in gathered(control).items():
        kept.setdefault("control", {}).setdefault(way, {}).update(of_way)
    cells = {_cell(row): row for row in kept.get("rates", [])}
    for lines in rates:
        rows = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
        cells |= {_cell(row): row for row in rows}
    kept["rates"] = sorted(cells.values(), key=_cell)
    path.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _cell(row: dict[str, Any]) -> tuple[str, int, float, float]:
    return row["dimension"], row["candidates"], row["strength"], row["asked"]


def _label(row: dict[str, Any]) -> str:
    value = f": {row['value']}" if row["value"] else ""
    pushed = row["candidates"] > 1 and row["strength"]
    return str(row["dimension"]) + value + (f", strength {row['strength']:g}" if pushed else "")


def main() -> None:
    """Reads the arguments and writes the files."""
    import matplotlib

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--into", help="the file of TARGET that takes what is given")
    parser.add_argument("--control", type=Path, nargs="+", default=[], metavar="CONTROL.json")
    parser.add_argument("--rates", type=Path, nargs="+", default=[], metavar="CELLS.jsonl")
    args = parser.parse_args()
    if args.into:
        put_into(args.target / args.into, args.control, args.rates)
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "vvae", "font.size": 10})
    more, less = (
        json.loads((args.target / name).read_text("utf-8"))
        for name in ("knobs.json", "knobs-loop.json")
    )
    draw_control(more["control"], less["control"], args.target / "knobs-control.svg")
    draw_doses(more["control"], args.target / "knobs-strength.svg")
    draw_read(less["control"]["candidates-16"], args.target / "knobs-read.svg")
    draw_rates(less["rates"], args.target / "knobs-rates.svg")


if __name__ == "__main__":
    main()
