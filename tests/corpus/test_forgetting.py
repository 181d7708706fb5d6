"""A person taken out of chats and runs; consent that training holds to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from tests.corpus.test_privacy import everything_in
from tests.support.exports import Line, table
from tests.support.runs import write_config
from vvae.config import load_config
from vvae.core.dialogue import Dialogue, Message, Reaction, Turn
from vvae.core.errors import ConfigError, DataError
from vvae.corpus.consent import check_consent, read_consent
from vvae.corpus.forgetting import forget, without
from vvae.corpus.formats import find
from vvae.corpus.importing import DIALOGUES, Intake, bring_in, mapping_path
from vvae.corpus.tables import read_dialogues
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages


def test_a_dialogue_without_a_person_has_no_trace_of_it() -> None:
    said = (
        Turn(
            0, "ana", (Message("hi Dan", reactions=(Reaction("👍", "dan"), Reaction("👍", "ben"))),)
        ),
        Turn(1, "dan", (Message("yo"),)),
        Turn(2, "ben", (Message("so", present=("ana", "ben", "dan")),)),
    )
    left = without("dan", Dialogue("d", said))
    assert [turn.id for turn in left.turns] == [0, 2], "turns are never renumbered"
    assert left.turns[0].messages[0] == Message("hi <name>", reactions=(Reaction("👍", "ben"),))
    assert left.turns[1].messages[0].present == ("ana", "ben")


@pytest.fixture
def finished(tmp_path: Path, corpus: list[Dialogue], tiny_model: Path) -> Path:
    """A run with everything in it, and a ledger of calls."""
    variants = ["zero-shot", "SP+FT", "unstructured"]
    config = write_config(tmp_path, corpus, tiny_model, variants=variants, train={"pairs": 8})
    run = Run(load_config(config))
    run_stages(run)
    run.ledger.write_text("answers that quote dan")
    return tmp_path


def test_a_run_forgets_a_person_in_every_file_and_says_what_to_train_again(finished: Path) -> None:
    run = finished / "run"
    assert "dan" in everything_in(run)
    done = forget("dan", run)[run]
    assert done.retrain == ["SP+FT", "unstructured"]
    assert {
        "adapters",
        "replies",
        "losses",
        "ledger.sqlite",
        "report.html",
        "encodings.parquet",
    } <= set(done.deleted)
    assert done.turns > 0
    assert done.untouched is not None, "the file of the chats is the user's own"
    named = [
        str(path)
        for path in run.rglob("*")
        if path.is_file() and '"dan"' in everything_in(path.parent) and path.name != "x"
    ]
    assert not named
    speakers = {turn.speaker for d in read_dialogues(run / DIALOGUES) for turn in d.turns}
    assert speakers == {"ana", "ben", "cleo"}
    run_stages(Run(load_config(finished / "config.yaml")), until="profiles")
    assert "dan" not in set(pl.read_parquet(run / "profiles.parquet")["speaker"])
    # Also where the chats are read again, for their file still has the person.
    config = finished / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 1") + "seed: 1\n")
    again = Run(load_config(config))
    run_stages(again, until="pairs")
    assert {pair.speaker for pair in again.pairs} == {"ana", "ben", "cleo"}
    with pytest.raises(DataError, match="'zed' is not here"):
        forget("zed", run)


def test_chats_forget_a_person_by_either_name_and_for_good(tmp_path: Path) -> None:
    lines = [
        Line(("Ana Ruiz", "Ben Oduya", "Dan Ek")[i % 3], 1_579_996_800 + i, f"hi Dan {i}")
        for i in range(9)
    ]
    path, chats = table(tmp_path, lines), tmp_path / "chats"
    bring_in(find(path), chats, Intake())
    shown = json.loads(mapping_path(chats).read_text())["Dan Ek"]
    forget("Dan Ek", chats)
    for text in (everything_in(chats), mapping_path(chats).read_text()):
        assert shown not in text
        assert "Dan" not in text
    bring_in(find(path), chats, Intake())  # the export still has him
    assert len({turn.speaker for d in read_dialogues(chats / DIALOGUES) for turn in d.turns}) == 2
    assert "forgotten" in json.loads((chats / "import.json").read_text())["left_out"]
    assert "Dan" not in mapping_path(chats).read_text()


def test_who_comes_into_a_chat_of_two_is_not_taken_for_who_was_forgotten(tmp_path: Path) -> None:
    """Nobody else has a pseudonym: the mapping is there, and empty."""
    both = [Line(("Ana", "Ben")[i % 2], 1_579_996_800 + i, f"so {i}") for i in range(8)]
    later = [Line(("Dee", "Ana")[i % 2], 1_579_998_800 + i, f"well {i}") for i in range(20)]
    chats = tmp_path / "chats"
    bring_in(find(table(tmp_path, both)), chats, Intake(learn=("Ana",)))
    forget("Ben", chats)
    bring_in(find(table(tmp_path, [*both, *later])), chats, Intake(learn=("Ana",)))
    (dee,) = json.loads(mapping_path(chats).read_text()).values()
    spoken = [turn.speaker for d in read_dialogues(chats / DIALOGUES) for turn in d.turns]
    assert spoken.count(dee) == 10


@pytest.mark.parametrize("mapping_is_there", [True, False])
def test_who_comes_after_somebody_who_was_forgotten_is_not_taken_for_them(
    tmp_path: Path, mapping_is_there: bool
) -> None:
    def lines(*people: str) -> list[Line]:
        return [
            Line(people[i % len(people)], 1_579_996_800 + i, f"so {people[(i + 1) % 3]} {i}")
            for i in range(12)
        ]

    chats = tmp_path / "chats"
    bring_in(find(table(tmp_path, lines("Ana", "Ben", "Cy"))), chats, Intake(learn=("Ana",)))
    forget("Ben", chats)
    if not mapping_is_there:
        mapping_path(chats).unlink()
        bring_in(find(table(tmp_path, lines("Ana", "Ben", "Cy"))), chats, Intake(learn=("Ana",)))
        assert json.loads((chats / "import.json").read_text())["left_out"] == {"forgotten": 4}
        return
    later = [*lines("Ana", "Ben", "Cy"), *lines("Dee", "Ana", "Dee")]
    bring_in(find(table(tmp_path, later)), chats, Intake(learn=("Ana",)))
    summary = json.loads((chats / "import.json").read_text())
    assert summary["left_out"]["forgotten"] == 4
    counted = Counter(
        turn.speaker
        for d in read_dialogues(chats / DIALOGUES)
        for turn in d.turns
        for _ in turn.messages
    )
    assert counted["Ana"] == 8
    names = json.loads(mapping_path(chats).read_text())
    assert names.keys() == {"Cy", "Dee"}
    assert counted[names["Dee"]] == 8


# --- consent --------------------------------------------------------------------------------------


def test_consent_is_held_to(tmp_path: Path) -> None:
    path = tmp_path / "consent.yaml"
    path.write_text(
        "ana: {agreed: [learn], how: asked}\nben: {agreed: [context]}\ndan: {agreed: []}\n"
    )
    agreed = read_consent(path)
    check_consent(agreed, ["ana"], ["ana", "ben", "zoe"])
    for learnt, present, required, what in (
        (["ben"], ["ana", "ben"], False, "'ben' has not agreed to be learnt"),
        (["zoe"], ["zoe"], False, "'zoe' has not agreed to be learnt"),
        (["ana"], ["ana", "dan"], False, "'dan' agreed to nothing"),
        (["ana"], ["ana", "zoe"], True, "'zoe' is not in the file"),
    ):
        with pytest.raises(ConfigError, match=what):
            check_consent(agreed, learnt, present, required=required)
    check_consent(None, ["ana"], ["ana"])
    with pytest.raises(ConfigError, match="no consent file"):
        check_consent(None, ["ana"], ["ana"], required=True)
    path.write_text("ana: {agreed: [everything]}\n")
    with pytest.raises(ConfigError, match="ana"):
        read_consent(path)


def test_training_refuses_who_has_not_agreed(
    tmp_path: Path, corpus: list[Dialogue], tiny_model: Path
) -> None:
    consent = tmp_path / "consent.yaml"
    consent.write_text("ana: {agreed: [learn]}\n")
    data = {"path": str(tmp_path / "chats.jsonl"), "consent": str(consent)}
    changes = {"data": data, "variants": ["FT"], "train": {"pairs": 8}}
    config = write_config(
        tmp_path,
        corpus,
        tiny_model,
        **changes,
        pairs={"min_heldout_replies": 5, "min_train_dialogues": 3},
    )
    with pytest.raises(ConfigError, match="'ben' has not agreed"):
        run_stages(Run(load_config(config)), until="train")
    command = [sys.executable, "-m", "vvae.cli", "train", str(config), "--require-consent"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    consent.write_text(
        "".join(f"{name}: {{agreed: [learn]}}\n" for name in ("ana", "ben", "cleo", "dan"))
    )
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0
