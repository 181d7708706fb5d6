"""Chats out again, as other trainers want them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.exports import Line, telegram
from tests.support.runs import vvae
from vvae.core.dialogue import Dialogue, Message, Turn
from vvae.core.errors import ConfigError
from vvae.corpus.exporting import ChatFormat, export_chats
from vvae.corpus.formats import load

TALK = Dialogue(
    "d",
    (
        Turn(0, "Ana", (Message("Ben, hello"), Message("there"))),
        Turn(1, "Ben", (Message("hi Ana"),)),
        Turn(2, "Cleo", (Message("yo"),)),
        Turn(3, "Ana", (Message("so?"),)),
        Turn(4, "Ben", (Message("fine"),)),
    ),
)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_openai_messages_say_which_replies_are_learnt(tmp_path: Path) -> None:
    found = export_chats([TALK], tmp_path / "x", "openai", learn=["Ana"])
    (row,) = rows(tmp_path / "x")
    assert [(m["role"], m.get("name"), m["content"], m.get("weight")) for m in row["messages"]] == [
        ("assistant", None, "Ben, hello\nthere", 0),  # nothing stands before it
        ("user", "Ben", "hi Ana", None),
        ("user", "Cleo", "yo", None),
        ("assistant", None, "so?", 1),
        ("user", "Ben", "fine", None),
    ]
    assert (found.records, found.replies) == (1, 1)


def test_sharegpt_conversations_take_turns(tmp_path: Path) -> None:
    found = export_chats([TALK], tmp_path / "x", "sharegpt", learn=["Ana"])
    (row,) = rows(tmp_path / "x")
    assert row["conversations"] == [
        {"from": "human", "value": "Ben: hi Ana\nCleo: yo"},
        {"from": "gpt", "value": "so?"},
        {"from": "human", "value": "Ben: fine"},
    ]
    assert found.left_out["before anybody else spoke"] == 1


def test_pairs_have_their_context_and_everybody_replies(tmp_path: Path) -> None:
    export_chats([TALK], tmp_path / "x", "jsonl")
    found = {row["id"]: row for row in rows(tmp_path / "x")}
    assert {name: row["speaker"] for name, row in found.items()} == {
        "d#1": "Ben",
        "d#2": "Cleo",
        "d#3": "Ana",
        "d#4": "Ben",
    }
    assert found["d#4"]["completion"] == [{"role": "assistant", "content": "fine"}]
    assert [m["role"] for m in found["d#4"]["prompt"]] == ["user", "assistant", "user", "user"]


@pytest.mark.parametrize("form", ["openai", "sharegpt", "jsonl"])
def test_real_names_do_not_leave(form: ChatFormat, tmp_path: Path) -> None:
    export_chats([TALK], tmp_path / "x", form, learn=["Ana"], rename=True)
    text = (tmp_path / "x").read_text("utf-8")
    assert not [name for name in ("Ana", "Ben", "Cleo") if name in text]
    assert "so?" in text


def test_who_does_not_reply_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no reply of 'Dan'"):
        export_chats([TALK], tmp_path / "x", "openai", learn=["Dan"])
    assert list(tmp_path.iterdir()) == []


def test_from_an_export_to_training_data_and_in_again(tmp_path: Path) -> None:
    said = [Line(("Ana Ruiz", "Ben")[i % 2], 1_580_000_000 + 60 * i, f"m{i}") for i in range(6)]
    path = telegram(tmp_path, said)
    assert vvae("import", str(path), "--learn", "Ben", "-o", "chats", cwd=tmp_path).returncode == 0
    for form in ("openai", "sharegpt"):
        done = vvae("export", "chats", "--format", form, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "3 replies to learn" in done.stdout
        (again,) = load(str(tmp_path / f"chats-{form}.jsonl")).dialogues
        assert [m.text for turn in again.turns for m in turn.messages] == [
            f"m{i}" for i in range(6)
        ]
        assert "Ana" not in (tmp_path / f"chats-{form}.jsonl").read_text()
    (tmp_path / "chats" / "consent.yaml").write_text("Ben: {agreed: [context]}\n")
    refused = vvae("export", "chats", "--format", "openai", cwd=tmp_path)
    assert refused.returncode == 2
    assert "has not agreed to be learnt" in refused.stderr
    assert vvae("export", str(tmp_path), "--format", "openai").returncode == 2
