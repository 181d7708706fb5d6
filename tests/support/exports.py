"""Writes chats as the apps export them: the importers the other way round, for round trips and as
seeds for fuzzing.
"""

from __future__ import annotations

import csv
import html
import io
import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from vvae.core.dialogue import Dialogue


class Line(NamedTuple):
    """One message: who, when (Unix seconds) and what."""

    speaker: str
    at: int
    text: str


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), "utf-8")
    return path


def android(folder: Path, lines: Sequence[Line]) -> Path:
    """WhatsApp on Android, day first."""
    path = folder / "WhatsApp Chat with Ben.txt"
    rows = [f"{_time(x.at):%d/%m/%Y, %H:%M} - {x.speaker}: {x.text}\n" for x in lines]
    path.write_text(
        "31/12/2019, 08:00 - Messages and calls are end-to-end encrypted.\n" + "".join(rows),
        "utf-8",
    )
    return path


def ios(folder: Path, lines: Sequence[Line]) -> Path:
    """WhatsApp on iOS, month first, a narrow space before AM."""
    path = folder / "_chat.txt"
    rows = [f"[{_time(x.at):%m/%d/%y, %I:%M:%S\u202f%p}] {x.speaker}: {x.text}\r\n" for x in lines]
    banner = (
        "[12/31/19, 8:00:00\u202fAM] Ben: \u200eMessages and calls are end-to-end encrypted.\r\n"
    )
    path.write_bytes((banner + "".join(rows)).encode())
    return path


def telegram(folder: Path, lines: Sequence[Line]) -> Path:
    """Telegram, one chat; every other text in pieces."""

    def message(number: int, x: Line) -> dict[str, Any]:
        half = len(x.text) // 2
        pieces = [x.text[:half], {"type": "bold", "text": x.text[half:]}]
        return {
            "id": number,
            "type": "message",
            "date": f"{_time(x.at):%Y-%m-%dT%H:%M:%S}",
            "date_unixtime": str(x.at),
            "from": x.speaker,
            "from_id": f"user{sum(map(ord, x.speaker))}",
            "text": pieces if number % 2 else x.text,
            "text_entities": [],
        }

    chat = {
        "name": "Ben",
        "type": "personal_chat",
        "id": 7,
        "messages": [message(i, x) for i, x in enumerate(lines)],
    }
    return _json(folder / "result.json", chat)


def telegram_account(folder: Path, lines: Sequence[Line]) -> Path:
    """Telegram, a whole account with one chat."""
    chat = json.loads(telegram(folder, lines).read_text("utf-8"))
    account = {
        "about": "x",
        "personal_information": {"user_id": 1},
        "chats": {"about": "y", "list": [chat]},
    }
    return _json(folder / "result.json", account)


def discord(folder: Path, lines: Sequence[Line]) -> Path:
    """Discord, a direct chat."""

    def message(number: int, x: Line) -> dict[str, Any]:
        return {
            "id": str(number),
            "type": "Default",
            "timestamp": _time(x.at).isoformat(),
            "timestampEdited": None,
            "content": x.text,
            "author": {
                "id": f"{sum(map(ord, x.speaker))}",
                "name": "n",
                "nickname": x.speaker,
                "isBot": False,
            },
            "attachments": [],
            "embeds": [],
            "reactions": [],
            "mentions": [],
        }

    channel = {"id": "5", "type": "DirectTextChat", "name": "ben"}
    messages = [message(i, x) for i, x in enumerate(lines)]
    return _json(
        folder / "dm.json", {"guild": {"id": "0"}, "channel": channel, "messages": messages}
    )


def slack(folder: Path, lines: Sequence[Line]) -> Path:
    """Slack, one channel, a file per day."""
    escaped = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    names = {x.speaker: f"U{i}" for i, x in enumerate(lines)}
    base = folder / "slack"
    users = [
        {"id": user, "name": "n", "profile": {"display_name": name}} for name, user in names.items()
    ]
    _json(base / "users.json", users)
    _json(base / "channels.json", [{"id": "C1", "name": "general"}])
    days: dict[str, list[dict[str, Any]]] = {}
    for number, x in enumerate(lines):
        text = "".join(escaped.get(c, c) for c in x.text)
        row = {
            "type": "message",
            "user": names[x.speaker],
            "text": text,
            "ts": f"{x.at}.{number:06d}",
        }
        days.setdefault(f"{_time(x.at):%Y-%m-%d}", []).append(row)
    for day, rows in days.items():
        _json(base / "general" / f"{day}.json", rows)
    return base


def messenger(folder: Path, lines: Sequence[Line]) -> Path:
    """Messenger: newest first, bytes taken for characters, over two files."""

    def broken(text: str) -> str:
        return text.encode("utf-8").decode("latin-1")

    base = folder / "inbox" / "ben_1"
    rows = [
        {"sender_name": broken(x.speaker), "timestamp_ms": x.at * 1000, "content": broken(x.text)}
        for x in reversed(lines)
    ]
    people = [{"name": broken(name)} for name in dict.fromkeys(x.speaker for x in lines)]
    half = len(rows) // 2
    for number, part in ((1, rows[:half]), (2, rows[half:])):
        _json(
            base / f"message_{number}.json",
            {"participants": people, "messages": part, "title": "Ben"},
        )
    return folder / "inbox"


def chatlab(folder: Path, lines: Sequence[Line]) -> Path:
    """ChatLab, JSON."""
    members = [
        {"platformId": f"w{n}", "accountName": n} for n in dict.fromkeys(x.speaker for x in lines)
    ]
    messages = [
        {
            "sender": f"w{x.speaker}",
            "accountName": x.speaker,
            "timestamp": x.at,
            "type": 0,
            "content": x.text,
        }
        for x in lines
    ]
    head = {
        "chatlab": {"version": "0.0.2", "exportedAt": 1},
        "meta": {"name": "x", "platform": "wechat"},
    }
    return _json(folder / "wechat.json", {**head, "members": members, "messages": messages})


def chatlab_lines(folder: Path, lines: Sequence[Line]) -> Path:
    """ChatLab, JSONL."""
    whole = json.loads(chatlab(folder, lines).read_text("utf-8"))
    head = {"_type": "header", "chatlab": whole["chatlab"], "meta": whole["meta"]}
    rows = [head, *({"_type": "member", **m} for m in whole["members"])]
    rows += [{"_type": "message", **m} for m in whole["messages"]]
    path = folder / "wechat.jsonl"
    path.write_text(
        "# a comment\n" + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        "utf-8",
    )
    return path


def _csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    path.write_text(out.getvalue(), "utf-8", newline="")
    return path


def weclone(folder: Path, lines: Sequence[Line]) -> Path:
    """WeClone, a table of WeChat; the first speaker is its owner."""
    header = [
        "id",
        "MsgSvrID",
        "type_name",
        "is_sender",
        "talker",
        "msg",
        "src",
        "CreateTime",
        "room_name",
        "is_forward",
    ]
    owner = lines[0].speaker if lines else ""
    rows = [
        [
            i,
            i,
            "文本",
            int(x.speaker == owner),
            x.speaker,
            x.text,
            "",
            f"{_time(x.at):%Y-%m-%d %H:%M:%S}",
            "room",
            0,
        ]
        for i, x in enumerate(lines)
    ]
    return _csv(folder / "weclone.csv", header, rows)


def table(folder: Path, lines: Sequence[Line]) -> Path:
    """A table of one's own."""
    rows = [[f"{_time(x.at):%Y-%m-%dT%H:%M:%SZ}", x.speaker, x.text] for x in lines]
    return _csv(folder / "chat.csv", ["Timestamp", "Author", "Content"], rows)


def convokit(folder: Path, lines: Sequence[Line]) -> Path:
    """A ConvoKit corpus of one conversation."""
    base = folder / "corpus"
    base.mkdir()
    rows = [
        {
            "id": f"u{i}",
            "conversation_id": "u0",
            "speaker": x.speaker,
            "text": x.text,
            "timestamp": x.at,
            "meta": {},
        }
        for i, x in enumerate(lines)
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (base / "utterances.jsonl").write_text(text, "utf-8")
    _json(base / "speakers.json", {x.speaker: {} for x in lines})
    return base


def openai(folder: Path, lines: Sequence[Line]) -> Path:
    """OpenAI messages, one record."""
    messages = [{"role": "user", "name": x.speaker, "content": x.text} for x in lines]
    path = folder / "chat.jsonl"
    path.write_text(json.dumps({"messages": messages}, ensure_ascii=False) + "\n", "utf-8")
    return path


def sharegpt(folder: Path, lines: Sequence[Line]) -> Path:
    """ShareGPT, one record in a list."""
    return _json(
        folder / "share.json",
        [{"id": "x", "conversations": [{"from": x.speaker, "value": x.text} for x in lines]}],
    )


def qq(folder: Path, lines: Sequence[Line]) -> Path:
    """QQ Chat Exporter, JSON: the text stands twice, faces in words."""
    messages = [
        {
            "id": f"m{i}",
            "seq": str(i),
            "timestamp": x.at * 1000,
            "time": f"{_time(x.at):%Y-%m-%d %H:%M:%S}",
            "sender": {"uid": f"u_{x.speaker}", "uin": "0", "name": x.speaker},
            "type": "type_1",
            "content": {
                "text": x.text,
                "elements": [{"type": "text", "data": {"text": x.text}}],
                "resources": [],
            },
            "recalled": False,
            "system": False,
        }
        for i, x in enumerate(lines)
    ]
    head = {"metadata": {"name": "QQChatExporter V5"}, "chatInfo": {"name": "x", "type": "group"}}
    return _json(folder / "group_1.json", {**head, "statistics": {}, "messages": messages})


def qq_chunks(folder: Path, lines: Sequence[Line]) -> Path:
    """QQ Chat Exporter, JSONL in two pieces."""
    whole = json.loads(qq(folder, lines).read_text("utf-8"))
    (folder / "group_1.json").unlink()
    base, rows = folder / "x_chunked_jsonl", whole["messages"]
    _json(base / "manifest.json", {k: whole[k] for k in ("metadata", "chatInfo", "statistics")})
    half = len(rows) // 2
    (base / "chunks").mkdir()
    for number, part in ((1, rows[:half]), (2, rows[half:])):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (base / "chunks" / f"c{number:06d}.jsonl").write_text(text, "utf-8")
    return base


def weflow(folder: Path, lines: Sequence[Line]) -> Path:
    """WeFlow, JSON."""
    messages = [
        {
            "localId": i,
            "createTime": x.at,
            "type": "文本消息",
            "localType": 1,
            "content": x.text,
            "isSend": 0,
            "senderUsername": f"wxid_{x.speaker}",
            "senderDisplayName": x.speaker,
            "source": "",
        }
        for i, x in enumerate(lines)
    ]
    head = {"weflow": {"version": "1.0.3"}, "session": {"wxid": "wxid_b", "type": "私聊"}}
    return _json(folder / "b.json", {**head, "messages": messages})


def weflow_text(folder: Path, lines: Sequence[Line]) -> Path:
    """WeFlow, TXT."""
    path = folder / "b.txt"
    rows = [f"{_time(x.at):%Y-%m-%d %H:%M:%S} '{x.speaker}'\n{x.text}\n\n" for x in lines]
    path.write_text("".join(rows), "utf-8")
    return path


def imessage_text(folder: Path, lines: Sequence[Line]) -> Path:
    """imessage-exporter, TXT."""
    path = folder / "ben.txt"
    rows = [
        f"{_time(x.at):%b %d, %Y} {_time(x.at).strftime('%I:%M:%S %p').lstrip('0'):>11}"
        f"\n{x.speaker}\n{x.text}\n\n"
        for x in lines
    ]
    path.write_text("".join(rows), "utf-8")
    return path


def typedstream(text: str) -> bytes:
    """An attributed string as macOS archives it, up to the end of its string."""
    data = text.encode("utf-8")
    size = (
        bytes([len(data)])
        if len(data) < 0x80
        else b"\x81" + len(data).to_bytes(2, "little")
        if len(data) < 0x8000
        else b"\x82" + len(data).to_bytes(4, "little")
    )
    head = b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84\x84\x84\x12NSAttributedString\x00\x84\x84"
    return (
        head
        + b"\x08NSObject\x00\x85\x92\x84\x84\x84\x08NSString\x01\x94\x84\x01+"
        + size
        + data
        + b"\x86"
    )


def imessage(folder: Path, lines: Sequence[Line]) -> Path:
    """chat.db, every other text in its archived form alone."""
    path = folder / "chat.db"
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path)
    database.executescript(
        "CREATE TABLE message (ROWID INTEGER PRIMARY KEY, guid TEXT, text TEXT,"
        " attributedBody BLOB, handle_id INTEGER, date INTEGER, is_from_me INTEGER,"
        " item_type INTEGER, associated_message_type INTEGER, associated_message_guid TEXT,"
        " thread_originator_guid TEXT, cache_has_attachments INTEGER);"
        "CREATE TABLE handle (ROWID INTEGER PRIMARY KEY, id TEXT);"
        "CREATE TABLE chat (ROWID INTEGER PRIMARY KEY, chat_identifier TEXT, display_name TEXT,"
        " style INTEGER);"
        "CREATE TABLE chat_message_join (chat_id INTEGER, message_id INTEGER);"
        "INSERT INTO chat VALUES (1, 'chat1', 'x', 43);"
    )
    names = list(dict.fromkeys(x.speaker for x in lines))
    database.executemany("INSERT INTO handle VALUES (?, ?)", enumerate(names, start=1))
    for number, x in enumerate(lines, start=1):
        plain = (x.text, None) if number % 2 else (None, typedstream(x.text))
        row = (number, f"g{number}", *plain, names.index(x.speaker) + 1)
        date = (x.at - 978_307_200) * 10**9
        database.execute(
            "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, NULL, NULL, 0)", (*row, date)
        )
        database.execute("INSERT INTO chat_message_join VALUES (1, ?)", (number,))
    database.commit()
    database.close()
    return path


def signal(folder: Path, lines: Sequence[Line]) -> Path:
    """Signal, main.jsonl."""
    ids = {name: str(i) for i, name in enumerate(dict.fromkeys(x.speaker for x in lines), start=2)}
    rows: list[dict[str, Any]] = [{"version": "1"}, {"account": {"givenName": "Owner"}}]
    rows += [
        {"recipient": {"id": i, "contact": {"profileGivenName": name}}} for name, i in ids.items()
    ]
    rows.append({"chat": {"id": "1", "recipientId": "2"}})
    rows += [
        {
            "chatItem": {
                "chatId": "1",
                "authorId": ids[x.speaker],
                "dateSent": str(x.at * 1000 + number),
                "incoming": {},
                "standardMessage": {"text": {"body": x.text}},
            }
        }
        for number, x in enumerate(lines)
    ]
    path = folder / "main.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    return path


def signal_markdown(folder: Path, lines: Sequence[Line]) -> Path:
    """signal-export, Markdown."""
    base = folder / "Ben"
    base.mkdir()
    rows = [f"[{_time(x.at):%Y-%m-%d %H:%M:%S}] {x.speaker}: {x.text}\n" for x in lines]
    (base / "chat.md").write_text("".join(rows), "utf-8")
    return folder


def telegram_html(folder: Path, lines: Sequence[Line]) -> Path:
    """Telegram, HTML: a name stands above the first message of a burst alone; over two pages."""
    base = folder / "ChatExport"

    def row(number: int, x: Line, *, joined: bool) -> str:
        name = "" if joined else f'<div class="from_name">\n{html.escape(x.speaker)}\n</div>'
        return (
            f'<div class="message default clearfix{" joined" if joined else ""}" '
            f'id="message{number}"><div class="body">\n<div class="pull_right date details" '
            f'title="{_time(x.at):%d.%m.%Y %H:%M:%S} UTC+00:00">{_time(x.at):%H:%M}</div>{name}'
            f'<div class="text">\n{html.escape(x.text)}\n</div></div></div>\n'
        )

    half = len(lines) // 2
    base.mkdir()
    for page, start, part in (("", 0, lines[:half]), ("2", half, lines[half:])):
        rows = [
            row(start + i, x, joined=i > 0 and part[i - 1].speaker == x.speaker)
            for i, x in enumerate(part)
        ]
        text = (
            "<!DOCTYPE html><html><head><title>Exported Data</title></head><body>"
            '<div class="page_wrap"><div class="page_header"><div class="text bold">Ben</div></div>'
            f'<div class="history">{"".join(rows)}</div></div></body></html>'
        )
        (base / f"messages{page}.html").write_text(text, "utf-8")
    return base


def alpaca(folder: Path, lines: Sequence[Line]) -> Path:
    """Alpaca, one record; who speaks is told by the place alone."""
    texts = [x.text for x in lines][: len(lines) // 2 * 2]
    pairs = [list(pair) for pair in zip(texts[::2], texts[1::2], strict=True)]
    record = {
        "instruction": pairs[-1][0],
        "input": "",
        "output": pairs[-1][1],
        "history": pairs[:-1],
    }
    return _json(folder / "alpaca.json", [record])


def chatgpt(folder: Path, lines: Sequence[Line]) -> Path:
    """ChatGPT, one conversation."""
    mapping: dict[str, Any] = {
        "root": {"id": "root", "message": None, "parent": None, "children": ["0"]}
    }
    for i, x in enumerate(lines):
        message = {
            "author": {"role": x.speaker},
            "content": {"content_type": "text", "parts": [x.text]},
            "recipient": "all",
        }
        parent = str(i - 1) if i else "root"
        mapping[str(i)] = {"id": str(i), "message": message, "parent": parent, "children": []}
    talk = {"title": "t", "mapping": mapping, "current_node": str(len(lines) - 1)}
    return _json(folder / "conversations.json", [talk])


def open_webui(folder: Path, lines: Sequence[Line]) -> Path:
    """Open WebUI, one chat."""
    messages: dict[str, Any] = {
        str(i): {
            "id": str(i),
            "parentId": str(i - 1) if i else None,
            "childrenIds": [],
            "role": x.speaker,
            "content": x.text,
        }
        for i, x in enumerate(lines)
    }
    history = {"messages": messages, "currentId": str(len(lines) - 1)}
    return _json(folder / "chats.json", [{"id": "c", "chat": {"history": history, "messages": []}}])


def sillytavern(folder: Path, lines: Sequence[Line]) -> Path:
    """SillyTavern, one chat."""
    rows: list[dict[str, Any]] = [{"user_name": "x", "character_name": "y", "chat_metadata": {}}]
    rows += [
        {"name": x.speaker, "is_user": False, "send_date": _time(x.at).isoformat(), "mes": x.text}
        for x in lines
    ]
    path = folder / "Vera.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    return path


def sms(folder: Path, lines: Sequence[Line]) -> Path:
    """SMS Backup & Restore: half characters as entities."""

    def escaped(text: str) -> str:
        data = text.encode("utf-16-be")
        codes = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
        return "".join(
            f"&#{code};" if code > 0xD7FF or code < 0x20 or chr(code) in '<>&"' else chr(code)
            for code in codes
        )

    rows = [
        f'  <sms protocol="0" address="{escaped(x.speaker)}" date="{x.at}000" type="1" '
        f'subject="null" body="{escaped(x.text)}" read="1" contact_name="(Unknown)" />\n'
        for x in lines
    ]
    path = folder / "sms-2024.xml"
    head = "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>\n"
    path.write_text(f'{head}<smses count="{len(rows)}">\n{"".join(rows)}</smses>', "utf-8")
    return path


def line(folder: Path, lines: Sequence[Line]) -> Path:
    """LINE on a phone, in Japanese."""
    text, day = "[LINE] ベンとのトーク履歴\n保存日時：2026/01/05 10:00\n", ""
    for x in lines:
        if (date := f"{_time(x.at):%Y/%m/%d}(金)") != day:
            text, day = f"{text}\n{date}\n", date
        text += f"{_time(x.at):%H:%M}\t{x.speaker}\t{x.text}\n"
    path = folder / "[LINE] Ben.txt"
    path.write_text("\ufeff" + text, "utf-8")
    return path


def kakaotalk(folder: Path, lines: Sequence[Line]) -> Path:
    """KakaoTalk on Windows, in Korean."""
    text, day = "벤 님과 카카오톡 대화\r\n저장한 날짜 : 2026-01-03 13:00:00\r\n", ""
    for x in lines:
        time = _time(x.at)
        if (date := f"{time.year}년 {time.month}월 {time.day}일 화요일") != day:
            text, day = f"{text}\r\n--------------- {date} ---------------\r\n", date
        half = "오전" if time.hour < 12 else "오후"
        text += f"[{x.speaker}] [{half} {time.hour % 12 or 12}:{time:%M}] {x.text}\r\n"
    path = folder / "KakaoTalk.txt"
    path.write_bytes(("\ufeff" + text).encode("utf-8"))
    return path


def kakaotalk_android(folder: Path, lines: Sequence[Line]) -> Path:
    """KakaoTalk on Android, in Korean."""
    rows = ["벤 님과 카카오톡 대화\n저장한 날짜 : 2026년 1월 3일 오후 1:00\n\n"]
    for x in lines:
        time = _time(x.at)
        half = "오전" if time.hour < 12 else "오후"
        clock = f"{half} {time.hour % 12 or 12}:{time:%M}"
        rows.append(f"{time.year}년 {time.month}월 {time.day}일 {clock}, {x.speaker} : {x.text}\n")
    path = folder / "KakaoTalkChats.txt"
    path.write_text("".join(rows), "utf-8")
    return path


MONTHS = (
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
)


def google_chat(folder: Path, lines: Sequence[Line]) -> Path:
    """Google Chat of an account in French."""
    messages: list[dict[str, Any]] = [
        {
            "creator": {
                "name": x.speaker,
                "email": f"{x.speaker}@example.org",
                "user_type": "Human",
            },
            "created_date": f"lundi {_time(x.at).day} {MONTHS[_time(x.at).month - 1]} "
            f"{_time(x.at):%Y à %H:%M:%S} UTC",
            "text": x.text,
            "topic_id": f"t{i}",
            "message_id": f"g/t{i}/m",
        }
        for i, x in enumerate(lines)
    ]
    _json(folder / "Groups" / "DM g" / "messages.json", {"messages": messages})
    return folder / "Groups"


def element(folder: Path, lines: Sequence[Line]) -> Path:
    """Element, one room; names are told by those who joined."""
    people = dict.fromkeys(x.speaker for x in lines)
    events: list[dict[str, Any]] = [
        {
            "type": "m.room.member",
            "sender": f"@{i}:example.org",
            "state_key": f"@{i}:example.org",
            "content": {"membership": "join", "displayname": name},
            "origin_server_ts": 1,
            "event_id": f"$p{i}",
        }
        for i, name in enumerate(people)
    ]
    ids = {name: f"@{i}:example.org" for i, name in enumerate(people)}
    events += [
        {
            "type": "m.room.message",
            "sender": ids[x.speaker],
            "content": {"msgtype": "m.text", "body": x.text},
            "origin_server_ts": x.at * 1000,
            "event_id": f"$m{i}",
        }
        for i, x in enumerate(lines)
    ]
    head = {
        "room_name": "x",
        "room_creator": "a",
        "topic": "",
        "export_date": "",
        "exported_by": "a",
    }
    return _json(folder / "export.json", {**head, "messages": events})


def messenger_html(folder: Path, lines: Sequence[Line]) -> Path:
    """Messenger as pages: newest first."""
    base = folder / "inbox" / "ben_1"
    base.mkdir(parents=True)
    rows = [
        f'<section class="_3-95 _a6-g"><h2 class="_2ph_ _a6-h _a6-i">{html.escape(x.speaker)}</h2>'
        f'<div class="_2ph_ _a6-p"><div><div></div><div>{html.escape(x.text)}</div></div>'
        f'</div><footer class="_3-94 _a6-o"><div class="_a72d">'
        f"{_time(x.at):%b %d, %Y %I:%M:%S %p}</div></footer></section>"
        for x in reversed(lines)
    ]
    head = "<html><head><style>._a6-g{}</style><title>Ben</title></head><body>"
    (base / "message_1.html").write_text(f"{head}{''.join(rows)}</body></html>", "utf-8")
    return folder / "inbox"


EXPORTERS: dict[str, tuple[str, Callable[[Path, Sequence[Line]], Path]]] = {
    "whatsapp on Android": ("whatsapp", android),
    "whatsapp on iOS": ("whatsapp", ios),
    "telegram": ("telegram", telegram),
    "telegram account": ("telegram", telegram_account),
    "discord": ("discord", discord),
    "slack": ("slack", slack),
    "messenger": ("meta", messenger),
    "chatlab": ("chatlab", chatlab),
    "chatlab lines": ("chatlab", chatlab_lines),
    "weclone": ("table", weclone),
    "table": ("table", table),
    "convokit": ("convokit", convokit),
    "openai": ("openai", openai),
    "sharegpt": ("sharegpt", sharegpt),
    "alpaca": ("alpaca", alpaca),
    "qq": ("qq", qq),
    "qq in pieces": ("qq", qq_chunks),
    "weflow": ("weflow", weflow),
    "weflow text": ("weflow", weflow_text),
    "imessage": ("imessage", imessage),
    "imessage text": ("imessage", imessage_text),
    "signal": ("signal", signal),
    "signal markdown": ("signal", signal_markdown),
    "telegram pages": ("telegram_html", telegram_html),
    "chatgpt": ("assistants", chatgpt),
    "open webui": ("assistants", open_webui),
    "sillytavern": ("sillytavern", sillytavern),
    "sms": ("sms", sms),
    "line": ("line", line),
    "kakaotalk": ("kakaotalk", kakaotalk),
    "kakaotalk on Android": ("kakaotalk", kakaotalk_android),
    "google chat": ("google_chat", google_chat),
    "element": ("element", element),
    "messenger pages": ("meta_html", messenger_html),
}


def evenings(folder: Path, corpus: Sequence[Dialogue]) -> Path:
    """A WhatsApp chat of Ana and Ben: a dialogue an evening."""
    lines: list[Line] = []
    for day, dialogue in enumerate(corpus):
        names = dict(
            zip(dialogue.speakers, ("Ana", "Ben") if day % 2 else ("Ben", "Ana"), strict=True)
        )
        said = [
            (names[turn.speaker], message.text)
            for turn in dialogue.turns
            for message in turn.messages
        ]
        start = 1_579_996_800 + 86_400 * day
        lines += [Line(name, start + 60 * i, text) for i, (name, text) in enumerate(said)]
    lines.append(Line("Ben", lines[-1].at + 60, "my number is +34 600 11 22 33"))
    return android(folder, lines)
