"""Trains and measures the variants of a run on a machine that has a GPU and nothing of the chats.

    vvae prior build learn.yaml                        # where the chats are: read, encoded, counted
    python benchmarks/learn_on_gpu.py learn.yaml       # beside a copy of learn.yaml and the run

The second machine needs torch, transformers, peft and polars, the run folder and the base model; no
corpus, no encoder, no network. What it writes are the run's own files: `vvae report` goes on with
them on either machine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from vvae.config import load_config
from vvae.core.console import ConsoleReporter
from vvae.pipeline.run import Run
from vvae.pipeline.runner import make
from vvae.pipeline.stages import measuring, training


def main() -> None:
    """Command line."""
    run = Run(load_config(Path(sys.argv[1])), reporter=ConsoleReporter(Console(stderr=True)))
    stages = [*training.stages(run), *measuring.stages(run)]
    make(run, (stage for stage in stages if stage.group != "report"))
    print(json.dumps(run.timings))


if __name__ == "__main__":
    main()
