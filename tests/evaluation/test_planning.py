"""What a study can decide, before it is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.runs import vvae, write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.core.reporting import Silent
from vvae.evaluation.planning import plan_study
from vvae.evaluation.study import Study
from vvae.metrics.claims import detectable
from vvae.pipeline.run import Run

CLAIMS = [
    {
        "claim": "near",
        "measure": "CP",
        "how": "distance",
        "of": "SP+FT",
        "against": "P+FT",
        "expect": "below",
        "primary": True,
    },
    {
        "claim": "within half a point",
        "measure": "CP",
        "how": "deviation",
        "of": "SP+FT",
        "expect": "equal",
        "margin": 0.5,
    },
    {"claim": "longer", "measure": "length", "of": "SP+FT", "expect": "above", "than": 1},
    {
        "claim": "reads z",
        "measure": "loss_profile_z",
        "of": "SP+FT",
        "against_measure": "loss_swapped_z",
        "expect": "below",
    },
]


@pytest.fixture
def study() -> Study:
    return Study.model_validate(
        {
            "title": "A plan",
            "question": "?",
            "seeds": 2,
            "variants": ["P+FT", "SP+FT"],
            "claims": CLAIMS,
        }
    )


def test_people_say_what_can_be_decided_and_nothing_is_trained(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path, study: Study
) -> None:
    bench = {"replies": 40, "per_speaker": 30, "swapped": 0, "losses": 1, "forced": 1}
    config = load_config(write_config(tmp_path, corpus, tiny_model, bench=bench))
    plan = plan_study("plan", study, config, reporter=Silent())
    rows = {row["claim"]: row for row in plan["claims"]}
    assert plan["replies"] == 80
    assert rows["near"]["error"] > 0
    assert rows["near"]["detectable"] == pytest.approx(
        detectable(rows["near"]["error"], 0.04), rel=1e-3
    )
    assert rows["within half a point"]["why_not"] == "3 speakers are too few, 10 are needed"
    assert rows["longer"]["unit"] == "words"
    assert "error" not in rows["reads z"], "people's replies tell no loss"
    run = Run(config)
    assert not run.path("adapters").exists()
    assert plan["worth"]["catchphrase"] > plan["worth"]["nickname"] == 0
    assert plan["told"] > 0


def test_an_earlier_run_says_more_and_the_same_plan_is_printed(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    path = write_config(tmp_path, corpus, tiny_model)
    study = tmp_path / "mine.yaml"
    study.write_text(
        "title: Mine\nquestion: '?'\nseeds: 1\nvariants: [P+FT]\nclaims:\n"
        "  - {claim: reads z, measure: loss_profile_z, of: P+FT, "
        "against_measure: loss_swapped_z, expect: below}\n"
    )
    before = vvae("study", str(study), str(path), "--plan")
    assert before.returncode == 0, before.stderr
    assert "run it once" in " ".join(before.stdout.split())
    made = vvae("study", str(study), str(path))
    assert made.returncode == 0, made.stderr
    after = vvae("study", str(study), str(path), "--plan")
    assert "measured before" in " ".join(after.stdout.split())
    refused = vvae("study", "positive-control", str(path), "--plan")
    assert refused.returncode == 2
    assert "no claims to plan" in refused.stderr
