"""A study on a local Ray cluster: the rows of a single process, also when a worker is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from tests.support.runs import write_config
from vvae.core.dialogue import Dialogue

STUDY = {
    "title": "t",
    "question": "q",
    "seeds": 2,
    "variants": ["SP+FT"],
    "claims": [{"claim": "loss", "measure": "loss_none_z", "of": "SP+FT", "expect": "above"}],
}


def command(study: Path, config: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "vvae.cli", "study", str(study), str(config), *options]


def killed_worker(driver: int) -> bool:
    """Kills one process of the driver's Ray that trains, if there is one."""
    for process in psutil.Process(driver).children(recursive=True):
        with suppress(psutil.Error):  # it may end while it is looked at
            if " ".join(process.cmdline()).startswith("ray::_made"):
                process.kill()
                return True
    return False


def test_with_a_worker_killed_the_rows_are_those_of_one_process(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    study = tmp_path / "small.yaml"
    study.write_text(yaml.safe_dump(STUDY))
    rows: dict[str, bytes] = {}
    claims: dict[str, dict[str, object]] = {}
    for name in ("alone", "ray"):
        folder = tmp_path / name
        folder.mkdir()
        config = write_config(
            folder,
            corpus,
            tiny_model,
            bench={"replies": 8, "swapped": 2, "resamples": 100},
            train={"pairs": 24, "passes": 8, "batch_replies": 4, "checkpoint_every": 2},
        )
        options = ("--engine", "ray") if name == "ray" else ()
        log = folder / "log.txt"
        with log.open("w") as out:
            process = subprocess.Popen(
                command(study, config, *options),
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},  # as Ray's workers have it
            )
        killed = name == "alone"
        while process.poll() is None and not killed:
            killed = bool(list(folder.glob("run/adapters/*"))) and killed_worker(process.pid)
            time.sleep(0.02)
        assert process.wait(timeout=300) == 0, log.read_text()
        assert killed
        made = folder / "run" / "studies" / "small"
        rows[name] = (made / "rows.parquet").read_bytes()
        claims[name] = json.loads((made / "claims.json").read_text("utf-8"))
    assert rows["ray"] == rows["alone"]
    assert claims["ray"] == claims["alone"]
    again = subprocess.run(
        command(study, tmp_path / "ray" / "config.yaml"), capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert "training" not in again.stderr, "what a task made is not made again"
