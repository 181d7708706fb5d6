"""The commands as a user runs them: in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.runs import vvae
from vvae.config import load_config

COMMANDS = (
    "run",
    "init",
    "import",
    "doctor",
    "encode",
    "prior",
    "train",
    "bench",
    "report",
    "chat",
    "serve",
    "card",
)


@pytest.mark.parametrize(
    "command", [(), *((c,) for c in COMMANDS), ("prior", "show"), ("prior", "build")]
)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    result = vvae(*command, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout
    if not command:
        assert all(name in result.stdout for name in COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "polars", "transformers", "pydantic")
    code = f"import sys, vvae.cli; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_init_writes_a_config_that_holds_the_defaults(tmp_path: Path) -> None:
    result = vvae("init", "mine.yaml", "--data", "chats/ana.jsonl", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    written = load_config(tmp_path / "mine.yaml")
    (tmp_path / "bare.yaml").write_text("run: runs/ana\ndata: {path: chats/ana.jsonl}\n")
    assert written == load_config(tmp_path / "bare.yaml")
    again = vvae("init", "mine.yaml", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert "mine.yaml: the file exists" in again.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeed: 1\n", "bad.yaml:1: seeed: unknown key"),
        ("run: x\ntrain:\n  pairs: many\n", "bad.yaml:3: train.pairs"),
        ("run: x\n\nsampling: {s: 2}\n", "bad.yaml:3: sampling"),
        ("variants: [SP+FT, Sp+FT]\n", "unknown variant 'Sp+FT'"),
        ("variants: [FT, FT]\n", "stands twice"),
        ("variants: [{name: mine, zz: sampled}]\n", "bad.yaml:1: variants.0"),
        ("run: [\n", "bad.yaml:2: not YAML"),
        ("hello\n", "not a mapping"),
        ("data: {path: nowhere.jsonl}\n", "nowhere.jsonl: no such file"),
        ("data: {path: empty.jsonl}\n", "empty.jsonl: the file is empty"),
        ("data: {path: broken.jsonl}\n", "broken.jsonl:1"),
        ("data: {path: single.jsonl}\n", "a dialogue with one speaker"),
        ("data: {path: small.jsonl}\n", "no speaker has 4 training dialogues"),
        ("space: nospace.yaml\n", "nospace.yaml: cannot be read"),
        ("space: space.yaml\n", "axes.a.b"),
        ("sampling: {s: {catchprase: 0.5}}\n", "unknown dimension 'catchprase'"),
        ("variants: [{name: human, z: sampled}]\n", "cannot be called 'human'"),
        ("data: {path: small.jsonl, format: byu}\n", "contradict"),
        ("data: {path: folder}\n", "no such file"),
        ("run: empty.jsonl\n", "empty.jsonl: File exists"),
        ("data: {path: chat.jsonl}\npairs: {speakers: [nobody]}\n", "no replies of 'nobody'"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "broken.jsonl").write_text('{"messages": [\n')
    one = {"messages": [{"role": "user", "content": "hi"}]}
    (tmp_path / "single.jsonl").write_text(json.dumps(one) + "\n")
    two = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}
    (tmp_path / "small.jsonl").write_text("".join(json.dumps(two) + "\n" for _ in range(6)))
    (tmp_path / "chat.jsonl").write_text(
        "".join(json.dumps({"id": i, **two}) + "\n" for i in range(60))
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "space.yaml").write_text(
        "axes: {a: {b: {scope: moon, reader: emoji, description: x}}}"
    )
    result = vvae("run", "bad.yaml", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("vvae: ")
    assert message in result.stderr
    assert not list(tmp_path.rglob("*.parquet.*part"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "no.yaml"), "no.yaml: cannot be read"),
        (("prior", "show", "no"), "no prior here"),
        (("chat", "no"), "no run here"),
        (("chat", "no", "--set", "tone"), "no NAME=VALUE"),
    ],
)
def test_missing_files_and_wrong_options(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = vvae(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    full = "lambda *_: open('/dev/full', 'w').write('x' * 10**6)"
    code = (
        "from vvae.cli.main import main; from vvae.core import files; "
        f"files.atomic_path = {full}; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "init", "x.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "the disk is full" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_shipped_configs_are_valid() -> None:
    for path in sorted((Path(__file__).parent.parent.parent / "configs").glob("*.yaml")):
        config = load_config(path)
        assert [v.name for v in config.resolved_variants][:1]
        assert yaml.safe_load(config.to_yaml())["run"] == config.run
