"""The wheel alone: what somebody has who types `pip install vvae`, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vvae

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).parent / "uv"
CHATS = ROOT / "tests" / "chats" / "whatsapp"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that holds the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    commands: list[list[str | Path]] = [
        [UV, "build", "--wheel", "--out-dir", folder / "dist", ROOT],
        [UV, "venv", "--python", sys.executable, folder / "env"],
    ]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    (wheel,) = (folder / "dist").glob("*.whl")
    python = folder / "env" / "bin" / "python"
    subprocess.run(
        [UV, "pip", "install", "--python", python, "-c", ROOT / "constraints.txt", wheel],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return python.parent


def run(alone: Path, *command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    name, *rest = command
    return subprocess.run(
        [alone / name, *rest],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": "", "COLUMNS": "100"},
    )


def test_the_wheel_brings_no_heavy_library(alone: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as i; "
        "print([n for n in ('torch', 'transformers', 'matplotlib', 'fastapi') if i.find_spec(n)])"
    )
    assert run(alone, "python", "-c", code, cwd=tmp_path).stdout.strip() == "[]"
    assert run(alone, "python", "-c", "import vvae", cwd=tmp_path).returncode == 0
    help_ = run(alone, "vvae", "--help", cwd=tmp_path)
    assert "import" in help_.stdout
    assert help_.returncode == 0
    version = run(alone, "vvae", "--version", cwd=tmp_path).stdout
    assert version.strip() == f"vvae {vvae.__version__}"


def test_the_wheel_imports_chats_and_says_what_they_can_carry(alone: Path, tmp_path: Path) -> None:
    imported = run(alone, "vvae", "import", CHATS / "ios-en", "-o", "chats", cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    report = run(alone, "vvae", "doctor", "chats", cwd=tmp_path)
    assert report.returncode in {0, 1}, report.stderr
    assert "replies" in report.stdout
    assert "Traceback" not in report.stderr


def test_what_is_not_installed_is_named_with_the_command_that_brings_it(
    alone: Path, tmp_path: Path
) -> None:
    code = "from vvae.report import figures; figures._axes(1, 1)"
    done = run(alone, "python", "-c", code, cwd=tmp_path)
    assert "pip install 'vvae[plot]'" in done.stderr
