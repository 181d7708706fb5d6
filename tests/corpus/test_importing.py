from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from subprocess import run as start
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.exports import Line, android, chatlab, discord, ios, openai, table, telegram
from vvae.config import load_config
from vvae.core.dialogue import Dialogue
from vvae.core.errors import ConfigError, DataError
from vvae.corpus.formats import Hints, find
from vvae.corpus.importing import (
    DIALOGUES,
    Intake,
    bring_in,
    read_aliases,
    read_columns,
    speakers_to_learn,
    survey,
)
from vvae.corpus.silences import Silences
from vvae.corpus.tables import read_dialogues
from vvae.pipeline.stages.corpus import import_dialogues

START = 1_579_996_800  # 2020-01-26, which tells the day from the month
PLAIN = Intake(private=False)


def talk(*said: tuple[str, str], gap: int = 60, start: int = START) -> list[Line]:
    return [Line(name, start + gap * i, text) for i, (name, text) in enumerate(said)]


def brought(
    path: Path, options: Intake = PLAIN, out: Path | None = None
) -> tuple[list[Dialogue], dict[str, Any]]:
    folder = out or Path(tempfile.mkdtemp()) / "chats"
    summary = bring_in(find(path), folder, options)
    return read_dialogues(folder / DIALOGUES), summary


def texts(dialogues: Sequence[Dialogue]) -> list[list[tuple[str, str]]]:
    return [[(turn.speaker, turn.text) for turn in dialogue.turns] for dialogue in dialogues]


# --- conversations --------------------------------------------------------------------------------


def test_silence_ends_a_conversation_and_bursts_are_turns(tmp_path: Path) -> None:
    first = talk(("Ana", "hi"), ("Ana", "you there?"), ("Ben", "yes"))
    second = talk(("Ben", "again"), ("Ana", "ok"), start=START + 7200)
    dialogues, summary = brought(table(tmp_path, [*first, *second]))
    assert texts(dialogues) == [
        [("Ana", "hi\nyou there?"), ("Ben", "yes")],
        [("Ben", "again"), ("Ana", "ok")],
    ]
    assert [d.id for d in dialogues] == ["table-1@2020-01-26T00:00", "table-1@2020-01-26T02:00"]
    assert summary["kept"] == summary["messages"] == 5
    joined, _ = brought(table(tmp_path, [*first, *second]), Intake(private=False, gap=180))
    assert len(joined) == 1


def test_the_threshold_lies_between_two_heaps_of_silences() -> None:
    silences = Silences()
    for second in range(20, 120):
        silences.add(second, changed=True)
        silences.add(1000 * second, changed=bool(second % 2))
    assert 120 < silences.threshold() <= 20_000
    few = Silences()
    few.add(5, changed=True)
    assert few.threshold() == 3600
    for _ in range(90):
        few.add(5, changed=True)
    assert few.threshold() == 3600  # one heap has no cut


def test_an_answer_after_hours_is_an_answer_where_people_answer_after_hours(tmp_path: Path) -> None:
    hour, said = 3600, []
    for day in range(40):  # a question in the morning, an answer at noon, thanks in the evening
        at = START + 24 * hour * day
        said += [
            Line("Ana", at, f"q{day}"),
            Line("Ben", at + 4 * hour, "a"),
            Line("Ana", at + 9 * hour, "b"),
        ]
    dialogues, summary = brought(table(tmp_path, said))
    assert summary["left_out"] == {}
    assert [turn.text for turn in dialogues[0].turns] == ["q0", "a", "b"]
    assert summary["unanswered_by_gap"]["60"] == len(said)
    assert summary["unanswered_by_gap"]["720"] == 0


def test_whoever_begins_anew_after_hours_does_not_answer() -> None:
    silences, none = Silences(), Silences()
    for _ in range(50):
        silences.add(3 * 3600, changed=True)
        silences.add(9 * 3600, changed=True)
        silences.add(9 * 3600, changed=False)  # either may begin: nobody answers any more
    assert 3 * 3600 < silences.patience(0.5, none) <= 9 * 3600
    assert none.patience(0.5, none) == 12 * 3600  # nothing tells
    assert none.patience(0.5, silences) == silences.patience(0.5, none)  # other chats do


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 40), min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_a_file_does_not_matter(steps: list[int], rng: Random) -> None:
    at = START
    lines = [Line("Ana", at, "first"), Line("Ben", at + 1, "second")]
    for number, step in enumerate(steps):
        at = lines[-1].at + 60 * step + 1
        lines.append(Line(rng.choice(["Ana", "Ben", "Cleo"]), at, f"m{number}"))
    shuffled = rng.sample(lines, len(lines))
    for told in (lines[::-1], shuffled):
        with tempfile.TemporaryDirectory() as folder:
            home, other = Path(folder, "a"), Path(folder, "b")
            home.mkdir()
            other.mkdir()
            right, summary = brought(discord(home, lines), out=Path(folder, "x"))
            sorted_, again = brought(discord(other, told), out=Path(folder, "y"))
            assert texts(sorted_) == texts(right)
            assert summary["out_of_order"] == 0
            assert again["kept"] == summary["kept"]
            if told == lines[::-1]:
                assert (again["newest_first"], again["out_of_order"]) == (1, 0)


def test_who_was_there_in_a_group(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_text(
        "26/01/2020, 10:00 - Ana added Ben and Cleo\n"
        "26/01/2020, 10:01 - Ana: hi\n26/01/2020, 10:02 - Ben: yo\n26/01/2020, 10:03 - Dan: hey\n"
        "26/01/2020, 10:04 - Cleo left\n26/01/2020, 10:05 - Ana: bye\n"
    )
    (dialogue,), _ = brought(path)
    present = [message.present for turn in dialogue.turns for message in turn.messages]
    assert present == [
        ("Ben", "Cleo", "Ana"),
        ("Ben", "Cleo", "Ana"),
        ("Ben", "Cleo", "Ana", "Dan"),
        ("Ben", "Ana", "Dan"),
    ]


def test_identities_are_joined_by_an_alias_file_and_namesakes_are_told_apart(
    tmp_path: Path,
) -> None:
    lines = talk(("Ana", "hi"), ("Ben", "yo"), ("Ana Work", "me too"))
    (dialogue,), _ = brought(
        table(tmp_path, lines), Intake(private=False, aliases={"Ana": ["Ana Work"]})
    )
    assert dialogue.speakers == ("Ana", "Ben")
    (file := tmp_path / "aliases.yaml").write_text("Ana: [Ana Work, 'telegram:user1']\n")
    assert read_aliases(file) == {"Ana": ["Ana Work", "telegram:user1"]}
    base = json.loads(discord(tmp_path, lines).read_text())
    for number, message in enumerate(base["messages"]):
        message["author"] = {"id": str(number), "name": "Sam"}
    (tmp_path / "dm.json").write_text(json.dumps(base))
    (dialogue,), _ = brought(tmp_path / "dm.json")
    assert dialogue.speakers == ("Sam", "Sam (2)", "Sam (3)")


# --- every message accounted for ------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Ana", "Ben", "Cleo"]),
            st.integers(0, 200_000),
            st.sampled_from(
                [
                    "hi",
                    "ok",
                    "https://example.org",
                    "https://a.b www.c.d",
                    "你好",
                    "see https://a.b",
                ]
            ),
        ),
        min_size=3,
        max_size=30,
    )
)
def test_every_message_is_kept_or_counted_under_a_reason(said: list[tuple[str, int, str]]) -> None:
    lines = [
        Line(name, START + at, text) for name, at, text in sorted(said, key=lambda one: one[1])
    ]
    lines += talk(("Ana", "so"), ("Ben", "yes"), start=START + 900_000)
    with tempfile.TemporaryDirectory() as folder:
        path = telegram(Path(folder), lines)
        dialogues, summary = brought(path, out=Path(folder) / "chats")
    kept = sum(len(turn.messages) for dialogue in dialogues for turn in dialogue.turns)
    left_out = sum(summary["left_out"].values())
    assert kept == summary["kept"]
    assert summary["messages"] == len(lines) == kept + left_out + sum(summary["malformed"].values())


def test_steps_of_cleaning_are_counted_and_can_be_turned_off(tmp_path: Path) -> None:
    path = Path(__file__).parent.parent / "chats" / "telegram" / "group"
    _, summary = brought(path, Intake(private=False, malformed_limit=0.2))
    assert summary["left_out"] == {"forwarded": 1, "sent by a bot": 1, "system line": 1}
    assert summary["malformed"] == {"a message without sender": 1}
    _, summary = brought(
        path, Intake(private=False, malformed_limit=0.2, keep=("forwarded", "bots"))
    )
    assert summary["left_out"] == {"system line": 1}
    with pytest.raises(ConfigError, match="no step 'x'"):
        Intake(keep=("x",))
    with pytest.raises(DataError, match="1 of 10 messages are malformed"):
        brought(path)


def test_the_same_message_twice_and_other_languages_are_left_out(tmp_path: Path) -> None:
    english = talk(
        ("Ana", "what did you do last night my friend"), ("Ben", "we went to the cinema together")
    )
    spanish = talk(
        ("Ana", "qué hiciste anoche amiga mía"),
        ("Ben", "fuimos juntos al cine del barrio"),
        start=START + 90_000,
    )
    rows = [*english, *spanish]
    base = json.loads(telegram(tmp_path, rows).read_text())
    base["messages"].insert(1, base["messages"][0])
    path = tmp_path / "result.json"
    path.write_text(json.dumps(base))
    dialogues, summary = brought(path, Intake(private=False, languages=("en",)))
    assert summary["left_out"] == {"language: es": 2, "the same message again": 1}
    assert len(dialogues) == 1


def test_replies_reactions_edits_and_kinds_are_kept(tmp_path: Path) -> None:
    path = Path(__file__).parent.parent / "chats" / "discord" / "channel"
    (dialogue,), summary = brought(path)
    first, second = (turn.messages[0] for turn in dialogue.turns[:2])
    assert first.edited
    assert first.reactions is not None
    assert [(r.emoji, r.by) for r in first.reactions] == [("🔥", "ben"), ("🔥", None)]
    assert second.reply_to == "101"
    assert summary["kinds"] == {"text": 1, "image": 1, "sticker": 1}


# --- what the user is asked, and says -------------------------------------------------------------


def test_dates_that_do_not_tell_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_text("03/04/2020, 10:00 - Ana: hi\n03/04/2020, 10:01 - Ben: yo\n")
    with pytest.raises(DataError, match="03/04/2020 the day or the month first"):
        brought(path)
    (dialogue,), _ = brought(path, Intake(private=False, hints=Hints("month-first")))
    assert dialogue.turns[0].messages[0].time == "2020-03-04T10:00:00"
    path.write_text(
        "03/04/2020, 10:00 - Ana: hi\n03/05/2020, 10:01 - Ben: yo\n04/01/2020, 10:01 - Ana: a\n"
    )
    dialogues, _ = brought(path, Intake(private=False, gap=10**6))  # days would run backwards
    assert dialogues[0].turns[2].messages[0].time == "2020-04-01T10:01:00"


def test_columns_of_a_table_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("who;what\nAna;hi\nBen;yo\n")
    with pytest.raises(DataError, match="a table with the columns who;what"):
        find(path)
    with pytest.raises(DataError, match="no column for the speaker"):
        bring_in(find(path, "table"), tmp_path / "c", PLAIN)
    hints = Hints(columns=read_columns("speaker=who,text=what"))
    bring_in(find(path, "table"), tmp_path / "c", Intake(private=False, hints=hints))
    assert texts(read_dialogues(tmp_path / "c" / DIALOGUES)) == [[("Ana", "hi"), ("Ben", "yo")]]
    with pytest.raises(ConfigError, match="maps no columns"):
        read_columns("nonsense")


def test_whom_to_learn_keeps_the_name_and_others_get_pseudonyms(tmp_path: Path) -> None:
    lines = talk(("Ana Ruiz", "hi Ben"), ("Ben Oduya", "hi Ana"), ("Ana Ruiz", "bye"))
    dialogues, summary = brought(
        table(tmp_path, lines), Intake(learn=("Ana Ruiz",)), tmp_path / "chats"
    )
    (ana, false) = dialogues[0].speakers
    assert ana == "Ana Ruiz"
    assert texts(dialogues)[0][0] == ("Ana Ruiz", f"hi {false}")
    assert texts(dialogues)[0][1] == (false, "hi Ana")
    assert summary["learn"] == ["Ana Ruiz"]
    assert "Oduya" not in json.dumps(summary)
    assert speakers_to_learn(tmp_path / "chats") == ("Ana Ruiz",)
    with pytest.raises(ConfigError, match="'Zed' does not write here"):
        brought(table(tmp_path, lines), Intake(learn=("Zed",)))
    counted = survey(find(table(tmp_path, lines)), Intake())
    assert Intake().choosing("1, Ben Oduya", counted).learn == ("Ana Ruiz", "Ben Oduya")


def test_a_folder_of_many_apps_and_ready_dialogues_comes_in_at_once(tmp_path: Path) -> None:
    lines = talk(("Ana", "hi"), ("Ben", "yo"))
    for name, export in (("a", android), ("b", chatlab), ("c", openai)):
        (tmp_path / name).mkdir()
        export(tmp_path / name, lines)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    dialogues, summary = brought(tmp_path, out=tmp_path.parent / "out-chats")
    assert summary["files"] == {"whatsapp": 1, "chatlab": 1, "openai": 1, "of no known format": 1}
    assert sorted(dialogue.id.split("@")[0] for dialogue in dialogues) == [
        "chatlab-1",
        "openai:1",
        "whatsapp-1",
    ]


def test_two_exports_of_one_chat_and_zips_in_a_folder(tmp_path: Path) -> None:
    lines = talk(("Ana", "hi"), ("Ben", "yo"), ("Ana", "so"), ("Ben", "bye"))
    path = android(tmp_path, lines[:2])
    path.rename(path.with_name("WhatsApp Chat with Ben (1).txt"))
    android(tmp_path, lines)
    with zipfile.ZipFile(tmp_path / "WhatsApp Chat - Cleo.zip", "w") as archive:
        archive.write(ios(tmp_path, talk(("Ana", "hey"), ("Cleo", "hm"))), "_chat.txt")
    (tmp_path / "_chat.txt").unlink()
    dialogues, summary = brought(tmp_path, out=tmp_path.parent / f"{tmp_path.name}-out")
    assert sorted(texts(dialogues), key=len) == [
        [("Ana", "hey"), ("Cleo", "hm")],
        [("Ana", "hi"), ("Ben", "yo"), ("Ana", "so"), ("Ben", "bye")],
    ]
    assert summary["left_out"]["in another export of the same chat"] == 2


def test_the_same_export_gives_the_same_bytes(tmp_path: Path) -> None:
    lines = talk(("Ana Ruiz", "hi"), ("Ben", "call 600112233"), ("Ana Ruiz", "bye"))
    path = table(tmp_path, lines)
    made = [tmp_path / name / "chats" for name in ("one", "two")]
    for folder in made:
        bring_in(find(path), folder, Intake())
    assert len({(folder / DIALOGUES).read_bytes() for folder in made}) == 1


def test_a_run_reads_the_folder_and_consent_does_not_make_it_read_again(tmp_path: Path) -> None:
    from vvae.pipeline.run import Run
    from vvae.pipeline.runner import stages_of

    bring_in(find(table(tmp_path, talk(("Ana", "hi"), ("Ben", "yo")))), tmp_path / "chats", PLAIN)
    (tmp_path / "c.yaml").write_text(f"run: {tmp_path}/run\ndata: {{path: {tmp_path}/chats}}\n")
    run = Run(load_config(tmp_path / "c.yaml"))
    import_dialogues(run)
    assert list(run.dialogues.values()) == read_dialogues(tmp_path / "chats" / DIALOGUES)
    before = stages_of(run)[0].settings
    (tmp_path / "chats" / "consent.yaml").write_text("Ana: {agreed: [learn]}\n")
    assert stages_of(run)[0].settings == before


def test_the_command_line(tmp_path: Path) -> None:
    path = android(
        tmp_path, [*talk(("Ana Ruiz", "hi"), ("Ben", "yo")), Line("Ben", START + 86400 * 3, "so")]
    )

    def vvae(*words: str) -> tuple[int, str, str]:
        done = start(
            [sys.executable, "-m", "vvae.cli", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert "whatsapp" in vvae("import", str(path), "--explain")[1]
    code, said, _ = vvae("import", str(path), "--who")
    assert code == 0
    assert "Ana Ruiz" in said
    assert "--learn NAME" in said
    assert not (tmp_path / "chats").exists()
    code, said, _ = vvae("import", str(path), "--learn", "Ben", "-o", "chats")
    assert code == 0
    assert "Ana" not in said
    assert "nobody answered" in said
    assert vvae("init", "mine.yaml", "--data", "chats")[0] == 0
    written = load_config(tmp_path / "mine.yaml")
    assert written.pairs.speakers == ("Ben",)
    assert written.train.pairs == 1600, "one person's replies, as far as more were found to help"
    code, _, error = vvae("import", "nowhere.zip")
    assert code == 2
    assert error.count("\n") == 1
    assert "no such file" in error
