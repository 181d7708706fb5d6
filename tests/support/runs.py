"""A small run, as a config of a few seconds, and the command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from vvae.core.dialogue import Dialogue

VARIANTS = [
    "zero-shot",
    "few-shot",
    "FT",
    "P+FT",
    "SP+FT",
    {"name": "SP+FT@0.5", "z": "sampled", "s": 0.5},
]


def write_chats(folder: Path, corpus: list[Dialogue]) -> Path:
    rows = []
    for dialogue in corpus:
        messages = [
            {"role": "user", "name": t.speaker, "content": m.text}
            for t in dialogue.turns
            for m in t.messages
        ]
        rows.append(json.dumps({"id": dialogue.id, "messages": messages}))
    path = folder / "chats.jsonl"
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def write_config(folder: Path, corpus: list[Dialogue], model: Path, **changes: object) -> Path:
    config: dict[str, object] = {
        "run": str(folder / "run"),
        "data": {"path": str(write_chats(folder, corpus))},
        "pairs": {"min_train_dialogues": 3, "min_heldout_replies": 5},
        "encoder": {"catchphrase": {"min_z": 1.5, "strength": 20.0}},
        "decoder": {"model": str(model), "precision": "fp32", "lora": {"r": 4, "alpha": 8}},
        "train": {"pairs": 24, "batch_replies": 4, "checkpoint_every": 2},
        "variants": VARIANTS,
        "generate": {"max_new_tokens": 6, "batch_tokens": 1024},
        "bench": {"replies": 10, "swapped": 4, "losses": 4, "forced": 2, "resamples": 100},
        **changes,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


def spawn(config: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vvae.cli", "run", str(config)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    )


def vvae(
    *arguments: str, cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vvae.cli", *arguments]
    environment = {**os.environ, "COLUMNS": "120", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command,
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
