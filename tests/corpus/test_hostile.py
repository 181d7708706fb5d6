"""Exports that are broken or mean harm: each is refused with one line,
soon and in little memory.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import run as start

import pytest

from tests.support.exports import Line, discord
from vvae.core.errors import ConfigError, DataError, VVAEError
from vvae.corpus import ordering
from vvae.corpus.formats import Malformed, Sent, find, read
from vvae.corpus.importing import Intake, bring_in, read_aliases
from vvae.corpus.loading import load_dialogues

HEADER = b"26/01/2020, 10:00 - Ana: hi\n26/01/2020, 10:01 - Ben: yo\n"


def bomb(path: Path) -> None:
    """A gigabyte of zeros in a megabyte."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("chat.txt", "w") as entry,
    ):
        for _ in range(1024):
            entry.write(bytes(1 << 20))


def climbing(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../etc/chat.txt", HEADER)


def locked(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("chat.txt", HEADER)
    data = bytearray(path.read_bytes())
    data[6] |= 1  # says that it is encrypted
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))


def torn(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("chat.txt", HEADER * 100)
    data = bytearray(path.read_bytes())
    data[50:60] = bytes(10)
    path.write_bytes(bytes(data))


def endless_line(path: Path) -> None:
    """One line of a gigabyte; most of it is a hole in the file."""
    path.write_bytes(HEADER + b"26/01/2020, 10:02 - Ana: " + b"a" * (2 << 20))
    with path.open("r+b") as opened:
        opened.truncate(1 << 30)


def nul(path: Path) -> None:
    path.write_bytes(HEADER + b"26/01/2020, 10:02 - Ana: a\0b\n")


def surrogates(path: Path) -> None:
    message = {
        "id": 1,
        "type": "message",
        "date_unixtime": "1577900000",
        "from": "Ana",
        "from_id": "u1",
        "text": "@",
    }
    text = json.dumps({"name": "x", "type": "personal_chat", "id": 1, "messages": [message]})
    path.write_text(text.replace('"@"', r'"\ud800"'))


def not_utf8(path: Path) -> None:
    path.write_bytes(HEADER + b"26/01/2020, 10:02 - Ana: \xff\xfe\xfa\n")


def deep(path: Path) -> None:
    path.write_text('{"name": "x", "date_unixtime": "1", "messages": ' + "[" * 1_000_000)


def endless_text(path: Path) -> None:
    head = '{"name": "x", "date_unixtime": "1", "messages": [{"text": "'
    path.write_text(head + "a" * (80 << 20))


def unclosed(path: Path) -> None:
    path.write_text('speaker,text\nAna,"hi\n' + "Ben,yo\n" * 200_000)


def cut_off(path: Path) -> None:
    path.write_text(
        '{"name": "x", "messages": [{"id": 1, "date_unixtime": "1577900000", "from_id": "u1", '
        '"text": "a"'
    )


def swelling_xml(path: Path) -> None:
    """A billion laughs: entities of entities."""
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    path.write_text(
        f'<?xml version="1.0"?><!DOCTYPE smses [<!ENTITY e0 "lol">{entities}]>'
        '<smses><sms address="1" date="1600000000000" type="1" body="&e11;" /></smses>'
    )


def outside_xml(path: Path) -> None:
    """An entity that is another file."""
    path.write_text(
        '<?xml version="1.0"?><!DOCTYPE smses [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        '<smses><sms address="1" date="1600000000000" type="1" body="&x;" /></smses>'
    )


def deep_html(path: Path) -> None:
    path.write_text('<div class="message default clearfix">' + "<b>" * 1_000_000)


def no_database(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 400)


def endless_query(path: Path) -> None:
    """A view in the place of a table, which counts without end."""
    database = sqlite3.connect(path)
    database.executescript(
        "CREATE TABLE handle (ROWID INTEGER PRIMARY KEY, id TEXT); CREATE TABLE chat (ROWID"
        " INTEGER PRIMARY KEY, chat_identifier, display_name, style);"
        "CREATE TABLE chat_message_join (chat_id, message_id);"
        "CREATE VIEW message AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
        " SELECT x AS ROWID, x AS date, 2000 AS associated_message_type,"
        " 'g' AS associated_message_guid, 0 AS is_from_me, 1 AS handle_id FROM c;"
    )
    database.close()


@pytest.mark.parametrize(
    ("make", "name", "what"),
    [
        (bomb, "x.zip", "would unpack to"),
        (climbing, "x.zip", "leaves its folder"),
        (locked, "x.zip", "cannot be unpacked"),
        (torn, "x.zip", "damaged"),
        (endless_line, "x.txt", "a line longer than 1 MB"),
        (nul, "x.txt", "a NUL byte"),
        (surrogates, "x.json", "text cannot be read"),
        (not_utf8, "x.txt", "not UTF-8"),
        (deep, "x.json", "nested too deeply"),
        (endless_text, "x.json", "a value larger than 16 MB"),
        (unclosed, "x.csv", "quotation mark"),
        (cut_off, "x.json", "ends too early"),
        (swelling_xml, "x.xml", "entities are declared"),
        (outside_xml, "x.xml", "entities are declared"),
        (deep_html, "messages.html", "nested too deeply"),
        (no_database, "chat.db", "no database that can be read"),
        (endless_query, "chat.db", "no database that can be read"),
    ],
)
def test_what_means_harm_is_refused_with_one_line(
    make: Callable[[Path], None], name: str, what: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    make(path)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)); "
        "from vvae.cli.main import main; main()"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "import",
        str(path),
        "-o",
        str(tmp_path / "chats"),
        "--real-names",
    ]
    started = time.monotonic()
    done = start(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    assert what in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "chats" / "import.json").exists()
    assert not list(tmp_path.rglob("*.part"))
    assert time.monotonic() - started < 60


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_bounded_where_a_file_is_large(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    row = "26/01/2020, 10:%02d - %s: hello there my friend how are you doing today\n"
    with path.open("w") as out:
        for i in range(400_000):
            out.write(row % (i % 60, ("Ana", "Ben")[i % 2]))
    code = (
        "import re, sys; from pathlib import Path; from vvae.corpus.formats import find; "
        "from vvae.corpus.importing import *;"
        "bring_in(find(Path(sys.argv[1])), Path(sys.argv[2]), Intake());"
        # not getrusage: its peak counts the process that started this one
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // "
        "1024)"
    )
    done = start(
        [sys.executable, "-c", code, str(path), str(tmp_path / "c")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert path.stat().st_size > 25_000_000
    assert int(done.stdout) < 300


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_bytes(HEADER)
    (export := tmp_path / "export").mkdir()
    (export / "chat.txt").symlink_to(secret)
    with pytest.raises(DataError, match="no files"):
        find(export)


def test_yaml_that_swells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "aliases.yaml"
    lines = ["a0: &a0 [lol]"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="aliases"):
        read_aliases(path)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: b\n", "a: [", "\x00", "a: [x]\nb: [x]\n"])
def test_an_alias_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "aliases.yaml"
    path.write_text(text)
    with pytest.raises(VVAEError) as error:
        read_aliases(path)
    assert "\n" not in str(error.value)


def test_nothing_half_written_is_left_by_a_refusal(tmp_path: Path) -> None:
    (path := tmp_path / "chat.txt").write_bytes(HEADER)
    bring_in(find(path), tmp_path / "chats", Intake())
    before = {p.name: p.read_bytes() for p in (tmp_path / "chats").iterdir()}
    path.write_bytes(HEADER + b"26/01/2020, 10:02 - Ana: \0\n")
    with pytest.raises(DataError):
        bring_in(find(path), tmp_path / "chats", Intake())
    assert {p.name: p.read_bytes() for p in (tmp_path / "chats").iterdir()} == before


def test_a_time_beyond_the_calendar_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "general").mkdir()
    messages = [
        {"type": "message", "user": "U1", "text": "hi", "ts": ts}
        for ts in ("1700000000.1", "555555555555.1")
    ]
    (tmp_path / "general" / "2024-01-01.json").write_text(json.dumps(messages))
    (tmp_path / "users.json").write_text('[{"id": "U1", "name": "ana"}]')
    records = [record for _, record in read(find(tmp_path, "slack"))]
    assert [type(record) for record in records] == [Sent, Malformed]


@pytest.mark.parametrize("name", ["convokit", "chatlab"])
def test_half_a_character_in_a_name_can_be_stored(tmp_path: Path, name: str) -> None:
    lines = {
        "convokit": [
            '{"id": "1", "speaker": "\\ud800", "conversation_id": "c", "text": "hi", "timestamp": '
            "1}"
        ],
        "chatlab": [
            '{"_type": "header", "chatlab": {"version": "0.0.2"}, "meta": {"type": "private"}}',
            '{"_type": "message", "sender": "\\udfff", "timestamp": 1700000000, "type": 0, '
            '"content": "hi"}',
        ],
    }
    (tmp_path / "chat.jsonl").write_text("\n".join(lines[name]))
    (record,) = (record for _, record in read(find(tmp_path, name)))
    assert isinstance(record, Sent)
    record.person.name.encode("utf-8")


def test_a_digit_that_is_no_number_in_a_files_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("²/chat.txt", HEADER)
        archive.writestr("1/chat.txt", HEADER)
    assert len(find(tmp_path / "e.zip")) == 2


def test_a_file_out_of_order_may_be_larger_than_what_waits_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "IN_MEMORY", 1 << 12)
    lines = [Line(("Ana", "Ben")[i % 2], 1_580_000_000 + 60 * i, f"m{i}") for i in range(600)]
    bring_in(find(discord(tmp_path, lines[::-1])), tmp_path / "chats", Intake(private=False))
    texts = [
        m.text for d in load_dialogues(tmp_path / "chats") for t in d.turns for m in t.messages
    ]
    assert texts == [f"m{i}" for i in range(600)]
