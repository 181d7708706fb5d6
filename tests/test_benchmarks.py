"""The scripts behind the figures: those that a machine with a GPU runs need no corpus and no
polars.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.pack_for_gpu import experiment
from benchmarks.preferences import preferred

from tests.support.runs import write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.decoder.model import Branch
from vvae.decoder.train import TrainConfig, plan
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

ROOT = Path(__file__).parent.parent
WITHOUT = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("polars", "matplotlib"):
            raise ImportError(f"{name} is not on this machine")

sys.meta_path.insert(0, Missing())
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def on_a_bare_machine(folder: Path, module: str, *arguments: str) -> str:
    """Output of a script where polars cannot be imported."""
    program = folder / "without.py"
    program.write_text(WITHOUT)
    done = subprocess.run(
        [sys.executable, str(program), module, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_gpu_benchmark_runs_where_there_is_none(tmp_path: Path) -> None:
    rows = tmp_path / "gpu.jsonl"
    output = on_a_bare_machine(tmp_path, "benchmarks.gpu", "--tiny", "--out", str(rows))
    measured = [json.loads(line) for line in rows.read_text().splitlines()]
    named = {row["what"]: row for row in measured if "what" in row}
    assert not [row for row in named.values() if "failed" in row]
    assert {name.split(":")[0] for name in named} == {"attention", "8B", "135M"}
    assert named["8B: flat, 512 tokens a batch"]["flat_equivalent_per_s"] > 0
    assert output.count("8B: trees, 512 tokens a batch") == 2, "a row, and its line in the table"


def test_a_packed_run_is_trained_and_measured_without_its_chats(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    config = write_config(
        tmp_path,
        corpus,
        tiny_model,
        variants=["FT", "SP+FT"],
        bench={"replies": 6, "losses": 4, "forced": 2, "known": ["catchphrase"]},
    )
    with gzip.open(tmp_path / "learn.json.gz", "wt") as file:
        json.dump(experiment(config, 4), file)
    on_a_bare_machine(
        tmp_path, "benchmarks.learn_on_gpu", str(tiny_model), "--marks", "8", "--write", "3"
    )
    curve = (tmp_path / "learned" / "curve.jsonl").read_text().splitlines()
    first, *rows = map(json.loads, curve)
    assert 0 < first["people"] < 1
    assert [row["variant"] for row in rows] == ["FT"] * 3 + ["SP+FT"] * 3
    assert [row["pairs"] for row in rows if "pairs" in row][::2] == [8, 8]
    ft = rows[1]
    assert ft["pairs"] == 24
    assert ft["loss_true"] == ft["loss_swapped"] == ft["loss_none"], "FT is shown no z"
    assert rows[-1]["written"] == 3
    assert (tmp_path / "learned" / "SP+FT" / "adapter_model.safetensors").is_file()


def test_preferences_raise_the_own_reply_over_the_other(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    """By far less in a few steps of a tiny model than in a training, but for nearly each reply."""
    run = Run(load_config(write_config(tmp_path, corpus, tiny_model, variants=["FT"])))
    run_stages(run, until="pairs")
    pairs = [pair for pair in run.pairs if pair.speaker == "ana" and pair.split == "train"][:12]
    rejected = {pair.pair_id: "that is what I should have thought, too" for pair in pairs}
    run.decoder.add_adapter(1)

    def margins() -> list[float]:
        result = []
        for pair in pairs:
            other = replace(pair, response=rejected[pair.pair_id], pair_id=f"{pair.pair_id}#")
            ways = {one.pair_id: [Branch("0", None)] for one in (pair, other)}
            tree = run.decoder.tree(run.dialogues[pair.dialogue], [pair, other], ways)
            of = run.decoder.losses([tree])
            result.append(of[f"{other.pair_id}|0"][0] - of[f"{pair.pair_id}|0"][0])
        return result

    before = margins()
    steps = plan(pairs, TrainConfig(pairs=12, passes=4, batch_replies=4), seed=0)
    preferred(run, steps, rejected, tmp_path / "adapter")
    gained = [after - first for after, first in zip(margins(), before, strict=True)]
    assert sum(gain > 0 for gain in gained) >= 11
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
