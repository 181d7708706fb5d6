"""Annotators' replies and readings: kept, found again, exported, compared; and on the page in a
real browser.
"""

from __future__ import annotations

import csv
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import expect
from sklearn.metrics import cohen_kappa_score

from tests.support.browser import needs_browser, opened_page
from tests.support.runs import write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.core.errors import ConfigError, DataError
from vvae.corpus.formats import load
from vvae.evaluation.annotation import Collection, annotator_agreement, export, read_works
from vvae.metrics.audit.labels import read_labelled
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages
from vvae.serving.http.routes_annotation import application


@pytest.fixture
def run(tmp_path: Path, corpus: list[Dialogue], tiny_model: Path) -> Run:
    """An encoded run."""
    run = Run(load_config(write_config(tmp_path, corpus, tiny_model)))
    run_stages(run, until="encode")
    return run


@pytest.fixture
def collection(run: Run, tmp_path: Path) -> Collection:
    """Two shared replies to be read, two contexts to be answered."""
    return Collection(run, tmp_path / "collected", shared=2, contexts=2)


def of_kind(collection: Collection, kind: str) -> list[str]:
    return [task for task, is_of in collection.tasks.items() if is_of == kind]


def test_work_is_kept_and_found_again(collection: Collection) -> None:
    read, write = of_kind(collection, "read")[0], of_kind(collection, "write")[0]
    filled = collection.fill_in("ann-1", write, "haha i love hiking :)")
    assert filled["emoji"] == ":)"
    collection.keep(
        "ann-1", write, "haha i love hiking :)", {"emoji": ":)", "hobby": " hiking "}, done=True
    )
    collection.keep("ann-1", read, "not mine", {"tone": ""}, done=True)
    entries = collection.work("ann-1").entries
    kept = entries[write].values
    assert kept is not None
    assert (kept["hobby"], kept["tone"]) == ("hiking", None)
    assert entries[read].reply == "", "a reply that is only read is not written"
    collection.keep("ann-1", write, "another reply", None, done=False)
    again = collection.work("ann-1").entries[write]
    assert (again.values, again.prefilled, again.done) == (None, None, False), (
        "they were those of another reply"
    )
    assert collection.work("ann-2").entries == {}


def test_what_cannot_be_kept_is_refused(collection: Collection) -> None:
    write = of_kind(collection, "write")[0]
    with pytest.raises(ConfigError, match="no annotator id"):
        collection.work("../escape")
    with pytest.raises(ConfigError, match="unknown task"):
        collection.keep("a", "nothing", "x", None, done=False)
    with pytest.raises(ConfigError, match="unknown label"):
        collection.keep("a", write, "x", {"tone": "grumpyish"}, done=False)
    with pytest.raises(ConfigError, match="not finished"):
        collection.keep("a", write, "  ", {"tone": None}, done=True)
    assert not collection.work("a").entries, "nothing half-kept"
    with pytest.raises(DataError, match="are asked for"):
        Collection(collection.run, collection.folder, shared=10_000, contexts=0)


def test_what_is_finished_is_exported_in_the_projects_formats(
    collection: Collection, tmp_path: Path
) -> None:
    read, (write, draft) = of_kind(collection, "read")[0], of_kind(collection, "write")
    collection.about("ann", {"age": "21", "gender": "f", "empty": " "})
    collection.keep(
        "ann", write, "oh\nreally?", {"tone": "playful", "catchphrase": "oh really"}, done=True
    )
    collection.keep("ann", read, "", {"hobby": "chess"}, done=True)
    collection.keep("ann", draft, "half a", None, done=False)
    target = tmp_path / "exported"
    assert export(collection, target) == {"replies": 1, "labelled": 2}
    imported = load(str(target / "dialogues.jsonl"), format="auto", malformed_limit=0)
    (dialogue,) = imported.dialogues
    assert dialogue.turns[-1].speaker == "ann"
    assert dialogue.turns[-1].text == "oh\nreally?"
    assert collection.pair(write).speaker not in dialogue.speakers
    labelled = read_labelled(target / "labels.yaml", collection.space, window_tokens=400)
    assert labelled.left_out, "the context is not labelled"
    gold = {name: {next(iter(g), None) for g in of.values()} for name, of in labelled.gold.items()}
    assert gold["tone"] == {"playful", None}
    assert gold["hobby"] == {"chess", None}
    rows = list(csv.DictReader((target / "annotators.csv").open()))
    assert rows == [{"speaker": "ann", "age": "21", "gender": "f"}]


def test_agreement_is_scikit_learns_kappa(run: Run, tmp_path: Path) -> None:
    collection = Collection(run, tmp_path / "many", shared=12, contexts=0)
    values = {
        "a": [
            "playful",
            "sad",
            None,
            "sad",
            "playful",
            None,
            "sad",
            "sad",
            "playful",
            None,
            "sad",
            "playful",
        ],
        "b": [
            "playful",
            "sad",
            "sad",
            "sad",
            None,
            None,
            "sad",
            "playful",
            "playful",
            None,
            None,
            "playful",
        ],
    }
    for annotator, own in values.items():
        for task, value in zip(collection.tasks, own, strict=True):
            collection.fill_in(annotator, task, "")
            collection.keep(annotator, task, "", {"tone": value}, done=True)
    found = annotator_agreement(read_works(collection.folder), run.space)
    expected = cohen_kappa_score(*([str(v) for v in own] for own in values.values()))
    assert found["dimensions"]["tone"]["kappa"] == pytest.approx(expected, abs=1e-4)
    assert found["dimensions"]["tone"]["agreement"] == pytest.approx(8 / 12, abs=1e-4)
    assert found["dimensions"]["tone"]["couples"] == 1
    command = [sys.executable, "-m", "vvae.cli", "audit", "annotators", str(collection.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert f"{expected:.2f}" in done.stdout, done.stderr
    (collection.folder / "b.json").unlink()
    with pytest.raises(DataError, match="no two annotators"):
        annotator_agreement(read_works(collection.folder), run.space)


@contextmanager
def served(collection: Collection) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = uvicorn.Server(
        uvicorn.Config(application(collection), host="127.0.0.1", port=port, log_level="error")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(10)


def ask(port: int, path: str, body: object, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(
        "POST", path, json.dumps(body), {"Content-Type": "application/json", **headers}
    )
    response = connection.getresponse()
    return response.status, response.read()


def test_only_this_machine_is_answered_and_only_what_was_asked_for(collection: Collection) -> None:
    with served(collection) as port:
        assert ask(port, "/work", {"annotator": "ann"})[0] == 200
        assert ask(port, "/work", {"annotator": "ann"}, Host="evil.example")[0] == 400
        assert ask(port, "/work", {"annotator": "../x"})[0] == 400
        status, answer = ask(port, "/work", {"annotator": "ann", "more": 1})
        assert (status, list(json.loads(answer))) == (422, ["error"])
        assert b"more: " in answer
        assert (
            ask(port, "/keep", {"annotator": "ann", "task": "t", "reply": "x" * 100_000})[0] == 413
        )
        assert ask(port, "/openapi.json", {})[0] == 404
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        pieces = iter([b'{"annotator": "ann"}'])
        connection.request(
            "POST", "/work", pieces, {"Content-Type": "application/json"}, encode_chunked=True
        )
        assert connection.getresponse().status == 413, "a body that does not say how long it is"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        page = connection.getresponse()
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert not list(collection.folder.glob("*")), "nothing was kept"


@needs_browser
def test_an_annotator_works_by_keyboard_and_goes_on_after_a_reload(collection: Collection) -> None:
    with served(collection) as port, opened_page(viewport={"width": 1200, "height": 900}) as page:
        page.goto(f"http://127.0.0.1:{port}/")
        assert "letters" in page.get_attribute("#annotator", "title"), "what an id may hold"
        page.keyboard.type("ann-1")
        page.fill("#age", "21")
        page.keyboard.press("Enter")
        for done in range(2):  # the shared replies are filled in by themselves
            expect(page.locator("#count")).to_contain_text(f"{done} done")
            expect(page.locator("#next")).to_be_enabled()
            assert page.locator("#writing").is_hidden()
            page.keyboard.press("Control+Enter")
        page.wait_for_selector("#writing:visible")
        page.keyboard.type("haha <b>fair</b> enough :)")
        expect(page.locator("#saved")).to_have_text("saved")
        page.reload()
        page.fill("#annotator", "ann-1")
        page.keyboard.press("Enter")
        page.wait_for_selector("#writing:visible")
        assert page.input_value("#reply") == "haha <b>fair</b> enough :)", "the draft was kept"
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#next:enabled")
        assert page.input_value("#d-emoji") == ":)"
        page.select_option("#d-tone", "sarcastic")
        assert page.locator(".dimension.changed label").all_inner_texts() == ["tone"], (
            "what was changed is marked"
        )
        page.keyboard.press("Control+Enter")
        expect(page.locator("#count")).to_contain_text("3 done")
        page.keyboard.press("Alt+ArrowLeft")
        expect(page.locator("#reply")).to_have_value("haha <b>fair</b> enough :)")
        assert page.input_value("#d-tone") == "sarcastic"
    work = collection.work("ann-1")
    assert work.about == {"age": "21"}
    written = work.entries[of_kind(collection, "write")[0]]
    assert written.values is not None
    assert (written.values["emoji"], written.values["tone"], written.done) == (
        ":)",
        "sarcastic",
        True,
    )
