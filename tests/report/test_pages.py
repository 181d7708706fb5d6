"""Pages of what was measured, as the docs keep it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vvae.config import RunConfig
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import count
from vvae.latent.space import load_space
from vvae.metrics.results import Results
from vvae.report.figures import prior, set_and_read
from vvae.report.pages import build_report, build_study
from vvae.report.terminal import print_results

pytest.importorskip("matplotlib")

FIGURES = Path(__file__).parents[2] / "docs/figures"


@pytest.mark.parametrize("name", ["variants", "ablation", "imputation"])
def test_each_variant_of_a_study_has_its_row(name: str) -> None:
    """Also one whose name has a dot, as SP+FT@0.25."""
    study = json.loads((FIGURES / f"study-{name}.json").read_text("utf-8"))
    page = build_study(study)
    rows = re.findall(r'<th scope="row">([^<]+)</th>', page.split("Measure by measure")[1])
    assert rows[: len(study["variants"]) + 1] == ["people", *study["variants"]]


def test_a_value_with_dollar_signs_is_no_formula() -> None:
    phrase = r"$10 \to $20"
    drawn = set_and_read({phrase: {phrase: 3, "": 1}, "so": {"so": 4}})
    assert drawn.count(f">{phrase}</text>") == 2, "set and read"
    prior_of = count(
        [Persona({"catchphrase": Slot(phrase, "observed")})] * 4,
        load_space(),
        encoder="e",
        corpus="c",
    )
    assert f">{phrase}</text>" in prior(prior_of, load_space())


@pytest.mark.parametrize("name", ["demo", "demo-again", "gpu-12800"])
def test_results_of_earlier_versions_have_a_page(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = json.loads((FIGURES / f"{name}-results.json").read_text("utf-8"))
    results = Results.model_validate(stored)
    space = load_space()
    corpus = EncodedCorpus({}, [], {}, count([], space, encoder="e", corpus="c"), {}, space)
    page = build_report(results, corpus, [], RunConfig())
    for variant in stored["variants"]:
        assert f'<th scope="row">{variant}</th>' in page
    print_results(FIGURES / f"{name}-results.json")
    assert "P+FT" in capsys.readouterr().out
