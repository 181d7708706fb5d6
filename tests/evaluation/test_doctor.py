"""What is said of chats before any model runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.exports import Line, android, table
from tests.support.runs import write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.core.errors import DataError
from vvae.evaluation.doctor import examine, half_width
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages


def test_it_says_what_the_run_will_say(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    config = write_config(tmp_path, corpus, tiny_model)
    found = examine(config)
    assert not (tmp_path / "run").exists(), "nothing is left"
    run = Run(load_config(config))
    run_stages(run, until="profiles")
    assert found["corpus"]["dialogues"] == 48
    assert found["pairs"]["train"] == sum(p.split == "train" for p in run.pairs)
    for name, row in found["dimensions"].items():
        assert row["r"] == pytest.approx(run.prior[name].rate, abs=1e-4)
        assert row["predicted"] == pytest.approx(row["r"], abs=1e-4), "at s = 1"
    shown = {row["name"]: row["profile"] for row in found["speakers"]}
    for speaker, profile in run.profiles.items():
        assert shown[speaker] == {name: ranked[0].value for name, ranked in profile.values.items()}
    assert found["benchmarked"] == len(run.speakers)
    assert found["metrics"]["CP"]["speakers"] == 3, "dan has no catchphrase"
    assert (found["work"]["parameters"] or 0) > 1000
    assert set(found["work"]["seconds"] or ()) >= {"train SP+FT", "replies", "likelihoods", "all"}
    assert not found["metrics"]["CP"]["measurable"]
    reading = found["reading"]
    assert reading["planned"] == 24
    assert reading["pairs"] == round(reading["sightings"] / run.prior["catchphrase"].rate)
    assert any("z is hardly read after 24" in line for line in found["advice"])


def test_chats_that_are_too_small_are_told_what_to_do(tmp_path: Path) -> None:
    rows = [
        Line(
            ("Ana", "Ben")[i % 2], 1_579_996_800 + 60 * i, f"hola amiga mía, qué tal estás hoy {i}"
        )
        for i in range(6)
    ]
    found = examine(android(tmp_path, rows))
    assert found["corpus"]["speakers"] == 2
    assert found["corpus"]["from"] == "2020-01-26T00:00:00"
    assert found["problems"]
    assert all(
        "Ana" not in json.dumps(part) for part in (found["problems"], found.get("speakers", []))
    )
    with pytest.raises(DataError):
        examine(tmp_path / "nowhere")


def test_whom_the_import_learns_is_whom_the_doctor_looks_at(tmp_path: Path) -> None:
    from vvae.corpus.formats import find
    from vvae.corpus.importing import Intake, bring_in

    rows = [
        Line(
            ("Ana", "Ben")[i % 2],
            1_579_996_800 + 86_400 * (i // 8) + 60 * i,
            f"well well {i}, what now?",
        )
        for i in range(400)
    ]
    bring_in(find(table(tmp_path, rows)), tmp_path / "chats", Intake(learn=("Ana",)))
    found = examine(tmp_path / "chats")
    assert [row["name"] for row in found["speakers"]] == ["Ana"]


def test_how_well_a_rate_is_known() -> None:
    assert half_width(0.5, 100) == pytest.approx(9.8)
    assert half_width(0.0, 0) == 100
    assert half_width(0.0, 100) > 1, "a rate of nought is not known for sure"
