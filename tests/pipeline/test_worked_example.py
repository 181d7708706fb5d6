"""docs/chats.md, command by command, with a small model in the config."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support.exports import evenings
from vvae.core.dialogue import Dialogue

PAGE = Path(__file__).parent.parent.parent / "docs" / "chats.md"


def make_small(config: Path, model: Path) -> None:
    """What the page tells the reader to do with time: here a model that trains in seconds."""
    data = yaml.safe_load(config.read_text("utf-8"))
    data["pairs"] |= {"min_train_dialogues": 3, "min_heldout_replies": 5}
    data["decoder"] = {"model": str(model), "precision": "fp32", "lora": {"r": 4, "alpha": 8}}
    data["train"] = {"pairs": 16, "batch_replies": 4}
    data["variants"] = ["zero-shot", "SP+FT"]
    data["generate"] = {"max_new_tokens": 6}
    data["bench"] = {"replies": 8, "swapped": 0, "losses": 4, "forced": 2, "resamples": 100}
    config.write_text(yaml.safe_dump(data), "utf-8")


def test_each_command_of_the_page_does_what_it_says(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    evenings(tmp_path, corpus)
    commands = [
        line
        for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(commands) == 8
    said: dict[str, str] = {}
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "vvae"
        done = subprocess.run(
            [sys.executable, "-m", "vvae.cli", *words[1:]],
            cwd=tmp_path,
            input="hello you\n\n",
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-3000:]}"
        said[" ".join(words[1:])] = done.stdout
        if words[1] == "init":
            assert yaml.safe_load((tmp_path / "mine.yaml").read_text())["pairs"]["speakers"] == [
                "Ana"
            ]
            make_small(tmp_path / "mine.yaml", tiny_model)
        if words[1] == "privacy":
            assert (tmp_path / "runs/chats/privacy/SP+FT/report.html").is_file()
    who = next(text for command, text in said.items() if command.endswith("--who"))
    assert "Ana" in who
    assert "Ben" in who
    brought = next(text for command, text in said.items() if "--learn" in command)
    assert "1 phone" in brought
    assert "Ben" not in brought.replace("Chat with Ben", "")
    assert "these chats can carry a persona" in said["doctor chats"] or "✗" in said["doctor chats"]
    assert "You are talking to Ana" in said["chat runs/chats --speaker Ana"]
    assert "turns removed" in said["forget Ben runs/chats"]
