"""Every script of examples/ does what it says, on small data, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.endpoint_server import Scripted, serving
from tests.support.exports import evenings
from tests.support.runs import write_chats, write_config
from vvae.core.dialogue import Dialogue

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str, *arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text("utf-8")
    assert all(f'"{path.name}"' in here for path in EXAMPLES.glob("*.py"))
    assert all(len(path.read_text("utf-8").splitlines()) <= 40 for path in EXAMPLES.glob("*.py"))


def test_reading_chats(tmp_path: Path, corpus: list[Dialogue]) -> None:
    said = example("read_chats.py", write_chats(tmp_path, corpus), cwd=tmp_path)
    assert "z  " in said
    assert "catchphrase   r" in said
    assert "~" in said.splitlines()[-1], "nulls are drawn"


def test_a_dimension_of_ones_own(tmp_path: Path) -> None:
    rows = [
        {
            "id": str(i),
            "messages": [
                {"role": "user", "name": "ana", "content": "when?"},
                {"role": "user", "name": "ben", "content": "at 10:30" if i % 2 else "no idea"},
            ],
        }
        for i in range(20)
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = example("own_dimension.py", path, cwd=tmp_path)
    assert "50.0 % of replies" in said
    assert "('10:30', 10)" in said


def test_from_an_export_to_a_persona(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    export = evenings(tmp_path, corpus)
    said = example("own_persona.py", export, "Ana", tiny_model, cwd=tmp_path)
    assert "messages kept: " in said
    assert (tmp_path / "runs/mine/report.html").is_file()


def test_asking_a_persona(served_run: Path, tmp_path: Path) -> None:
    said = example("ask_persona.py", served_run, "ana", cwd=tmp_path)
    assert said.count("you: ") == 3
    assert "tone=playful" in said


@pytest.fixture
def url() -> Iterator[str]:
    with serving(Scripted()) as address:
        yield address


def test_measuring_a_chatbot(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path, url: str
) -> None:
    config = write_config(tmp_path, corpus, tiny_model)
    said = example("measure_chatbot.py", config, url, "m", cwd=tmp_path)
    assert "CP" in said
    assert "human" in said
