"""Pages of what was measured, as the docs keep it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vvae.report.pages import build_study

FIGURES = Path(__file__).parents[2] / "docs/figures"


@pytest.mark.parametrize("name", ["variants", "ablation", "imputation"])
def test_each_variant_of_a_study_has_its_row(name: str) -> None:
    """Also one whose name has a dot, as SP+FT@0.25."""
    study = json.loads((FIGURES / f"study-{name}.json").read_text("utf-8"))
    page = build_study(study)
    rows = re.findall(r'<th scope="row">([^<]+)</th>', page.split("Measure by measure")[1])
    assert rows[: len(study["variants"]) + 1] == ["people", *study["variants"]]
