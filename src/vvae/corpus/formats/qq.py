"""QQ Chat Exporter (shuakami/qq-chat-exporter), versions 4 to 6: one JSON file of a chat, or JSONL
in pieces beside a manifest.

The whole text of a message stands in `content.text`, with placeholders for what is no text; the
elements repeat it, so only what they say beside the text is taken from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_seconds, iso_utc
from vvae.corpus.formats.files import LONGEST_RECORD, File
from vvae.corpus.formats.json_stream import parts, whole_escapes
from vvae.corpus.formats.jsonl import json_of, objects, plain_text

__all__ = ["read", "recognise"]

ELEMENTS = {
    **{kind: kind for kind in ("image", "video", "audio", "file", "location")},
    "voice": "audio",
    "market_face": "sticker",
    "forward": "forward",
    **dict.fromkeys(("json", "markdown", "inline_keyboard"), "link"),
    "av_record": "call",
}
REPLY = re.compile(r"\[回复(?:消息| [^\n]{0,80}?: ?[^\n]*?| : ?[^\n]*?)\]\n?", re.DOTALL)
PLACEHOLDER = re.compile(
    r"\[(?:图片|视频|语音|文件|卡片消息|卡片|分享|JSON消息|合并转发|转发消息|位置|位置消息|超级表情|image消息|表情消息|系统消息|钱包/红包消息|解析失败|表情\d+)"
    r"(?:[:： ][^\[\]\n]*)?\]"
)
FORWARDED = re.compile(r"\[(?:合并转发|转发消息)[:：].*", re.DOTALL)
WORDLESS = {"forward", "link", "call", "file", "sticker"}
MANIFEST = "manifest"


def recognise(file: File) -> str | None:
    """Return why a file is QQ Chat Exporter's: it says so, or a line is one of its messages."""
    if re.search(r'"name"\s*:\s*"[^"]*QQChatExporter', file.head[:4096]):
        return "it says 'QQChatExporter'"
    is_match = {"seq", "timestamp", "sender", "content", "recalled"} <= file.keys
    return "lines of messages of QQ Chat Exporter" if is_match and file.begins("{") else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each chat; the pieces of one chat lie beside its manifest."""
    chats = {_base(file): _manifest(file) for file in files if file.stem == MANIFEST}
    for file in files:
        if file.stem == MANIFEST:
            continue
        head = re.match(r"\s*\{\s*\"(?:metadata|chatInfo)\"", file.head)
        if head:
            yield from _whole(file)
        else:
            yield from _lines(file, chats.get(_base(file), {}))


def _base(file: File) -> str:
    """The folder of a chat in pieces: that of its manifest."""
    folder = file.name.rpartition("/")[0]
    return folder if file.stem == MANIFEST else folder.rpartition("/")[0]


def _manifest(file: File) -> dict[str, Any]:
    try:
        data = json.loads(whole_escapes(file.read()))
    except (ValueError, RecursionError):
        return {}
    info = data.get("chatInfo") if isinstance(data, dict) else None
    return info if isinstance(info, dict) else {}


def _whole(file: File) -> Iterator[Record]:
    chat: dict[str, Any] = {}
    for path, value in parts(file, {"chatInfo", "messages.item"}):
        if not isinstance(value, dict):
            yield Malformed(file.where, "a message that is no object")
        elif path == "chatInfo":
            chat = value
        else:
            yield _record(value, chat, file, file.stem)


def _lines(file: File, chat: dict[str, Any]) -> Iterator[Record]:
    name = _base(file).rpartition("/")[2] or file.stem
    for number, line in file.lines(LONGEST_RECORD):
        if line.strip():
            value = json_of(line)
            yield (
                Malformed(f"{file.where}:{number}", value)
                if isinstance(value, str)
                else _record(value, chat, file, name)
            )


def _record(message: dict[str, Any], chat: dict[str, Any], file: File, name: str) -> Record:
    where = f"{file.where}: message {str(message.get('seq'))[:20]}"
    content = message.get("content")
    content = content if isinstance(content, dict) else {"text": content}
    shown = plain_text(content.get("text") or "")
    if shown is None:
        return Malformed(where, "a message whose text cannot be read")
    if message.get("system") or message.get("isSystemMessage") or message.get("type") == "system":
        return Skipped("system line", shown)
    sender = message.get("sender")
    sender = sender if isinstance(sender, dict) else {}
    who = next(
        (str(sender[key]) for key in ("uin", "uid") if sender.get(key) not in (None, "0")), ""
    )
    at = _seconds(message.get("timestamp"))
    if not who or at is None:
        return Malformed(where, "a message without time" if who else "a message without sender")
    kinds = [str(element.get("type")) for element in objects(content.get("elements"))]
    kind = next((ELEMENTS[kind] for kind in kinds if kind in ELEMENTS), "text")
    quoted = _quoted(content) if shown.startswith("[回复") else ""
    text = "" if kind in WORDLESS else _words(shown, quoted)
    if message.get("recalled") is True or message.get("isRecalled") is True:
        text, kind = "", "deleted"
    body = Message(
        text,
        id=str(message.get("id") or message.get("seq") or "") or None,
        time=iso_utc(at),
        kind="media" if kind == "text" and not text else "text" if kind == "forward" else kind,
        reply_to=_replied(content),
    )
    return Sent(
        str(chat.get("name") or name),
        Person(who, str(sender.get("name") or sender.get("nickname") or who)),
        body,
        at,
        group=chat.get("type") == "group",
        forwarded=kind == "forward" or FORWARDED.fullmatch(shown) is not None,
        shown="" if shown == text else shown,
    )


def _quoted(content: dict[str, Any]) -> str:
    """The words of the message that is answered, as they stand at the beginning of the answer."""
    for element in objects(content.get("elements")):
        data = element.get("data")
        if element.get("type") == "reply" and isinstance(data, dict):
            return str(data.get("content") or "")
    return ""


def _words(shown: str, quoted: str) -> str:
    """A text without what it quotes and without placeholders; faces stay, as [捂脸]."""
    at = shown.find(f"{quoted}]") if quoted else -1
    if 0 <= at < 200:
        text = shown[at + len(quoted) + 1 :].lstrip("\n")
    else:
        text = REPLY.sub("", shown, count=1) if shown.startswith("[回复") else shown
    text = PLACEHOLDER.sub("", text)
    text = re.sub(r"\[/([^\[\]\n]{1,12})\]", r"[\1]", text)  # [/捂脸]
    return re.sub(r"\[\[([^\[\]\n]{1,12})\]\]", r"[\1]", text).strip()


def _replied(content: dict[str, Any]) -> str | None:
    for element in objects(content.get("elements")):
        data = element.get("data")
        if element.get("type") == "reply" and isinstance(data, dict):
            found = data.get("referencedMessageId") or data.get("messageId")
            return str(found) if found not in (None, "", "0") else None
    return None


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 10**14:
        return value / 1000 if value > 10**11 else float(value)
    return iso_seconds(value) if isinstance(value, str) else None
