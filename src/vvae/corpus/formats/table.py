"""Tables (CSV): WeClone's and WeChatMsg's exports of WeChat, DiscordChatExporter's, LinkedIn's, and
any other with a column for speaker and text.

Columns of usual names are found by themselves; others are named with --columns.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vvae.core.dialogue import Message
from vvae.core.errors import DataError, choose_from
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.dates import Clock, Dating, hour_of, iso_seconds, iso_utc, written
from vvae.corpus.formats.discord import media_kind
from vvae.corpus.formats.files import File, torn
from vvae.corpus.formats.html_text import text_of
from vvae.corpus.formats.wechat import Quotations, said

__all__ = ["Row", "Times", "read", "recognise", "rows_of"]

USUAL = {
    "speaker": (
        "speaker",
        "sender",
        "author",
        "from",
        "user",
        "username",
        "name",
        "talker",
        "strtalker",
        "发送者",
        "昵称",
    ),
    "text": (
        "text",
        "message",
        "content",
        "body",
        "msg",
        "utterance",
        "strcontent",
        "内容",
        "消息",
    ),
    "time": (
        "time",
        "timestamp",
        "date",
        "datetime",
        "createtime",
        "created_at",
        "sent_at",
        "when",
        "时间",
    ),
    "chat": (
        "chat",
        "conversation",
        "conversation_id",
        "conversation id",
        "dialogue",
        "dialog",
        "channel",
        "room",
        "room_name",
        "thread",
    ),
    "id": ("id", "message_id", "messageid", "msgsvrid"),
    "reply_to": ("reply_to", "in_reply_to", "reply_to_id"),
    "speaker_id": ("authorid", "sender profile url"),
    "attachment": ("attachments",),
}
WECHAT = ({"is_sender", "talker", "msg"}, {"issender", "strcontent", "type"})
DISCORD = {"authorid", "author", "date", "content"}
LINKEDIN = {"conversation id", "from", "date", "content"}
DISCORD_NOTICE = re.compile(
    r"Joined the server\.|Pinned a message\.|Started a call that lasted .{1,40}|Started a thread.*"
    r"|(?:Added|Removed) .{1,100} (?:to|from) the group\.|Left the group\."
    r"|Changed the channel (?:name|icon).*|Boosted the server.*"
)
NUMBERS = re.compile(
    r"\s*(\d{1,4})([./\-])\s?(\d{1,2})[./\-]\s?(\d{1,4})\.?[ ,T]*"
    r"(?:(\d{1,2}):(\d{2})(?::(\d{2}))?\s?([AaPp]\.?[Mm]\.?)?)?"
)


class Row(NamedTuple):
    """A row of a table and the number of its last line."""

    number: int
    cells: list[str]


def recognise(file: File) -> str | None:
    """Return why a file is such a table: its header line names a speaker and a text."""
    if not file.name.casefold().endswith((".csv", ".tsv")):
        return None
    names = [name.strip().casefold() for name in _split(file.head.split("\n", 1)[0])]
    if names == ["date", "user", "message"]:
        return None  # KakaoTalk's
    if any(required <= set(names) for required in WECHAT):
        return "the columns of a WeChat table"
    for app, required in (("DiscordChatExporter", DISCORD), ("LinkedIn", LINKEDIN)):
        if required <= set(names):
            return f"the columns of a table of {app}"
    roles = [what for what in ("speaker", "text") if set(USUAL[what]) & set(names)]
    return f"columns for {' and '.join(roles)}" if len(roles) == 2 else None


def _split(line: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=_delimiter(line)), [])
    except csv.Error:
        return []


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the rows of each table."""
    for file in files:
        yield from _read(file, hints)


def rows_of(file: File) -> Iterator[Row]:
    """Yield the rows of a table, the header first.

    Raises:
        DataError: a row has a cell that does not end.
    """
    delimiter = _delimiter(file.head.split("\n", 1)[0])
    reader = csv.reader((f"{line.text}\n" for line in file.lines()), delimiter=delimiter)
    try:
        for cells in reader:
            yield Row(reader.line_num, cells)
    except csv.Error as error:
        fix = "is a quotation mark left open?"
        raise DataError(
            f"no table ({error})", where=f"{file.where}:{reader.line_num}", fix=fix
        ) from None


def _columns(header: list[str], hints: Hints, file: File) -> dict[str, int]:
    """What -> number of its column.

    Raises:
        DataError: speaker or text has no column, or a named column is not there.
    """
    names = [name.strip() for name in header]
    folded = [name.casefold() for name in names]
    columns: dict[str, int] = {}
    for what, usual in USUAL.items():
        if at := [folded.index(name) for name in usual if name in folded]:
            columns[what] = at[0]
    for what, column in hints.columns:
        if column not in names:
            fix = choose_from(column, names, shown=20)
            raise DataError(f"no column {column!r}", where=file.where, fix=fix)
        columns[what] = names.index(column)
    if missing := {"speaker", "text"} - set(columns):
        fix = f"say --columns {sorted(missing)[0]}=COLUMN; the columns are {', '.join(names)[:200]}"
        raise DataError(f"no column for the {sorted(missing)[0]}", where=file.where, fix=fix)
    return columns


def _read(file: File, hints: Hints) -> Iterator[Record]:
    rows = rows_of(file)
    header = next(rows, Row(1, [])).cells
    names = {name.strip().casefold(): at for at, name in enumerate(header)}
    if any(required <= set(names) for required in WECHAT) and not hints.columns:
        wechat = _WeChat(file, names)
        yield from (record for row in rows if row.cells for record in wechat.records(row))
        return
    columns = _columns(header, hints, file)
    times = Times(file, columns.get("time"), hints)
    app = "discord" if set(names) >= DISCORD else "linkedin" if set(names) >= LINKEDIN else ""
    draft = names.get("is message draft")
    for number, cells in rows:
        if draft is not None and draft < len(cells) and cells[draft].casefold() == "yes":
            yield Skipped("a draft")
        elif cells:
            yield _record(cells, columns, times, file, f"{file.where}:{number}", app)


def _record(
    cells: list[str],
    columns: Mapping[str, int],
    times: Times,
    file: File,
    where: str,
    app: str = "",
) -> Record:
    if len(cells) <= max(columns.values()):
        return Malformed(where, "a row with too few cells")
    value = {what: cells[at] for what, at in columns.items()}
    if not value["speaker"].strip():
        return Malformed(where, "a message without sender")
    if any(torn(cell) for cell in value.values()):
        return Malformed(where, "not UTF-8")
    at, time = times.read(value.get("time", ""))
    if at is None and value.get("time"):
        return Malformed(where, "a time that cannot be read")
    name, text = value["speaker"].strip(), value["text"]
    kind = "text" if text.strip() else "media"
    if app == "discord":
        name = re.sub(r"#\d{4}$", "", name)
        if DISCORD_NOTICE.fullmatch(text):
            return Skipped("system line", text)
        if value.get("attachment"):
            kind = media_kind(value["attachment"].split(",")[0].partition("?")[0])
    elif app == "linkedin" and "<" in text:
        text = text_of(text)
    person = Person(value.get("speaker_id") or value["speaker"].strip(), name)
    body = Message(
        text,
        id=value.get("id") or None,
        time=time,
        kind=kind,
        reply_to=value.get("reply_to") or None,
    )
    thread = value.get("chat") if at is None else None
    return Sent(value.get("chat") or file.chat, person, body, at, thread=thread)


class Times:
    """A reader of the times of a column: ISO 8601, Unix (milli)seconds, months in words, or days
    and months in an order to be told.
    """

    def __init__(self, file: File, column: int | None, hints: Hints) -> None:
        self._clock: Clock | None = None
        if column is None:
            return
        cells = (row.cells[column] for row in rows_of(file) if len(row.cells) > column)
        dating: Dating | None = None
        for match in filter(None, map(NUMBERS.match, cells)):
            if len(match[1]) < 4:
                dating = dating or Dating(
                    dotted=match[2] == ".", option=hints.dates, where=file.where
                )
                dating.see((match[1], match[3], match[4]))
        if dating is not None:
            self._clock = Clock(dating.order())

    def read(self, text: str) -> tuple[float | None, str | None]:
        """Return (seconds, ISO 8601), twice None where it is no time."""
        text = text.strip()
        if re.fullmatch(r"\d{9,13}(\.\d{1,9})?", text) and text.isascii():
            at = float(text) / (1000 if len(text.partition(".")[0]) > 11 else 1)
            return at, iso_utc(at)
        iso = re.sub(r" ?(?:UTC|GMT)$", "+00:00", text)
        if (at_ := iso_seconds(iso)) is not None:
            return at_, iso.replace(" ", "T").replace("+00:00", "Z")
        match = NUMBERS.match(text)
        if match and self._clock and len(match[1]) < 4:
            hour, minute, second = (int(part or 0) for part in match.groups()[4:7])
            hour = hour_of(hour, match[8])
            moment = self._clock.read((match[1], match[3], match[4]), hour, minute, second)
            return moment or (None, None)
        return written(text) or (None, None)


class _WeChat:
    """A table of WeClone (type_name, is_sender, talker, msg, room_name, ...) or WeChatMsg.

    In some the talker is the chat, so that one's own rows name the other; where own rows and
    others' have no talker in common, it is the one who speaks.
    """

    def __init__(self, file: File, names: Mapping[str, int]) -> None:
        self._file, self._names = file, names
        self._quotations = Quotations()
        talkers: tuple[set[str], set[str]] = (set(), set())
        rows = rows_of(file)
        next(rows, None)
        for row in rows:
            own = self._cell(row, "is_sender", "issender") == "1"
            if len(talkers[own]) < 1000:
                talkers[own].add(self._cell(row, "talker", "strtalker", "sender"))
        self._told = "sender" in names and "strtalker" not in names  # who speaks has a column
        no_room = "room_name" not in names and "strtalker" not in names
        self._speaks = no_room and bool(talkers[1]) and not (talkers[0] & talkers[1])
        self._speaks |= self._told
        self._chat = file.chat if self._speaks and not self._told else ""
        self._group = bool(self._chat) and len(talkers[0]) > 1

    def _cell(self, row: Row, *columns: str) -> str:
        at = next((self._names[column] for column in columns if column in self._names), None)
        return row.cells[at] if at is not None and at < len(row.cells) else ""

    def records(self, row: Row) -> Iterator[Record]:
        """What a row holds."""
        where = f"{self._file.where}:{row.number}"
        if any(map(torn, row.cells)):
            yield Malformed(where, "not UTF-8")
            return
        content = self._cell(row, "msg", "strcontent")
        own = self._cell(row, "is_sender", "issender") == "1"
        talker = self._cell(row, "talker", "strtalker", "sender")
        chat = self._chat or self._cell(row, "room_name", "strtalker", "talkerid") or talker
        chat = chat or self._file.chat
        group = self._group or chat.endswith("@chatroom")
        prefix = re.match(r"([\w\-@]{1,40}):\n", content)
        if group and prefix and not own:
            talker, content = prefix[1], content[prefix.end() :]
        what = said(self._cell(row, "type_name", "type"), content)
        if what.kind == "system":
            yield Skipped("system line", content)
            return
        known = self._cell(row, "remark") or self._cell(row, "nickname")
        speaker = talker if self._speaks else "me" if own else talker or known
        if not speaker:
            yield Malformed(where, "a message without sender")
            return
        told = self._told or not (own or group or self._speaks)
        shown_name = (known or speaker) if told else speaker
        stamp = self._cell(row, "createtime")
        at = float(stamp) if re.fullmatch(r"[0-9]{9,11}", stamp) else iso_seconds(stamp)
        if at is None:
            yield Malformed(where, "a time that cannot be read")
            return
        body = Message(
            what.text,
            id=self._cell(row, "msgsvrid", "id", "localid") or None,
            time=iso_utc(at) if stamp.isdigit() else stamp.replace(" ", "T"),
            kind="text" if what.kind == "forward" else what.kind,
            reply_to=self._quotations.find(what.quotes),
        )
        self._quotations.see(speaker, what.text, body.id)
        forwarded = self._cell(row, "is_forward").casefold() in ("1", "true")
        yield Sent(
            chat,
            Person(speaker, shown_name),
            body,
            at,
            group=group,
            forwarded=forwarded or what.kind == "forward",
            shown="" if what.text == content else content,
        )
