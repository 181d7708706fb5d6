"""Tables (CSV): WeClone's and WeChatMsg's exports of WeChat, and any other with a column for
speaker and text.

Columns of usual names are found by themselves; others are named with --columns.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vvae.core.dialogue import Message
from vvae.core.errors import DataError
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.dates import Clock, Dating, iso_seconds, iso_utc
from vvae.corpus.formats.files import File

__all__ = ["read", "recognise"]

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
        "dialogue",
        "dialog",
        "channel",
        "room",
        "room_name",
        "thread",
    ),
    "id": ("id", "message_id", "msgsvrid"),
    "reply_to": ("reply_to", "in_reply_to", "reply_to_id"),
}
WECHAT = ({"is_sender", "talker", "msg"}, {"strtalker", "issender", "strcontent"})
WECHAT_TYPES = {
    **dict.fromkeys(("文本", "text", "1", "引用回复", "(引用回复)"), "text"),
    **dict.fromkeys(("图片", "image", "3"), "image"),
    **dict.fromkeys(("语音", "voice", "34"), "audio"),
    **dict.fromkeys(("视频", "video", "43"), "video"),
    **dict.fromkeys(("动画表情", "表情包", "表情", "sticker", "47"), "sticker"),
    **dict.fromkeys(("位置", "location", "48"), "location"),
    **dict.fromkeys(("语音通话", "视频通话", "通话", "50"), "call"),
    **dict.fromkeys(("系统通知", "系统消息", "拍一拍", "10000", "10002"), "system"),
    **dict.fromkeys(("文件", "file"), "file"),
    **dict.fromkeys(("名片", "42"), "contact"),
}
NUMBERS = re.compile(
    r"\s*(\d{1,4})([./\-])(\d{1,2})[./\-](\d{1,4})[ ,T]*(?:(\d{1,2}):(\d{2})(?::(\d{2}))?)?"
)


class _Row(NamedTuple):
    number: int
    cells: list[str]


def recognise(file: File) -> str | None:
    """Return why a file is such a table: its header line names a speaker and a text."""
    if not file.name.casefold().endswith((".csv", ".tsv")):
        return None
    names = [name.strip().casefold() for name in _split(file.head.split("\n", 1)[0])]
    if any(required <= set(names) for required in WECHAT):
        return "the columns of a WeChat table"
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


def _rows(file: File) -> Iterator[_Row]:
    """The rows of the table, the header first.

    Raises:
        DataError: a row has a cell that does not end.
    """
    delimiter = _delimiter(file.head.split("\n", 1)[0])
    reader = csv.reader((f"{line.text}\n" for line in file.lines()), delimiter=delimiter)
    try:
        for cells in reader:
            yield _Row(reader.line_num, cells)
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
            raise DataError(
                f"no column {column!r}",
                where=file.where,
                fix=f"choose from {', '.join(names)[:200]}",
            )
        columns[what] = names.index(column)
    if missing := {"speaker", "text"} - set(columns):
        fix = f"say --columns {sorted(missing)[0]}=COLUMN; the columns are {', '.join(names)[:200]}"
        raise DataError(f"no column for the {sorted(missing)[0]}", where=file.where, fix=fix)
    return columns


def _read(file: File, hints: Hints) -> Iterator[Record]:
    rows = _rows(file)
    header = next(rows, _Row(1, [])).cells
    names = {name.strip().casefold(): at for at, name in enumerate(header)}
    if any(required <= set(names) for required in WECHAT) and not hints.columns:
        yield from (_wechat(row, names, file) for row in rows if row.cells)
        return
    columns = _columns(header, hints, file)
    times = _Times(file, columns.get("time"), hints)
    for number, cells in rows:
        if cells:
            yield _record(cells, columns, times, file, f"{file.where}:{number}")


def _record(
    cells: list[str], columns: Mapping[str, int], times: _Times, file: File, where: str
) -> Record:
    if len(cells) <= max(columns.values()):
        return Malformed(where, "a row with too few cells")
    value = {what: cells[at] for what, at in columns.items()}
    if not value["speaker"].strip():
        return Malformed(where, "a message without sender")
    if any(_torn(cell) for cell in value.values()):
        return Malformed(where, "not UTF-8")
    at, time = times.read(value.get("time", ""))
    if at is None and value.get("time"):
        return Malformed(where, "a time that cannot be read")
    person = Person(value["speaker"].strip(), value["speaker"].strip())
    text = value["text"]
    body = Message(
        text,
        id=value.get("id") or None,
        time=time,
        kind="text" if text.strip() else "media",
        reply_to=value.get("reply_to") or None,
    )
    thread = value.get("chat") if at is None else None
    return Sent(value.get("chat") or file.stem, person, body, at, thread=thread)


def _torn(text: str) -> bool:
    return not text.isascii() and any(0xD800 <= ord(c) <= 0xDFFF for c in text)


class _Times:
    """Reads the times of a column: ISO 8601, Unix (milli)seconds, or days and months in an order to
    be told.
    """

    def __init__(self, file: File, column: int | None, hints: Hints) -> None:
        self._clock: Clock | None = None
        if column is None:
            return
        cells = (row.cells[column] for row in _rows(file) if len(row.cells) > column)
        dates = [m for m in (NUMBERS.match(cell) for cell in cells) if m and len(m[1]) < 4]
        if dates:
            dating = Dating(dotted=dates[0][2] == ".", option=hints.dates, where=file.where)
            for match in dates:
                dating.see((match[1], match[3], match[4]))
            self._clock = Clock(dating.order())

    def read(self, text: str) -> tuple[float | None, str | None]:
        """(seconds, ISO 8601)."""
        text = text.strip()
        if re.fullmatch(r"\d{9,13}(\.\d{1,9})?", text) and text.isascii():
            at = float(text) / (1000 if len(text.partition(".")[0]) > 11 else 1)
            return at, iso_utc(at)
        if (at_ := iso_seconds(text)) is not None:
            return at_, text.replace(" ", "T")
        match = NUMBERS.match(text)
        if match and self._clock:
            moment = self._clock.read(
                (match[1], match[3], match[4]), *(int(part or 0) for part in match.groups()[4:7])
            )
            return moment or (None, None)
        return None, None


def _wechat(row: _Row, names: Mapping[str, int], file: File) -> Record:
    """A row of WeClone (type_name, is_sender, talker, msg, room_name, is_forward, ...) or
    WeChatMsg.
    """

    def cell(*columns: str) -> str:
        index = next((names[column] for column in columns if column in names), None)
        return row.cells[index] if index is not None and index < len(row.cells) else ""

    where = f"{file.where}:{row.number}"
    if any(map(_torn, row.cells)):
        return Malformed(where, "not UTF-8")
    kind = WECHAT_TYPES.get(cell("type_name", "type").casefold(), "media")
    if kind == "system":
        return Skipped("system line")
    text, own = cell("msg", "strcontent"), cell("is_sender", "issender") == "1"
    talker = cell("talker", "strtalker")
    chat = cell("room_name", "strtalker") or talker or file.stem
    group = chat.endswith("@chatroom")
    prefix = re.match(r"([\w\-@]{1,40}):\n", text)
    if group and prefix and not own:
        talker, text = prefix[1], text[prefix.end() :]
    speaker = "me" if own else talker or cell("nickname", "remark")
    if not speaker:
        return Malformed(where, "a message without sender")
    display_name = (
        "me" if own else (cell("remark") or cell("nickname") or speaker) if not group else speaker
    )
    stamp = cell("createtime")
    at = float(stamp) if re.fullmatch(r"[0-9]{9,11}", stamp) else iso_seconds(stamp)
    if at is None:
        return Malformed(where, "a time that cannot be read")
    body = Message(
        text if kind == "text" else "",
        id=cell("msgsvrid", "id", "localid") or None,
        time=iso_utc(at) if stamp.isdigit() else stamp.replace(" ", "T"),
        kind=kind,
    )
    forwarded = cell("is_forward").casefold() in ("1", "true")
    return Sent(chat, Person(speaker, display_name), body, at, group=group, forwarded=forwarded)
