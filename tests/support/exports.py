"""Writes chats as the apps export them: the importers the other way round, for round trips and as
seeds for fuzzing.
"""

from __future__ import annotations

import csv
import io
import json
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
