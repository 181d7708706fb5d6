"""DialogBench's questions: read, rotated, asked of a real model and over HTTP, scored by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.endpoint_server import Scripted, serving
from vvae.core.errors import DataError
from vvae.decoder.model import Decoder
from vvae.metrics.dialogbench import (
    LETTERS,
    Answered,
    answer_with,
    parse,
    read_items,
    rotated,
    scores,
)

OWN = Path(__file__).parent.parent / "dialogbench"


def test_two_questions_of_each_task() -> None:
    items = read_items(OWN)
    assert len(items) == 24
    assert {item.language for item in items} == {"en", "zh"}
    assert len({item.task for item in items}) == 12
    sold = next(item for item in items if item.id == "SF:SF-en-1")
    assert sold.question.startswith(
        "Ana: A table for four on Friday at seven, please.\n\nFor how many people"
    )
    assert "A. four B. seven C. two D. five" in sold.question
    assert sold.options[sold.right] == "four"
    assert len(read_items(OWN, limit=1)) == 24, "a file holds one"


@pytest.mark.parametrize(
    ("answer", "strict", "lenient"),
    [
        ("B", "B", "B"),
        ("(c) no", None, None),
        ("(C) because", "C", "C"),
        ("B. two, not A", "B", "B"),
        ("The answer is C.", None, "C"),
        ("答案是D。", None, "D"),
        ("D、两点", "D", "D"),
        ("A's", None, None),
        ("E", None, None),
        ("", None, None),
        ("Both Anna and Carl", None, None),
    ],
)
def test_how_a_letter_is_read(answer: str, strict: str | None, lenient: str | None) -> None:
    assert parse(answer, 4) == (strict, lenient)


def test_the_right_option_stands_behind_each_letter_once() -> None:
    for item in read_items(OWN):
        turned = rotated(item)
        assert [one.right for one in turned] == [(item.right + k) % 4 for k in range(4)]
        assert {one.options[one.right] for one in turned} == {item.options[item.right]}


def answered(
    item: str, task: str, answer: str | None, right: str = "A", rotation: int = 0
) -> Answered:
    return Answered(item, task, "en", rotation, right, answer, answer)


def test_scores_by_hand() -> None:
    found = scores(
        [
            *(
                answered("1", "x", letter, rotation=k)
                for k, letter in enumerate(["A", "A", "B", None])
            ),
            *(answered("2", "x", "A", rotation=k) for k in range(4)),
            answered("3", "y", "B"),
        ]
    )
    assert found["tasks"]["x"] == {
        "strict": 0.75,
        "lenient": 0.75,
        "always": 0.5,
        "no_letter": 0.125,
        "questions": 2,
    }
    assert found["lenient"] == 0.375, "tasks count equally"
    assert found["questions"] == 3


def test_a_base_model_takes_the_option_of_lowest_mean_loss(tiny_decoder: Decoder) -> None:
    items = read_items(OWN)[:4]
    found = answer_with(tiny_decoder, items, "base")
    for item, one in zip(items, found, strict=True):
        trunk = tiny_decoder.prompter.tokens(f"{item.text}\n")
        means = []
        for option in item.options:
            ids = tiny_decoder.prompter.tokens(f" {option}")
            with torch.inference_mode():
                logits = (
                    tiny_decoder.causal(torch.tensor([[*trunk, *ids]]))
                    .logits[0, len(trunk) - 1 : -1]
                    .float()
                )
            means.append(torch.nn.functional.cross_entropy(logits, torch.tensor(ids)).item())
        assert one.lenient == LETTERS[means.index(min(means))]


def test_a_model_answers_every_question(tiny_decoder: Decoder) -> None:
    items = read_items(OWN)
    found = answer_with(tiny_decoder, items, "chat")
    assert [one.item for one in found] == [item.id for item in items]
    assert answer_with(tiny_decoder, items, "chat") == found


def test_an_endpoint_that_always_says_b(tmp_path: Path) -> None:
    server = Scripted()
    server.say = "B"
    with serving(server) as url:
        command = [
            sys.executable,
            "-m",
            "vvae.cli",
            "dialogbench",
            str(OWN),
            "--endpoint",
            url,
            "--model",
            "m",
        ]
        command += ["--permute", "--out", str(tmp_path / "scores.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "scores.json").read_text())
    assert (found["strict"], found["always"], found["no_letter"]) == (0.25, 0.0, 0.0), (
        "a preferred letter is no answer"
    )
    assert sum(server.answered.values()) == 96
    assert all(body["temperature"] == 0 and body["max_tokens"] == 128 for body in server.bodies)


def test_what_is_no_question_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no questions here"):
        read_items(tmp_path)
    file = tmp_path / "KRG.jsonl"
    for line, reason in (
        ("{", "not JSON lines"),
        ('{"choices": {"A": "x"}, "label": "B"}', "KRG.jsonl:1"),
    ):
        file.write_text(line)
        with pytest.raises(DataError, match=reason):
            read_items(tmp_path)
