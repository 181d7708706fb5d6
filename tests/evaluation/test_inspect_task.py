"""HumanChatBench in Inspect AI, run from its command line against this project's own models; its
log read back.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log

from tests.support.runs import write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.metrics.metric import shows
from vvae.metrics.tables import read_replies
from vvae.metrics.text import asks
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages


def test_the_task_scores_a_model_of_ours_as_the_benchmark_does(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    bench = {"replies": 6, "swapped": 0, "losses": 2, "forced": 0, "resamples": 100}
    config = write_config(
        tmp_path, corpus, tiny_model, bench=bench, variants=["FT"], train={"pairs": 8}
    )
    run = Run(load_config(config))
    run_stages(run, until="replies")
    folder = str(tmp_path / "run")
    command = [
        str(Path(sys.executable).parent / "inspect"),
        "eval",
        "vvae/human_chat_bench",
        "--model",
        "vvae/FT",
    ]
    command += [
        "-T",
        f"run={folder}",
        "-T",
        "replies=6",
        "-T",
        "persona=none",
        "-M",
        f"run={folder}",
    ]
    command += ["--display", "none", "--log-dir", str(tmp_path / "logs"), "--max-tokens", "6"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr + done.stdout
    (file,) = (tmp_path / "logs").glob("*.eval")
    log = read_eval_log(str(file))
    assert log.status == "success"
    replies = {r.pair_id: r.reply for r in read_replies(run.path("replies/FT.parquet"))}
    assert log.samples is not None
    assert len(log.samples) == 6
    for sample in log.samples:
        text = sample.output.completion
        assert text == replies[str(sample.id)], "the same reply as the benchmark's"
        score = sample.scores["habits"].value if sample.scores else None
        assert isinstance(score, dict)
        assert score["question"] == float(asks(text))
        phrase = run.profiles[str(sample.metadata["speaker"])].persona().value("catchphrase")
        if phrase is None:
            assert math.isnan(float(score["CP"]))
        else:
            assert score["CP"] == float(shows("CP", phrase, text))
    assert log.results is not None
    found = {
        score.name: {name: m.value for name, m in score.metrics.items()}
        for score in log.results.scores
    }
    question = {name.removeprefix("vvae/"): value for name, value in found["question"].items()}
    asked: dict[str, list[float]] = {}
    for pair in run.valid_pairs:
        if pair.split == "heldout" and pair.speaker in run.speakers:
            asked.setdefault(pair.speaker, []).append(asks(pair.response))
    people = sum(sum(own) / len(own) for own in asked.values()) / len(asked)
    assert question["people"] == pytest.approx(people, abs=1e-4)
    assert question["deviation"] == pytest.approx(question["rate"] - question["people"])
