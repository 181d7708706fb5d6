from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import chatpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.exports import EXPORTERS, Line
from vvae.core.dialogue import Dialogue
from vvae.corpus.formats import Sent, Skipped, find, read
from vvae.corpus.importing import Intake, survey
from vvae.corpus.ordering import in_order

NAMES = ("Ana", "Ben María", "李雷", "Zoë 🌻", "+34 600 11 22 33")
# What an app would never write as the beginning of a text, or could not tell from its own words.
plain = st.text(
    st.characters(
        exclude_categories=("Cc", "Cs", "Cf", "Cn", "Zl", "Zp", "Zs"),
        exclude_characters="\ufffc\ufffd",  # where an app puts what is no text
    )
    | st.just(" "),
    min_size=1,
)
texts = plain.map(lambda t: " ".join(t.split())).filter(
    lambda t: t and not re.search(r"^[<\[({:]|[>)]$|: |^null$|:$", t)
)
lines = st.lists(
    st.builds(Line, st.sampled_from(NAMES), st.integers(1_577_900_000, 1_893_000_000), texts),
    min_size=4,
    max_size=12,
).map(lambda found: sorted(found, key=lambda line: line.at))


CHATS = Path(__file__).parent.parent / "chats"
CASES = sorted(str(path.relative_to(CHATS)) for path in CHATS.glob("*/*") if path.is_dir())


def told(path: Path) -> list[object]:
    """Everything in an export, as JSON: what is unknown is left out."""
    rows: list[object] = []
    for format, record in read(find(path)):
        if isinstance(record, Sent):
            message = {k: v for k, v in asdict(record.message).items() if v is not None}
            row = {"chat": record.chat, "who": list(record.person), "at": record.at, **message}
            row |= {
                k: v
                for k in ("group", "thread", "bot", "forwarded", "shown", "doubt")
                if (v := getattr(record, k))
            }
        elif isinstance(record, Dialogue):
            row = {
                "dialogue": record.id,
                "turns": [[turn.speaker, turn.text] for turn in record.turns],
            }
        else:
            row = {
                type(record).__name__: [
                    part
                    for part in record
                    if part not in (None, "")
                    and not (part is False and isinstance(record, Skipped))
                    and not str(part).startswith(str(CHATS))
                ]
            }
        rows.append({"format": format, **row})
    return list(json.loads(json.dumps(rows)))


@pytest.mark.parametrize("case", CASES)
def test_a_known_export_is_read_as_it_always_was(case: str) -> None:
    golden = json.loads((CHATS / f"{case}.golden.json").read_text("utf-8"))
    assert told(CHATS / case) == golden


def said(path: Path) -> list[tuple[str, str]]:
    """(speaker, text) of everything in an export, in order."""
    found: list[tuple[str, str]] = []
    files = find(path)
    disordered = survey(files, Intake()).disordered()
    for _, record in in_order(read(files), disordered):
        if isinstance(record, Sent):
            found.append((record.person.name, record.message.text))
        elif isinstance(record, Dialogue):
            found += [(turn.speaker, m.text) for turn in record.turns for m in turn.messages]
    return found


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def spoken(path: Path) -> list[tuple[str, str]]:
    return [(r.person.name, r.message.text) for _, r in read(find(path)) if isinstance(r, Sent)]


def test_a_name_of_line_does_not_grow_by_what_somebody_often_begins_with(tmp_path: Path) -> None:
    """Computers write it without tabs: only the whole file tells where a name ends."""
    said = [
        ("Ana", "haha yes I know"),
        ("Ben", "really?"),
        ("Ana", "haha no way man"),
        ("Ben", "I think so too"),
        ("Ben", "I think not"),
        ("Ana", "what do we do now"),
        ("Ana", "ok"),
    ]
    clocked = "".join(f"10:{n:02} {who} {text}\n" for n, (who, text) in enumerate(said, 30))
    chat = {"[LINE] Ben.txt": f"2024.05.03 Friday\n{clocked}"}
    assert spoken(written(tmp_path / "two", chat)) == said
    said = [
        (who, f"{text} {n}")
        for n, text in enumerate(("hi there", "no way", "ok"))
        for who in ("Ana Maria", "Ana Lopez", "王芳")
    ]
    clocked = "".join(f"10:{n:02} {who} {text}\n" for n, (who, text) in enumerate(said, 30))
    chat = {"[LINE] 同学.txt": f"2024.05.03 Friday\n{clocked}"}
    assert spoken(written(tmp_path / "group", chat)) == said
    clocked += "10:59 Ana Ruiz hello everybody\n"
    chat = {"[LINE] 同学.txt": f"2024.05.03 Friday\n{clocked}"}
    assert spoken(written(tmp_path / "namesake", chat))[:-1] == said


def test_a_message_that_is_marked_all_over_is_still_said(tmp_path: Path) -> None:
    pieces = [
        [{"type": "bold", "text": "come here now"}],
        [{"type": "mention", "text": "@ana"}, {"type": "bold", "text": " hi"}],
        ["see ", {"type": "link", "text": "example.com"}],
    ]
    messages = [
        {
            "id": n,
            "type": "message",
            "date": f"2024-01-01T10:0{n}:00",
            "date_unixtime": str(1_704_103_200 + 60 * n),
            "from": "Ben",
            "from_id": "user1",
            "text": text,
        }
        for n, text in enumerate(pieces)
    ]
    chat = {"name": "Ben", "type": "personal_chat", "id": 1, "messages": messages}
    folder = written(tmp_path, {"result.json": json.dumps(chat)})
    assert [text for _, text in spoken(folder)] == ["come here now", "@ana hi", "see example.com"]


def test_one_chat_of_telegram_written_in_both_formats_comes_once(tmp_path: Path) -> None:
    made = [Line(("Ana", "Ben")[n % 2], 1_600_000_000 + 60 * n, f"hello {n}") for n in range(6)]
    texts = [line.text for line in made]
    (tmp_path / "pages").mkdir()
    path = EXPORTERS["telegram pages"][1](tmp_path / "pages", made)
    page = path if path.is_file() else next(path.rglob("messages.html"))
    title = re.search(r'<div class="text bold">\s*([^<]+?)\s*</div>', page.read_text("utf-8"))
    assert title
    chat = json.loads(EXPORTERS["telegram"][1](tmp_path, made).read_text("utf-8"))
    one, other, all_of_it = (tmp_path / name for name in ("one", "other", "all"))
    for folder, name in ((one, title[1]), (other, "Somebody else")):
        shutil.copytree(page.parent, folder)
        (folder / "result.json").write_text(json.dumps(chat | {"name": name}), "utf-8")
    assert [text for _, text in spoken(one)] == texts
    assert [text for _, text in spoken(other)] == [*texts, *texts], "two chats in one folder"
    shutil.copytree(page.parent, all_of_it / "chats/chat_001")
    account = json.dumps({"about": "", "chats": {"list": [chat]}})
    (all_of_it / "result.json").write_text(account, "utf-8")
    assert [text for _, text in spoken(all_of_it)] == texts


def test_a_number_dialled_in_another_way_is_the_same_chat(tmp_path: Path) -> None:
    rows = [
        ("1", "+15551234567", "hi", 0),
        ("2", "(555) 123-4567", "hey", 1),
        ("1", "+15551234567", "how are you", 2),
        ("2", "5551234567", "fine", 3),
        ("1", "+15550000000", "who is it", 4),
        ("1", "+8613912345678", "你好", 5),
        ("1", "+8615912345678", "在吗", 6),
    ]
    names = {"4567": "Ben", "0000": "Cy", "8613912345678": "Li", "8615912345678": "Wang"}
    sms = "".join(
        f'<sms address="{number}" date="{1_600_000_000_000 + at}" type="{kind}" body="{text}" '
        f'contact_name="{next(n for end, n in names.items() if number.endswith(end))}" />'
        for kind, number, text, at in rows
    )
    path = written(tmp_path, {"sms.xml": f"<?xml version='1.0'?><smses>{sms}</smses>"})
    sent = [record for _, record in read(find(path)) if isinstance(record, Sent)]
    assert len({record.chat for record in sent}) == 4
    assert [r.person.name for r in sent] == ["Ben", "Me", "Ben", "Me", "Cy", "Li", "Wang"]


def test_of_two_exports_of_a_chat_only_what_both_hold_is_left_out(tmp_path: Path) -> None:
    """The app writes so many messages at the most: a later export begins later."""

    def chat(*days: int) -> str:
        return "".join(
            f"{day:02}/03/2023, 10:00 - {('Ana', 'Ben')[day % 2]}: day {day}\n" for day in days
        )

    files = {
        "WhatsApp Chat with Ben.txt": chat(13, 14, 15, 16),
        "WhatsApp Chat with Ben (1).txt": chat(16, 17, 18),
    }
    said = sorted(text for _, text in spoken(written(tmp_path, files)))
    assert said == [f"day {day}" for day in range(13, 19)]


@pytest.mark.parametrize("name", EXPORTERS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(lines=lines)
def test_what_an_app_exports_comes_back_message_for_message(name: str, lines: list[Line]) -> None:
    format, write = EXPORTERS[name]
    days = {(line.at // 86400) for line in lines}
    sure = [
        Line("Ana", 1_577_900_000 + 25 * 86400, "the 26th"),
        Line("Ben María", 1_577_900_100 + 25 * 86400, "yes"),
    ]
    lines = sorted([*sure, *lines], key=lambda line: line.at) if days else lines
    if name == "slack":  # its shortcodes become emoji, and its markup what it stands for
        lines = [
            line._replace(text=line.text.replace(":", "").replace("&", "and") or "x")
            for line in lines
        ]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), lines)
        assert {one.format for one in find(path)} - {None} == {format}
        expected = [(line.speaker, line.text) for line in lines]
        if name == "weclone":
            expected = [
                ("me" if speaker == lines[0].speaker else "room", text)
                for speaker, text in expected
            ]
            assert [text for _, text in said(path)] == [text for _, text in expected]
        elif name == "alpaca":
            assert [text for _, text in said(path)] == [
                text for _, text in expected[: len(lines) // 2 * 2]
            ]
        else:
            assert said(path) == expected


@pytest.mark.parametrize(
    ("name", "parser"),
    [
        ("whatsapp on Android", chatpack.parse_whatsapp),
        ("whatsapp on iOS", chatpack.parse_whatsapp),
        ("telegram", chatpack.parse_telegram),
        ("discord", chatpack.parse_discord),
    ],
)
@settings(deadline=None, max_examples=30)
@given(
    said=st.lists(
        st.tuples(
            st.sampled_from(["Ana", "Ben María", "李雷"]),
            st.integers(1_580_083_200, 1_893_000_000),
            texts,
        ),
        min_size=2,
        max_size=8,
    )
)
def test_another_parser_reads_the_same(
    name: str, parser: Any, said: list[tuple[str, int, str]]
) -> None:
    lines = [
        Line("Ana", 1_579_996_800, "the 26th"),
        *map(Line._make, sorted(said, key=lambda one: one[1])),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = EXPORTERS[name][1](Path(folder), lines)
        theirs = [
            (m.sender, m.content, int(datetime.fromisoformat(str(m.timestamp)).timestamp()))
            for m in parser(str(path))
        ]
        sent = [record for _, record in read(find(path)) if isinstance(record, Sent)]
    ours = [(r.person.name, r.message.text, int(r.at or 0)) for r in sent]
    assert sorted(ours) == sorted(theirs)


if __name__ == "__main__":  # writes what is read now; look at each line before it is believed
    for case in CASES:
        rows = ",\n ".join(json.dumps(row, ensure_ascii=False) for row in told(CHATS / case))
        (CHATS / f"{case}.golden.json").write_text(f"[{rows}]\n", "utf-8")
