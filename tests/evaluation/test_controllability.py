"""Whether a value that is set comes back, as a user asks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.browser import CHROMIUM, assert_readable
from tests.support.runs import vvae, write_config
from vvae.core.dialogue import Dialogue
from vvae.core.text import find_phrase
from vvae.evaluation.controllability import Cell, adjust
from vvae.metrics.tables import read_replies
from vvae.pipeline.calibration import reaches
from vvae.pipeline.run import Run


def test_control_is_measured_kept_and_drawn(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    write_config(tmp_path, corpus, tiny_model, variants=["SP+FT"], train={"pairs": 8})
    run = [sys.executable, "-m", "vvae.cli"]
    made = subprocess.run(
        [*run, "train", str(tmp_path / "config.yaml")], capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr
    command = [*run, "control", str(tmp_path / "run"), "--contexts", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run/control/SP+FT"
    found = json.loads((folder / "control.json").read_text())
    assert found["dimensions"], "some dimension has two values"
    for name in found["dimensions"]:
        replies = read_replies(folder / f"{name}.parquet")
        values = set(found["confusion"][name])
        by_context: dict[str, list[str | None]] = {}
        kept: dict[str, set[tuple[tuple[str, str], ...]]] = {}
        for reply in replies:
            assert reply.persona is not None
            context = reply.pair_id.rpartition("|")[0]
            by_context.setdefault(context, []).append(reply.persona.value(name))
            rest = tuple(sorted((d, slot.value) for d, slot in reply.persona if d != name))
            kept.setdefault(context, set()).add(rest)
        assert len(by_context) == 4
        assert all(
            set(shown) == {None, *values} and len(shown) == 1 + len(values)
            for shown in by_context.values()
        )
        assert all(len(rests) == 1 for rests in kept.values()), "everything else is kept"
        counted = sum(n for of in found["confusion"][name].values() for n in of.values())
        assert counted == 4 * len(values)
    assert len(found["matrix"]) == len(found["dimensions"]) * len(found["read"])
    catchphrase = found["rates"]["CP"]
    assert catchphrase["shown"]["n"] == 4 * len(catchphrase["values"])
    assert catchphrase["hidden"]["n"] == 4 * len(catchphrase["values"]), (
        "each value is looked for where it is hidden"
    )
    assert set(catchphrase["by_value"]) == set(catchphrase["values"])
    for ends in catchphrase["by_value"].values():
        assert ends["shown"]["n"] == ends["hidden"]["n"] == 4
    rows = found["confusion"]["catchphrase"]
    replies = read_replies(folder / "catchphrase.parquet")
    said = sum(
        find_phrase(value, reply.reply) is not None
        for reply in replies
        if reply.persona and (value := reply.persona.value("catchphrase"))
    )
    assert sum(row.get(value, 0) for value, row in rows.items()) <= said, "read as it is counted"
    page = (folder / "report.html").read_text()
    assert "src=" not in page
    assert page.count("<svg") == 1 + len(found["dimensions"]), "no matrix without a cell"
    assert "Too little asked" in page
    assert "--variant SP+FT --contexts 25" in page, "hobby has two values: 25 make 50 replies"
    if CHROMIUM:
        assert_readable((folder / "report.html").as_uri())
    stamps = {p: p.stat().st_mtime_ns for p in folder.glob("*.parquet")}
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps, "what is written is kept"


def test_many_leaks_that_are_looked_for_hide_no_knob_that_works() -> None:
    knobs = ("tone", "length")
    own: list[Cell] = [{"set": name, "read": name, "n": 60, "v": 0.9, "p": 0.001} for name in knobs]
    leaks: list[Cell] = [
        {"set": knobs[number % 2], "read": f"leak {number}", "n": 60, "v": 0.0, "p": 0.6}
        for number in range(100)
    ]
    untested: Cell = {"set": "tone", "read": "hobby", "n": 12}
    adjust([*own, *leaks, untested])
    assert [cell["p_adjusted"] for cell in own] == [0.001, 0.001]
    assert {cell["p_adjusted"] for cell in leaks} == {0.6}
    assert "p_adjusted" not in untested


def test_further_ways_are_measured_beside_training_and_known_to_a_server(
    served_run: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(served_run, tmp_path / "run"))
    command = ("control", str(copy), "--contexts", "4", "--dimension", "length")
    found = vvae(*command, "--calibrate")
    assert found.returncode == 0, found.stderr
    assert "training alone" in found.stdout
    assert "strength 3" in found.stdout
    run = Run.open(copy)
    reach = reaches(run, run.trained_variant("SP+FT"))
    strengths = [w for w, _ in reach["length"].by_strength]
    assert strengths == [1.0, 2.0, 3.0]
    assert reach["tone"].by_strength == (), "what was not measured is not claimed"

    assert vvae(*command, "--candidates", "8").returncode == 0
    folder = copy / "control/SP+FT/candidates-8"
    summary = json.loads((folder / "control.json").read_text())
    assert 1 < summary["written"] <= 8
    alone = json.loads((copy / "control/SP+FT/control.json").read_text())

    def came_back(of: dict[str, dict[str, dict[str, int]]]) -> int:
        return sum(row.get(value, 0) for value, row in of["length"].items())

    assert came_back(summary["confusion"]) > came_back(alone["confusion"]), "what is read is taken"
    assert "the first of up to 8 replies" in (folder / "report.html").read_text()
    for option in (["--calibrate", "--strength", "1"], ["--dimension", "lenght"]):
        refused = vvae(*command, *option)
        assert refused.returncode == 2
        assert len(refused.stderr.strip().splitlines()) == 1
    assert "length" in vvae(*command, "--dimension", "lenght").stderr
