"""Encoding on a local Ray cluster: the rows of a single process, also when a worker is killed on
the way.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.endurance import conversations, write_chats, write_config
from tests.support.endpoint_server import Scripted, serving
from vvae.config import load_config
from vvae.corpus.pairs import PairsConfig, pairs_with_account
from vvae.corpus.tables import PAIRS, read_dialogues
from vvae.encoders.ray import prior_of, shard_of, write_shards
from vvae.latent.prior import Prior
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

SHARDS = 6


def encode_on_ray(config: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "vvae.cli",
        "encode",
        str(config),
        "--engine",
        "ray",
        "--shards",
        str(SHARDS),
    ]


def test_a_shard_holds_whole_dialogues_in_order_whatever_the_rest_of_the_corpus(
    tmp_path: Path,
) -> None:
    dialogues = conversations(300)
    pairs, _ = pairs_with_account(dialogues, PairsConfig(), seed=0)
    write_shards(tmp_path, pairs, {d.id: d for d in dialogues}, SHARDS)
    place = {pair.pair_id: i for i, pair in enumerate(pairs)}
    found = []
    for shard in range(SHARDS):
        held = PAIRS.read(tmp_path / f"pairs-{shard:05d}.parquet")
        assert [place[p.pair_id] for p in held] == sorted(place[p.pair_id] for p in held)
        assert {shard_of(p.dialogue, SHARDS) for p in held} <= {shard}
        names = {d.id for d in read_dialogues(tmp_path / f"dialogues-{shard:05d}.parquet")}
        assert names == {p.dialogue for p in held}
        found += held
    assert sorted(found, key=lambda p: place[p.pair_id]) == pairs


def killed_worker(driver: int) -> bool:
    """Kills one process of the driver's Ray that reads a shard, if there is one."""
    for process in psutil.Process(driver).children(recursive=True):
        line = " ".join(process.cmdline())
        if line.startswith("ray::") and "Map" in line:
            process.kill()
            return True
    return False


def test_on_ray_with_a_worker_killed_the_rows_are_those_of_one_process(tmp_path: Path) -> None:
    script = Scripted()
    script.pause = 0.05
    with serving(script) as url:
        encoder = {"kind": "llm", "base_url": url, "model": "stub", "concurrency": 2}
        chats = write_chats(tmp_path / "chats.jsonl", 300)
        alone = write_config(
            tmp_path / "alone.yaml", chats, run=str(tmp_path / "alone"), encoder=encoder
        )
        subprocess.run(
            [sys.executable, "-m", "vvae.cli", "encode", str(alone)],
            check=True,
            capture_output=True,
        )
        asked = script.asked.total()
        config = write_config(
            tmp_path / "ray.yaml", chats, run=str(tmp_path / "ray"), encoder=encoder
        )
        process = subprocess.Popen(
            encode_on_ray(config), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        while process.poll() is None and script.asked.total() < asked + 40:
            time.sleep(0.05)
        killed = killed_worker(process.pid)
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert killed
    assert script.asked.total() - asked <= asked + 2  # what was in flight
    for name in ("encodings.parquet", "encoder.json"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()
    told = json.loads((tmp_path / "ray" / "encode.json").read_text("utf-8"))
    assert told["pairs"] == {"ok": 300}

    run = Run(load_config(config))
    run_stages(run, until="prior")
    total = prior_of(run.path("shards"), SHARDS)
    whole = Prior.from_json(run.path("prior.json").read_text("utf-8"))
    assert {n: p.counts for n, p in total.dimensions.items()} == {
        n: p.counts for n, p in whole.dimensions.items()
    }
    assert {n: p.nulls for n, p in total.dimensions.items()} == {
        n: p.nulls for n, p in whole.dimensions.items()
    }

    before = {p.name: p.stat().st_mtime_ns for p in run.path("shards").glob("encodings-*")}
    run.path("encodings.parquet").unlink()
    again = subprocess.run(encode_on_ray(config), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert {p.name: p.stat().st_mtime_ns for p in run.path("shards").glob("encodings-*")} == before


def test_an_endpoint_of_no_use_is_one_line_from_ray_too(tmp_path: Path) -> None:
    script = Scripted()
    with serving(script) as url:
        encoder = {"kind": "llm", "base_url": url, "attempts": 1}
        chats = write_chats(tmp_path / "chats.jsonl", 300)
        config = write_config(
            tmp_path / "c.yaml", chats, run=str(tmp_path / "run"), encoder=encoder
        )
        process = subprocess.Popen(
            encode_on_ray(config), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while process.poll() is None and not script.asked:
            time.sleep(0.05)
        script.status = 401
        _, said = process.communicate(timeout=240)
    assert process.returncode == 2
    lines = [line for line in said.splitlines() if line.startswith("vvae: ")]
    assert len(lines) == 1
    assert "the key is missing or refused (HTTP 401)" in lines[0]
