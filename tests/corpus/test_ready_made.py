from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vvae.core.dialogue import Dialogue
from vvae.core.errors import DataError, VVAEError
from vvae.corpus.formats import load


def write(path: Path, rows: list[object]) -> Path:
    path.write_text(
        "".join(
            (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n"
            for row in rows
        ),
        "utf-8",
    )
    return path


def openai(*said: tuple[str, str], **extra: object) -> dict[str, object]:
    return {
        "messages": [{"role": "user", "name": name, "content": text} for name, text in said],
        **extra,
    }


def test_openai_messages_with_names_become_turns_of_bursts(tmp_path: Path) -> None:
    rows: list[object] = [
        {
            "id": "first",
            "messages": [
                {"role": "system", "content": "be nice"},
                {"role": "user", "name": "ana", "content": "hi"},
                {
                    "role": "user",
                    "name": "ana",
                    "content": [
                        {"type": "text", "text": "you "},
                        {"type": "text", "text": "there?"},
                    ],
                },
                {"role": "assistant", "name": "ben", "content": "在"},
                {"role": "user", "name": "cleo", "content": "me too"},
            ],
        },
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    ]
    found = load(str(write(tmp_path / "chat.jsonl", rows)))
    first, second = found.dialogues
    assert (first.id, second.id) == ("first", "chat:2")
    assert [(t.id, t.speaker, t.text) for t in first.turns] == [
        (0, "ana", "hi\nyou there?"),
        (1, "ben", "在"),
        (2, "cleo", "me too"),
    ]
    assert second.speakers == ("user", "assistant")
    assert not found.malformed


def test_sharegpt_conversations(tmp_path: Path) -> None:
    row = {
        "conversations": [
            {"from": "system", "value": "x"},
            {"from": "human", "value": "hi"},
            {"from": "gpt", "value": "yo"},
        ]
    }
    (dialogue,) = load(str(write(tmp_path / "s.jsonl", [row]))).dialogues
    assert dialogue.speakers == ("human", "gpt")


def test_the_byu_corpus_is_two_party_and_complete() -> None:
    dialogues = load("byu").dialogues
    assert len(dialogues) == 3243
    assert all(len(d.speakers) == 2 and len(d.turns) >= 4 for d in dialogues)
    assert sum(d.get("prompt") is not None for d in dialogues) > 3000


GOOD = openai(("a", "x"), ("b", "y"))
BAD: list[tuple[object, str]] = [
    ("{not json", "not JSON"),
    ([1, 2], "not a JSON object"),
    ({"messages": 3}, "no list 'messages'"),
    (openai(("a", "x"), ("a", "y")), "one speaker"),
    (openai(("a", " "), ("b", "")), "without text"),
    ({"messages": ["x"]}, "no object"),
    ({"messages": [{"role": "user", "content": None}]}, "text cannot be read"),
    ({"messages": [{"content": "x"}]}, "without speaker"),
    (openai(("a", "x"), ("b", "y"), id="same"), "twice"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_malformed_records_are_counted_by_reason_and_stop_past_the_limit(
    tmp_path: Path, bad: object, reason: str
) -> None:
    good: list[object] = [*(GOOD | {"id": f"g{i}"} for i in range(9)), GOOD | {"id": "same"}]
    file = write(tmp_path / "c.jsonl", [*good, bad])
    found = load(str(file), malformed_limit=0.2)
    assert len(found.dialogues) == 10
    assert [n for r, n in found.malformed.items() if reason in r] == [1]
    with pytest.raises(DataError, match=r"1 of 11 records are malformed") as error:
        load(str(file))
    assert "c.jsonl:11" in str(error.value) or "same" in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), ("", "empty"), ("\n\n", "empty"), ('{"a": 1}\n', "neither")],
)
def test_missing_empty_and_unknown_files(tmp_path: Path, content: str | None, reason: str) -> None:
    file = tmp_path / "c.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DataError, match=reason) as error:
        load(str(file))
    assert "c.jsonl" in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "role", "content", "name", "id", "from", "value", "text", "type"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        json_values | st.text(st.characters(exclude_characters="\n\r")), min_size=1, max_size=5
    ),
    st.sampled_from(["openai", "sharegpt"]),
)
def test_whatever_a_file_holds_comes_out_as_dialogues_or_one_error(
    tmp_path: Path, rows: list[object], name: str
) -> None:
    file = tmp_path / "any.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        found = load(str(file), format=name, malformed_limit=1.0)
    except VVAEError as error:
        message = str(error)
    else:
        message = ""
        assert all(isinstance(d, Dialogue) and len(d.speakers) > 1 for d in found.dialogues)
    assert "\n" not in message
