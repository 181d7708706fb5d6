"""The audit: scores worked out by hand, mapping files as users get them wrong, the command and its
figure.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vvae.core.errors import ConfigError, DataError
from vvae.latent.persona import Persona, Slot
from vvae.latent.space import load_space
from vvae.metrics.audit.labels import read_labelled
from vvae.metrics.audit.scores import NULL, Nulls, against_labels, agreement
from vvae.report.figures import confusion

SPACE = load_space()


def personas(values: Mapping[str, str | None], dimension: str = "tone") -> dict[str, Persona]:
    return {
        pair: Persona({} if value is None else {dimension: Slot(value, "observed")})
        for pair, value in values.items()
    }


DIALOGUE = {f"p{i}": f"d{i // 2}" for i in range(10)}


def test_precision_recall_and_coverage_by_hand() -> None:
    read = personas(
        {
            "p0": "sad",
            "p1": "sad",
            "p2": "excited",
            "p3": None,
            "p4": "annoyed",
            "p5": None,
            "p6": "playful",
        }
    )
    gold = {
        "p0": frozenset({"sad"}),  # right
        "p1": frozenset({"annoyed"}),  # wrong
        "p2": frozenset({"excited", "playful"}),  # right: either is
        "p3": frozenset({"sad"}),  # missed
        "p4": frozenset[str](),  # named where there is nothing
        "p5": frozenset[str](),
        "p7": frozenset({"sad"}),  # not read at all
    }
    found = against_labels(read, {"tone": gold}, SPACE, DIALOGUE)["tone"]
    assert (found["n"], found["predicted"], found["labelled"]) == (7, 4, 5)
    assert found["precision"]["value"] == 0.5
    assert found["recall"]["value"] == 0.4
    assert found["f1"]["value"] == pytest.approx(4 / 9, abs=1e-4)
    assert found["coverage"]["value"] == pytest.approx(4 / 7, abs=1e-4)
    assert (found["precision"]["low"] or 0) <= 0.5 <= (found["precision"]["high"] or 0)
    assert found["confusion"]["annoyed"] == {"sad": 1}
    assert found["confusion"][NULL] == {"annoyed": 1, NULL: 1}
    assert found["labels"]["sad"] == {
        "precision": 0.5,
        "recall": 0.3333,
        "predicted": 2,
        "labelled": 3,
    }


def test_nulls_that_depend_on_the_value_are_told_from_those_that_depend_on_length() -> None:
    pairs = [f"p{i}" for i in range(400)]
    gold = {pair: frozenset({("sad", "excited")[i % 2]}) for i, pair in enumerate(pairs)}
    dialogues = dict.fromkeys(pairs, "d")

    def tested(read: list[str | None], words_of: dict[str, int]) -> Nulls:
        said = personas(dict(zip(pairs, read, strict=True)))
        found = against_labels(said, {"tone": gold}, SPACE, dialogues, words_of=words_of)
        return found["tone"]["nulls"]

    right = [next(iter(gold[pair])) for pair in pairs]
    by_value = [v if v == "excited" or i % 8 == 0 else None for i, v in enumerate(right)]
    found = tested(by_value, dict.fromkeys(pairs, 5))
    assert found["p"] <= 0.001
    assert found["read"] == {"excited": 1.0, "sad": 0.25}
    # right: half each; read: 200 excited, 50 sad
    assert found["distance"] == pytest.approx(0.3)

    # Sad replies are short, and short replies are not read, whatever they say.
    lengths = {p: 20 if (i % 2) == (i % 10 < 8) else 2 for i, p in enumerate(pairs)}
    by_length = [v if lengths[p] > 5 else None for p, v in zip(pairs, right, strict=True)]
    assert tested(by_length, dict.fromkeys(pairs, 5))["p"] <= 0.001, "length not looked at"
    assert tested(by_length, lengths)["p"] == 1.0, "among replies of one length all is alike"


def test_kappa_by_hand() -> None:
    a = personas({"p0": "sad", "p1": "sad", "p2": "excited", "p3": "excited", "p4": None})
    b = personas(
        {"p0": "sad", "p1": "excited", "p2": "excited", "p3": "excited", "p4": None, "p9": "sad"}
    )
    found = agreement(a, b, SPACE, DIALOGUE)["tone"]
    # observed 4/5; chance (2 1 + 2 3 + 1 1) / 25 = 9/25
    assert found["kappa"]["value"] == pytest.approx((0.8 - 0.36) / (1 - 0.36), abs=1e-4)
    # both name one: observed 3/4; chance (2 1 + 2 3) / 16 = 1/2
    assert found["kappa_both"]["value"] == pytest.approx(0.5, abs=1e-4)
    assert (found["n"], found["both"], found["agreement"]) == (5, 4, 0.8)
    assert found["coverage"] == [0.8, 0.8]


@given(st.lists(st.sampled_from([None, "sad", "excited", "annoyed"]), min_size=2, max_size=10))
def test_an_encoder_agrees_with_itself(values: list[str | None]) -> None:
    read = personas({f"p{i}": value for i, value in enumerate(values)})
    found = agreement(read, read, SPACE, DIALOGUE)["tone"]
    assert found["agreement"] == 1.0
    assert found["kappa"]["value"] == (1.0 if len(set(values)) > 1 else None)


ROWS = [
    {"d": "a", "who": "x", "text": "烦死了，能不能别吵了", "emotion": "anger", "hobby": ""},
    {
        "d": "a",
        "who": "x",
        "text": "i am into playing the guitar",
        "emotion": "neutral",
        "hobby": "playing guitar",
    },
    {"d": "a", "who": "y", "text": "so what", "emotion": "odd", "hobby": ""},
    {"d": "b", "who": "y", "text": "  ", "emotion": "anger", "hobby": ""},
]
MAPPING = """
path: chat.csv
dialogue: d
speaker: who
text: text
dimensions:
  tone: {column: emotion, values: {anger: annoyed, happy: [excited, playful], neutral: null}}
  hobby: {column: hobby}
"""


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    with (tmp_path / "chat.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    path = tmp_path / "map.yaml"
    path.write_text(MAPPING, "utf-8")
    return path


def test_a_mapping_says_which_column_is_which_dimension(mapping: Path) -> None:
    read = read_labelled(mapping, SPACE)
    assert [p.pair_id for p in read.pairs] == ["a#0", "a#1", "a#2"]
    assert read.gold["tone"] == {"a#0": {"annoyed"}, "a#1": frozenset()}
    assert read.gold["hobby"]["a#1"] == {"playing guitar", "guitar"}
    assert read.gold["hobby"]["a#0"] == frozenset()
    assert read.left_out == {"tone: odd": 1, "empty text": 1}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("tone:", "tune:"), "unknown dimension 'tune'"),
        (("annoyed", "furious"), "unknown label 'furious'"),
        (("column: emotion", "column: mood"), "no column 'mood'"),
        (("path: chat.csv", "path: other.csv"), "cannot be read"),
        (("speaker: who\n", ""), "Field required"),
        (
            ("{anger: annoyed, happy: [excited, playful], neutral: null}", "{Anger: annoyed}"),
            "no row has a label",
        ),
    ],
)
def test_a_wrong_mapping_is_one_line(mapping: Path, change: tuple[str, str], what: str) -> None:
    mapping.write_text(MAPPING.replace(*change), "utf-8")
    with pytest.raises((ConfigError, DataError), match=what):
        read_labelled(mapping, SPACE)


def test_jsonl_may_hold_several_values(tmp_path: Path) -> None:
    rows = [{**ROWS[1], "hobby": ["chess", "reading"]}, {**ROWS[2], "hobby": []}]
    (tmp_path / "chat.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    (tmp_path / "map.yaml").write_text(MAPPING.replace("chat.csv", "chat.jsonl"), "utf-8")
    gold = read_labelled(tmp_path / "map.yaml", SPACE).gold["hobby"]
    assert gold == {"a#0": {"chess", "reading"}, "a#1": frozenset()}


def test_the_command_scores_the_default_encoder_and_draws_its_confusion(
    mapping: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    command = [sys.executable, "-m", "vvae.cli", "audit", "labels", str(mapping), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text("utf-8"))
    assert found["dimensions"]["tone"]["precision"]["value"] == 1.0
    assert found["dimensions"]["hobby"]["f1"]["value"] == 1.0
    assert "precision" in done.stdout
    assert "1 tone: odd" in done.stdout
    assert "annoyed" in found["dimensions"]["tone"]["confusion"]
    assert confusion(found).startswith("<svg")
