"""Probes of what an adapter has kept."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runs import write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue, Message, Turn
from vvae.core.random import index_below
from vvae.evaluation.memorisation import CHANCE, SECRETS, canary, exposure, probe
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages


def test_exposure_by_hand() -> None:
    assert exposure(1) == 7 == math.log2(SECRETS)
    assert exposure(SECRETS) == 0
    assert pytest.approx(1.4, abs=0.01) == CHANCE


def test_secrets_are_keyed_and_differ() -> None:
    codes = {canary(number, secret, 0) for number in range(4) for secret in range(SECRETS)}
    assert len(codes) > 4 * SECRETS - 5
    assert all(re.fullmatch(r"the code is \d{6}", code) for code in codes)
    assert canary(1, 2, 3) == canary(1, 2, 3)


WORDS = [
    "red",
    "cat",
    "sun",
    "run",
    "sky",
    "bed",
    "cup",
    "hat",
    "map",
    "pen",
    "fox",
    "box",
    "dog",
    "log",
    "sea",
    "tea",
    "bus",
    "car",
    "jam",
    "ham",
]


def random_talk(number: int) -> Dialogue:
    """A dialogue in which no reply can be guessed from others."""
    said = (
        " ".join(WORDS[index_below(len(WORDS), number, turn, i)] for i in range(6))
        for turn in range(8)
    )
    return Dialogue(
        f"d{number}",
        tuple(Turn(i, ("ana", "ben")[i % 2], (Message(text),)) for i, text in enumerate(said)),
    )


def test_an_adapter_that_learns_by_heart_is_found_out(tmp_path: Path, tiny_model: Path) -> None:
    # Sixty passes over sixteen replies: nothing but memory.
    train = {
        "pairs": 16,
        "passes": 60,
        "learning_rate": 0.01,
        "schedule": "constant",
        "batch_replies": 8,
    }
    talk = [random_talk(number) for number in range(24)]
    config = write_config(tmp_path, talk, tiny_model, variants=["SP+FT"], train=train)
    run = Run(load_config(config))
    run_stages(run)
    found = probe(run, run.trained_variant("SP+FT"), 4)
    member = found["membership"]
    assert member["auc"] > 0.7, member
    assert member["gain"][0] > member["gain"][1]
    assert [one["times"] for one in found["canaries"]] == [1, 2, 4, 8]
    assert any("can be told from others" in warning for warning in found["warnings"])
    assert json.loads((tmp_path / "run/privacy/SP+FT/probes.json").read_text()) == found
    page = (tmp_path / "run/privacy/SP+FT/report.html").read_text()
    assert page.count("<svg") == 2
    assert "src=" not in page


def test_the_command_line_goes_on_where_it_stopped(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    config = write_config(tmp_path, corpus, tiny_model, variants=["SP+FT"], train={"pairs": 8})
    run_stages(Run(load_config(config)))
    command = [
        sys.executable,
        "-m",
        "vvae.cli",
        "privacy",
        str(tmp_path / "run"),
        "--canaries",
        "2",
    ]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "membership" in first.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "training SP+FT" not in again.stdout, "what is trained is kept"
    probes = tmp_path / "run/privacy/SP+FT/probes.json"
    assert len(json.loads(probes.read_text())["canaries"]) == 2
