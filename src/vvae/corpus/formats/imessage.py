"""iMessage: the database of a Mac or of a phone's backup (chat.db, sms.db), and the texts that
imessage-exporter writes of it.

Since macOS 13 the text of a message stands in `attributedBody`, an archive of NeXT's typedstream,
of which only the string is read. Times are counted from 2001, in nanoseconds since macOS 10.13.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import Any
from urllib.parse import quote

from vvae.core.dialogue import Message, Reaction
from vvae.core.errors import DataError
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.blocks import blocks_of
from vvae.corpus.formats.dates import iso_utc, written
from vvae.corpus.formats.discord import media_kind
from vvae.corpus.formats.files import File, torn
from vvae.corpus.formats.jsonl import storable
from vvae.corpus.formats.phrases import is_tapback

__all__ = ["read", "recognise", "typedstream_text"]

SQLITE = "SQLite format 3"
TABLES = {"message", "handle", "chat", "chat_message_join"}
EPOCH = 978_307_200
"""Seconds from 1970 to 2001."""
MOST_IN_MEMORY = 1 << 30
MOST_STEPS = 20_000
"""Times that SQLite may take another thousand steps between two rows of an honest database."""
TAPBACKS = {2000: "❤️", 2001: "👍", 2002: "👎", 2003: "😂", 2004: "‼️", 2005: "❓"}
REMOVED = 1000
PLACEHOLDERS = "\ufffc\ufffd"
COLUMNS = (
    *("ROWID", "guid", "text", "attributedBody", "handle_id", "date", "is_from_me", "item_type"),
    *("associated_message_type", "associated_message_guid", "associated_message_emoji"),
    *("thread_originator_guid", "cache_has_attachments", "date_edited", "date_retracted"),
    "balloon_bundle_id",
)
HEADER = re.compile(
    r"(?P<time>[A-Z][a-z]{2} \d{2}, \d{4} {1,2}\d{1,2}:\d{2}:\d{2} [AP]M)(?P<rest> .*)?"
)
READ = re.compile(r" \(.*\)")
TAIL = re.compile(
    r"Tapbacks:|Reactions:|Translated from:|This message responded to an earlier message\."
    r"|Sent with (?:Confetti|Echo|Fireworks|Balloons|Heart|Lasers|Shooting Start?|Sparkles"
    r"|Spotlight|Slam|Loud|Gentle|Invisible Ink)"
)
TAPBACK = re.compile(r"\s*(?:\S{1,20} by .{1,80}|.{0,20}Sticker from .*)")
UNSENT = re.compile(r".{1,80} unsent this message part.*|This message was deleted.*", re.DOTALL)
EDITED = re.compile(r"Edited (?:.{1,60} later)?: ?(.*)")
PATH = re.compile(r"(?:/|~/|attachments/|[A-Z]:\\).*\.\w{2,5}|Attachment missing!.*")


def recognise(file: File) -> str | None:
    """Return why a file is iMessage's: a database with its tables, or a text as imessage-exporter
    writes it.
    """
    if file.head.startswith(SQLITE):
        with closing(_database(file)) as database:
            names = {row[0] for row in _rows(database, "SELECT name FROM sqlite_master", file)}
        return "a database with the tables of iMessage" if names >= TABLES else None
    first = file.head.lstrip().partition("\n")[0].rstrip("\r")
    is_match = HEADER.fullmatch(first) is not None
    return "times as imessage-exporter writes them" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each database, and of each text, which is a chat."""
    for file in files:
        yield from _of_database(file) if file.head.startswith(SQLITE) else _of_text(file)


def _database(file: File) -> sqlite3.Connection:
    """The database, opened so that nothing in it is written or run.

    Raises:
        DataError: it is too large to be read out of an archive.
    """
    if file.path is not None:
        where = f"file:{quote(str(file.path.absolute()))}?mode=ro&immutable=1"
        database = sqlite3.connect(where, uri=True)
    else:
        database = sqlite3.connect(":memory:")
        data = file.read(MOST_IN_MEMORY)
        with suppress(sqlite3.Error, OverflowError):  # the first query says so
            database.deserialize(data)
    database.text_factory = lambda data: storable(data.decode("utf-8", "replace"))
    steps = iter(range(MOST_STEPS))
    database.set_progress_handler(lambda: next(steps, None) is None, 100_000)
    return database


def _rows(database: sqlite3.Connection, query: str, file: File) -> Iterator[tuple[Any, ...]]:
    try:
        database.execute("PRAGMA trusted_schema = OFF")
        yield from database.execute(query)
    except (sqlite3.Error, OverflowError, ValueError, UnicodeDecodeError) as error:
        fix = "copy chat.db again, with chat.db-wal beside it merged (quit Messages first)"
        raise DataError(
            f"no database that can be read ({error})", where=file.where, fix=fix
        ) from None


def _of_database(file: File) -> Iterator[Record]:
    with closing(_database(file)) as database:
        known = {row[1] for row in _rows(database, "PRAGMA table_info(message)", file)}
        tapbacks = _tapbacks(database, known, file)
        columns = ", ".join(f"m.{name}" if name in known else "NULL" for name in COLUMNS)
        query = (
            f"SELECT {columns}, h.id, c.chat_identifier, c.display_name, c.style "
            "FROM message m LEFT JOIN chat_message_join j ON j.message_id = m.ROWID "
            "LEFT JOIN chat c ON c.ROWID = j.chat_id LEFT JOIN handle h ON h.ROWID = m.handle_id "
            "ORDER BY m.date, m.ROWID"
        )
        names = (*COLUMNS, "who", "chat", "title", "style")
        for row in _rows(database, query, file):
            yield _record(dict(zip(names, row, strict=True)), tapbacks, file)


def _tapbacks(
    database: sqlite3.Connection, known: set[str], file: File
) -> dict[str, dict[tuple[str, str], None]]:
    """guid of a message -> (emoji, who), as far as they were not taken back."""
    found: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    if not {"associated_message_type", "associated_message_guid"} <= known:
        return found
    emoji = "m.associated_message_emoji" if "associated_message_emoji" in known else "NULL"
    query = (
        f"SELECT m.associated_message_guid, m.associated_message_type, {emoji}, m.is_from_me, h.id "
        "FROM message m LEFT JOIN handle h ON h.ROWID = m.handle_id "
        "WHERE m.associated_message_type >= 2000 ORDER BY m.date"
    )
    for guid, kind, own_emoji, is_own, who in _rows(database, query, file):
        if not isinstance(guid, str) or not isinstance(kind, int):
            continue
        sign = own_emoji or TAPBACKS.get(kind - REMOVED if kind >= 3000 else kind)
        key = (str(sign), "Me" if is_own else str(who))
        target = found[guid[-36:].rpartition("/")[2]]
        if kind >= 3000:
            target.pop(key, None)
        elif sign:
            target[key] = None
    return found


def _record(
    row: dict[str, Any], tapbacks: dict[str, dict[tuple[str, str], None]], file: File
) -> Record:
    where = f"{file.where}: message {row['ROWID']}"
    kind = row["associated_message_type"]
    if isinstance(kind, int) and kind >= 2000:
        return Skipped("reaction", str(row["text"] or ""))
    if row["item_type"] not in (None, 0):
        return Skipped("system line")
    if row["chat"] is None:
        return Skipped("in no chat: taken out by its owner", str(row["text"] or ""))
    date = row["date"]
    if not isinstance(date, int) or not 0 < date < 10**19:
        return Malformed(where, "a message without time")
    at = EPOCH + (date / 10**9 if date > 10**11 else float(date))
    if at > 10**11:
        return Malformed(where, "a message without time")
    who = "Me" if row["is_from_me"] else row["who"]
    if not isinstance(who, str) or not who:
        return Malformed(where, "a message without sender")
    body = row["attributedBody"]
    text = (typedstream_text(body) if isinstance(body, bytes) else "") or row["text"] or ""
    if not isinstance(text, str):
        return Malformed(where, "a message whose text cannot be read")
    plain = text.replace("\r", "\n").strip(PLACEHOLDERS + " \n\x00")
    if not plain:
        kind = "deleted" if row["date_retracted"] else "media"
    else:
        kind = "file" if row["cache_has_attachments"] else "text"
    reply = row["thread_originator_guid"]
    reactions = tuple(Reaction(*one) for one in tapbacks.get(str(row["guid"]), ()))
    message = Message(
        storable(plain),
        id=str(row["guid"]),
        time=iso_utc(at),
        kind=kind,
        reply_to=reply if isinstance(reply, str) else None,
        reactions=reactions or None,
        edited=True if row["date_edited"] and plain else None,
    )
    chat = str(row["title"] or row["chat"] or "")
    return Sent(chat, Person(who, who), message, at, group=row["style"] == 43)


def typedstream_text(data: bytes) -> str | None:
    """Return the string of an archived attributed string, or None where there is none.

    Behind the name of the class NSString stand a reference to its parent, a tag `+`, the length
    (one byte; two behind 0x81 and four behind 0x82, little-endian) and the string in UTF-8.
    """
    at = data.find(b"NSString")
    start = data.find(b"+", at + 8, at + 24) if at >= 0 else -1
    if start < 0 or start + 1 >= len(data):
        return None
    first, width = data[start + 1], 0
    if first in (0x81, 0x82):
        width = 2 if first == 0x81 else 4
        length = int.from_bytes(data[start + 2 : start + 2 + width], "little")
    else:
        length = first
    begin = start + 2 + width
    return data[begin : begin + length].decode("utf-8", "replace")


def _of_text(file: File) -> Iterator[Record]:
    """A message begins with a time and the sender below it; replies stand indented below the
    message they answer, and once more at their own time. A notice is a time and its words in one
    line behind an empty one; in the midst of a message such a line is what it said at first.
    """
    for block in blocks_of(file, _begins):
        yield block if isinstance(block, Malformed) else _block(*block, file)


def _begins(line: str, blank: bool) -> re.Match[str] | None:
    """A line that begins a message; behind an empty line also a notice."""
    match = HEADER.fullmatch(line)
    return match if match and (blank or not _is_notice(match)) else None


def _is_notice(header: re.Match[str]) -> bool:
    return header["rest"] is not None and READ.fullmatch(header["rest"]) is None


def _block(header: re.Match[str], lines: list[str], file: File) -> Record:
    if _is_notice(header):
        return Skipped("system line", header.group())
    time = written(header["time"])
    if time is None:
        return Malformed(file.where, "a date that does not exist")
    if not lines or not lines[0].strip():
        return Malformed(file.where, "a message without sender")
    who = lines[0].strip()
    said: list[str] = []
    files: list[str] = []
    last = ""
    for line in lines[1:]:
        if line.startswith("    ") and HEADER.fullmatch(line.strip()):
            break  # an answer, which comes again
        edited = HEADER.fullmatch(line) or EDITED.fullmatch(line)
        if TAIL.fullmatch(line):
            last = line
        elif last == "Translated from:" or (last.endswith("s:") and TAPBACK.fullmatch(line)):
            continue
        elif edited:  # the last wording is the message's
            said = [(edited[edited.lastindex or 0]).strip()]
        elif PATH.fullmatch(line):
            files.append(line)
        else:
            said.append(line)
    text = "\n".join(said).strip("\n")
    if torn(text + who):
        return Malformed(file.where, "not UTF-8")
    if is_tapback(text):
        return Skipped("reaction", text)
    unsent = UNSENT.fullmatch(text) is not None
    kind = "deleted" if unsent else media_kind(files[0]) if files else "text" if text else "media"
    message = Message("" if unsent else text, time=time[1], kind=kind)
    return Sent(file.chat, Person(who, who), message, time[0], group="," in file.stem)
