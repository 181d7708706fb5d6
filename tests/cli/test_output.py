"""What is printed where the output is no UTF-8, and where nobody reads it to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vvae.latent.prior import DimensionPrior, Prior

CHATS = Path(__file__).parents[1] / "chats" / "whatsapp" / "ios-zh"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    emoji = DimensionPrior({"😀": 6, "é": 3, "ok": 1}, nulls=10)
    (tmp_path / "prior.json").write_text(Prior({"emoji": emoji}, "e", "c").to_json(), "utf-8")
    return tmp_path


def printed(encoding: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vvae.cli", *arguments],
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "100"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_table_can_be_read_in_every_encoding(run_folder: Path, encoding: str) -> None:
    text = printed(encoding, "prior", "show", run_folder)
    lacking = encoding != "utf-8"
    assert ("#" * 24 if lacking else "█" * 24) in text
    assert (r"\U0001f600" if lacking else "😀") in text
    assert (r"\xe9" if encoding == "ascii" else "é") in text
    assert "?" not in text
    assert ("+---" in text) == lacking


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_and_texts_of_other_scripts_stop_nothing(encoding: str) -> None:
    assert "speech" in printed(encoding, "import", CHATS, "--explain")


LATE = "from vvae.cli.output import flush_output; print('kept back'); flush_output()"


@pytest.mark.parametrize("by", ["a table", "a text", "what was kept back"])
def test_a_reader_who_goes_away_is_no_error(run_folder: Path, by: str) -> None:
    """As with `| head -1`: here the pipe is closed before anything is written."""
    arguments = {
        "a table": ["-m", "vvae.cli", "prior", "show", str(run_folder)],
        "a text": ["-m", "vvae.cli", "--help"],
        "what was kept back": ["-c", LATE],
    }[by]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, *arguments],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode in {0, 1}
