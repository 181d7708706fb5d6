"""A blind test, from the page in a real browser to the scores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.browser import assert_readable, needs_browser, opened_page
from tests.support.runs import write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.core.errors import ConfigError, DataError
from vvae.evaluation.blind_test import make_page, score_answers
from vvae.metrics.tables import Reply, write_replies
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

NAMES = ("SP+FT", "FT")


@pytest.fixture
def run(tmp_path: Path, corpus: list[Dialogue], tiny_model: Path) -> Run:
    """A run whose two variants have written replies, one of them with markup in it."""
    run = Run(load_config(write_config(tmp_path, corpus, tiny_model, variants=list(NAMES))))
    run_stages(run, until="profiles")
    for name in NAMES:
        said = [
            Reply(name, pair.pair_id, 0, pair.speaker, None, f"</script><b>{name}</b> {i}", "stop")
            for i, pair in enumerate(run.benchmarked(12))
        ]
        write_replies(run.path(f"replies/{name}.parquet"), said, run.space)
    return run


def key(run: Run) -> dict[str, dict[str, str]]:
    return {item["id"]: item for item in json.loads(run.path("turing/key.json").read_text())}


def test_the_page_does_not_say_who_wrote_what(run: Run) -> None:
    page = make_page(run, [], 6).read_text()
    items = key(run)
    assert len(items) == 12
    assert {item["variant"] for item in items.values()} == set(NAMES)
    assert len({item["pair_id"] for item in items.values()}) == 12, "no context twice"
    assert {item["human"] for item in items.values()} == {"a", "b"}
    assert "pair_id" not in page
    assert not any(item["pair_id"] in page for item in items.values())
    assert page.count("</script>") == 2, "no reply ends the script"
    assert "src=" not in page
    assert make_page(run, [], 6).read_text() == page


def test_answers_are_scored_by_variant_and_judge(run: Run, tmp_path: Path) -> None:
    make_page(run, [], 6)
    items = key(run)
    always = {name: item["human"] for name, item in items.items()}
    never = {
        name: "ab"[item["human"] == "a"] for name, item in items.items() if item["variant"] == "FT"
    }
    for judge, answers in (("sharp", always), ("dull", never)):
        (tmp_path / f"{judge}.json").write_text(json.dumps({"judge": judge, "answers": answers}))
    files = [tmp_path / "sharp.json", tmp_path / "dull.json", tmp_path / "sharp.json"]
    scores = score_answers(run, files)
    assert scores["variants"]["SP+FT"] == {
        "picked_the_person": 1.0,
        "low": 1.0,
        "high": 1.0,
        "answers": 6,
    }
    assert scores["variants"]["FT"]["picked_the_person"] == 0.5
    assert scores["variants"]["FT"]["answers"] == 12, "a file given twice counts once"
    assert scores["judges"]["dull"] == {"picked_the_person": 0.0, "answers": 6}
    command = [sys.executable, "-m", "vvae.cli", "turing", str(run.folder), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "judge sharp" in done.stdout, done.stderr


def test_what_cannot_be_scored_is_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no blind test here"):
        score_answers(run, [])
    with pytest.raises(ConfigError, match="no replies of P\\+FT"):
        make_page(run, ["P+FT"], 3)
    make_page(run, ["FT"], 3)
    name = next(iter(key(run)))
    for text, reason in (
        ("{", "no answers file"),
        (json.dumps({"judge": "x", "answers": {"0": "a"}}), "another page"),
        (json.dumps({"judge": "x", "answers": {name: "c"}}), "neither a nor b"),
    ):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DataError, match=reason):
            score_answers(run, [tmp_path / "x.json"])


@needs_browser
def test_a_judge_answers_by_keyboard_and_finds_the_answers_again(run: Run, tmp_path: Path) -> None:
    path = make_page(run, ["FT"], 4)
    assert_readable(path.as_uri())
    with opened_page(viewport={"width": 390, "height": 800}) as page:
        page.goto(path.as_uri())
        assert page.locator("#context b").count() == 0, "markup in a reply is text"
        for _ in range(3):
            page.fill("#judge", "ana 1")
            page.locator("h1").click()
            for press in ("1", "2", "1"):
                page.keyboard.press(press)
            page.reload()
            # On a busy machine Chromium loses, once in twenty times, all that a page on disk has
            # stored just before it is loaded again, also what the page itself had read back.
            if page.input_value("#judge"):
                break
        assert page.input_value("#judge") == "ana 1"
        assert page.inner_text("#count") == "4 of 4, 3 answered"
        assert page.inner_text("#left").startswith("1 question remains")
        page.keyboard.press("ArrowLeft")
        assert page.get_attribute("#a", "aria-pressed") == "true"
        page.click("#b")
        page.click("#b")
        assert "send the file back" in page.inner_text("#left")
        with page.expect_download() as download:
            page.click("#save")
        assert download.value.suggested_filename == "answers-ana-1.json"
        download.value.save_as(tmp_path / "answers.json")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "it fits a phone"
    saved = json.loads((tmp_path / "answers.json").read_text())
    assert sorted(saved["answers"].values()) == ["a", "b", "b", "b"]
    scores = score_answers(run, [tmp_path / "answers.json"])
    assert scores["judges"]["ana 1"]["answers"] == 4
