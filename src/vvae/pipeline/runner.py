"""The stages in order, each from files to files in one run folder, resumable.

    dialogues ▶ pairs ▶ encode ▶ prior ▶ profiles
        ▶ train, replies, readings, losses (each variant) ▶ bench ▶ report

A stage writes its outputs whole and then a marker with the hash of its inputs' content and of its
settings. A second run skips what is done and redoes what changed; a training stage that was stopped
goes on from its last checkpoint.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from vvae.config import RunConfig
from vvae.core.files import write_text
from vvae.decoder import distributed
from vvae.pipeline.run import Run
from vvae.pipeline.stage import GROUPS, Stage
from vvae.pipeline.stages import corpus, measuring, training

__all__ = ["is_made", "make", "run_stages", "stages_of"]


def stages_of(run: Run, *, shards: int | None = None) -> list[Stage]:
    """Return the stages of a run, in order.

    Args:
        shards: encode in so many shards on Ray.
    """
    return [*corpus.stages(run, shards=shards), *training.stages(run), *measuring.stages(run)]


def run_stages(
    run: Run,
    *,
    until: str = "report",
    skip: Collection[str] = (),
    config: RunConfig | None = None,
    shards: int | None = None,
) -> None:
    """Run all stages up to a group, skipping what is done.

    Where several processes came together, all of them train; everything else is done by the first.

    Args:
        until: one of `GROUPS`.
        skip: names of stages that are left out.
        config: what config.yaml shall say; the run's own by default.
        shards: encode in so many shards on Ray.

    Raises:
        VVAEError: whatever a stage raises; finished stages stay.
    """
    groups = set(GROUPS[: GROUPS.index(until) + 1])
    if distributed.is_first():
        run.folder.mkdir(0o700, parents=True, exist_ok=True)
        for torn in [*run.folder.rglob(".*.part"), *run.folder.rglob(".part")]:
            _remove(torn)  # left by a run that was killed while it wrote
        write_text(run.path("config.yaml"), (config or run.config).to_yaml())
    stages = stages_of(run, shards=shards)
    make(run, (s for s in stages if s.group in groups and s.name not in skip))


def is_made(run: Run, stage: Stage) -> bool:
    """Return whether a stage's outputs are there, made of what its inputs and settings are now."""
    return _is_made(run, stage, stage.key(run), _state(run.marker(stage.name)))


def _is_made(run: Run, stage: Stage, key: str, state: Mapping[str, Any]) -> bool:
    there = all(run.path(output).exists() for output in stage.outputs)
    return there and bool(state.get("done")) and state.get("key") == key


def make(run: Run, stages: Iterable[Stage]) -> None:
    """Make stages in order, skipping what is done.

    Raises:
        VVAEError: whatever a stage raises; finished stages stay.
    """
    for stage in stages:
        distributed.barrier()  # the stage before is written
        key, state = stage.key(run), _state(run.marker(stage.name))
        made = _is_made(run, stage, key, state)
        distributed.barrier()  # all have read the same state
        if made:
            continue
        unchanged = state.get("key") == key
        if distributed.is_first():
            _make_first(run, stage, key, state if unchanged else {})
        elif stage.group == "train":
            stage.work(run)
        run.rewritten(stage.outputs)


def _make_first(run: Run, stage: Stage, key: str, state: dict[str, Any]) -> None:
    """Make one stage and keep its marker.

    Args:
        state: what the marker says, where it is of the same key.
    """
    if not (stage.resumes and state):
        for output in stage.outputs:
            _remove(run.path(output))
    before, started = float(state.get("seconds", 0.0)), time.monotonic()

    def mark(*, done: bool) -> None:
        seconds = round(before + time.monotonic() - started, 1)
        content = json.dumps({"key": key, "done": done, "seconds": seconds})
        write_text(run.marker(stage.name), content)

    mark(done=False)
    try:
        stage.work(run)
    except BaseException:
        mark(done=False)
        raise
    mark(done=True)
    _hand_back_memory()


def _hand_back_memory() -> None:
    """Return freed memory to the system.

    glibc keeps what a stage used, and what the next stage needs comes on top.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _state(marker: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(marker.read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
