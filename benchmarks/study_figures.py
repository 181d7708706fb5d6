"""The figures of docs/findings.md from a study: python benchmarks/study_figures.py RUN/studies/NAME
docs/figures

Writes study-NAME.json (claims, measures and figures of replies, as they are) and study-NAME.svg;
with --habits also study-NAME-habits.svg.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vvae.report import figures
from vvae.report.pages import PANELS


def main() -> None:
    """Reads the arguments and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--habits", action="store_true")
    arguments = parser.parse_args()
    found = json.loads((arguments.study / "claims.json").read_text("utf-8"))
    name = f"study-{arguments.study.name}"
    drawn = {name: figures.measures(found, PANELS)}
    if arguments.habits:
        drawn[f"{name}-habits"] = figures.habits(found["habits"])
    (arguments.target / f"{name}.json").write_text(
        json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8"
    )
    for file, svg in drawn.items():
        (arguments.target / f"{file}.svg").write_text(svg, "utf-8")


if __name__ == "__main__":
    main()
