"""The figures of docs/findings.md from a study: python benchmarks/study_figures.py RUN/studies/NAME
docs/figures

Writes study-NAME.json (claims, measures and figures of replies, as they are) and study-NAME.svg;
with --habits also study-NAME-habits.svg. Of a positive control it writes the points of its cells.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from vvae.report import figures
from vvae.report.pages import PANELS

COLOURS = {
    "ink": "#1f2937",
    "soft": "#4b5563",
    "human": "#b45309",
    "model": "#1d4ed8",
    "span": "#3b82f6",
    "predicted": "#047857",
}
"""Of a report's page in light: a figure by itself has no page that says them."""


def alone(svg: str) -> str:
    """Return a figure of a report's page that can be looked at by itself, on white."""
    painted = re.sub(r"var\(--(\w+)\)", lambda name: COLOURS[name[1]], svg)
    return re.sub(r"(<svg [^>]*)>", r'\1 style="background: #fff">', painted, count=1)


def main() -> None:
    """Reads the arguments and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--habits", action="store_true")
    arguments = parser.parse_args()
    name = f"study-{arguments.study.name}"
    cells = arguments.study / "cells.json"
    found: dict[str, Any]
    if cells.is_file():
        found = json.loads(cells.read_text("utf-8"))
        drawn = {name: figures.positive_control(found["cells"])}
    else:
        found = json.loads((arguments.study / "claims.json").read_text("utf-8"))
        drawn = {name: figures.measures(found, PANELS)}
        if arguments.habits:
            drawn[f"{name}-habits"] = figures.habits(found["habits"])
    (arguments.target / f"{name}.json").write_text(
        json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8"
    )
    for file, svg in drawn.items():
        (arguments.target / f"{file}.svg").write_text(alone(svg), "utf-8")


if __name__ == "__main__":
    main()
