"""The figures of how far knobs turn: python -m benchmarks.knob_figures RUN knobs.jsonl docs/figures

RUN/control/SP+FT holds what `vvae control` measured, in each way; knobs.jsonl is what
`python -m benchmarks.knobs RUN` printed. Writes knobs.json (the figures drawn), knobs-control.svg,
knobs-strength.svg (dose and response) and knobs-rates.svg.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from benchmarks.study_figures import COLOURS
from vvae.decoder.variants import DEFAULT_VARIANT

WAYS = {
    "": ("training alone", COLOURS["soft"], "o"),
    "strength-1": ("strength 1", COLOURS["predicted"], "^"),
    "strength-2": ("strength 2", COLOURS["model"], "s"),
    "candidates-16": ("up to 16 candidates", COLOURS["human"], "D"),
}
DOSES = {"": 0.0, "strength-1": 1.0, "strength-2": 2.0, "strength-3": 3.0}
SHOWN = (COLOURS["human"], COLOURS["model"], COLOURS["predicted"], COLOURS["ink"])


def controlled(run: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Way -> dimension -> V of the dimension itself, its p, the largest V elsewhere, n."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for way in WAYS:
        path = run / "control" / DEFAULT_VARIANT / way / "control.json"
        if not path.is_file():
            continue
        found = json.loads(path.read_text("utf-8"))
        rows = [row for row in found["matrix"] if "v" in row]
        result[way] = {}
        for row in rows:
            if row["set"] == row["read"]:
                others = [r["v"] for r in rows if r["set"] == row["set"] != r["read"]]
                result[way][row["set"]] = {
                    "v": row["v"],
                    "p": row["p_adjusted"],
                    "elsewhere": max(others, default=0.0),
                    "n": row["n"],
                }
    return result


def draw_control(found: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """V of each dimension, by the way in which it was set."""
    import matplotlib.pyplot as plt

    names = sorted(found[""], key=lambda name: found[""][name]["v"])
    figure, axis = plt.subplots(figsize=(7, 0.42 * len(names) + 1.2))
    for way, (label, colour, marker) in WAYS.items():
        points = [(of["v"], names.index(name)) for name, of in found.get(way, {}).items()]
        if points:
            x, y = zip(*points, strict=True)
            axis.scatter(x, y, color=colour, marker=marker, s=42, label=label, zorder=3)
    axis.set_yticks(range(len(names)), names)
    axis.set_xlim(-0.02, 1.02)
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel("Cramér's V between the value set and the value read")
    axis.legend(frameon=False, loc="lower right")
    _save(figure, path)


def draw_doses(found: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
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


def draw_rates(cells: list[dict[str, Any]], path: Path) -> None:
    """The rate delivered by the rate asked for."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(cell["dimension"] for cell in cells))
    ways = sorted({cell["candidates"] for cell in cells})
    size = (4.2 * len(ways), 3.8)
    figure, axes = plt.subplots(1, len(ways), figsize=size, sharey=True, squeeze=False)
    for axis, candidates in zip(axes[0], ways, strict=True):
        axis.plot([0, 50], [0, 50], color=COLOURS["soft"], lw=0.8, ls=":")
        for name, colour in zip(names, SHOWN, strict=False):
            own = [
                cell
                for cell in cells
                if cell["dimension"] == name and cell["candidates"] == candidates
            ]
            if not own:
                continue
            value = f": {own[0]['value']}" if own[0]["value"] else ""
            axis.errorbar(
                [100 * cell["asked"] for cell in own],
                [100 * cell["delivered"] for cell in own],
                yerr=[196 * cell["error"] for cell in own],
                color=colour,
                marker="o",
                ms=4,
                lw=1.2,
                label=name + value,
            )
        title = "training alone" if candidates == 1 else f"up to {candidates} candidates"
        title += ", words put in" if candidates == 4 else ""
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("asked for, %")
    axes[0, 0].set_ylabel("delivered, % of replies")
    axes[0, 0].legend(frameon=False, fontsize=8)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, bbox_inches="tight", facecolor="white", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Reads the arguments and writes the files."""
    import matplotlib

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "vvae", "font.size": 10})
    cells = [json.loads(line) for line in args.cells.read_text("utf-8").splitlines()]
    found = controlled(args.run)
    body = {"control": found, "rates": cells}
    assert all(math.isfinite(cell["delivered"]) for cell in cells)
    text = json.dumps(body, ensure_ascii=False, indent=1)
    (args.target / "knobs.json").write_text(text + "\n", "utf-8")
    draw_control(found, args.target / "knobs-control.svg")
    draw_doses(found, args.target / "knobs-strength.svg")
    draw_rates(cells, args.target / "knobs-rates.svg")


if __name__ == "__main__":
    main()
