"""Exports of apps that are not read: what they are, and the way out."""

from __future__ import annotations

import re
from typing import NamedTuple

from vvae.corpus.formats.files import File

__all__ = ["App", "app_of"]


class App(NamedTuple):
    """An export that is told from others, and what its user can do instead."""

    what: str
    fix: str


NO_WAY = "no format that is read can be had of it; copy the talk into a table (speaker,time,text)"
DISCORD = "export again with DiscordChatExporter as JSON (-f Json)"
WHATSAPP = "in the app: the chat's menu, More, Export chat"
NAMES: tuple[tuple[str, App], ...] = (
    (r"msgstore.*\.db.*|.*\.crypt1[245]", App("a backup of WhatsApp", WHATSAPP)),
    (
        r"signal-.*\.backup",
        App("an encrypted backup of Signal", "use Export chat history in the app"),
    ),
    (r".*\.(?:pdf|docx?)", App("a document", "export the chat again, as text or JSON")),
    (r".*\.zl", App("a backup of Zalo", NO_WAY)),
    (r".*\.(?:desktop|ios|android)_wbu", App("a backup of Wire", NO_WAY)),
)
KEYS: tuple[tuple[set[str], App], ...] = (
    ({"conversations", "MessageList"}, App("an export of Skype or Teams (messages.json)", NO_WAY)),
    (
        {"Timestamp", "Contents", "Attachments"},
        App("a data package of Discord, which holds one's own messages alone", DISCORD),
    ),
    ({"Direct Message", "ChatHistory"}, App("an export of TikTok", NO_WAY)),
    (
        {"conversation_state"},
        App("an export of Hangouts", "its chats are in Google Chat's export, too"),
    ),
    (
        {"chat_message", "gaia_id"},
        App("an export of Hangouts", "its chats are in Google Chat's export, too"),
    ),
    ({"Media Type", "IsSender"}, App("an export of Snapchat", NO_WAY)),
    ({"Received Saved Chat History"}, App("an export of Snapchat", NO_WAY)),
    ({"@odata.context", "createdDateTime"}, App("an export of Teams", NO_WAY)),
)
HEADS: tuple[tuple[str, App], ...] = (
    (r"window\.YTD\.", App("an archive of X (direct-messages.js)", NO_WAY)),
    (
        r"SQLite format 3",
        App(
            "the database of an app",
            "use the export of the app itself; of iMessage, chat.db is read",
        ),
    ),
    (r"(?s)\s*<.*chatlog__", App("an HTML export of DiscordChatExporter", DISCORD)),
    (r"={62}\r?\nGuild: ", App("a text export of DiscordChatExporter", DISCORD)),
    (r"(?s)\s*<.*mx_EventTile", App("an HTML export of Element", "export the room again as JSON")),
    (r"(?s)\s*<.*(?:skype|swiftPages)", App("an export of Skype", NO_WAY)),
    (
        r"\[?QQChatExporter|.*QQ聊天记录导出文件",
        App("a text of QQ Chat Exporter", "export again as JSON"),
    ),
    (
        r"消息记录（此消息记录为文本格式",
        App("a text of QQ", "export with QQ Chat Exporter as JSON"),
    ),
    (r"(?s)\s*<smses|\s*<calls", App("a list of calls", "give the file of messages (sms-*.xml)")),
    (
        r"\s*<\?xml|\s*<!DOCTYPE|\s*<html",
        App(
            "a page or XML of no chat that is known",
            "export the chat as JSON or text, where the app offers it",
        ),
    ),
    (r"%PDF", App("a document", "export the chat again, as text or JSON")),
)


def app_of(file: File) -> App | None:
    """Return the app that wrote a file that is not read, or None where nothing tells."""
    name = file.name.rpartition("/")[2]
    for pattern, app in NAMES:
        if re.fullmatch(pattern, name, re.IGNORECASE):
            return app
    for keys, app in KEYS:
        if keys <= file.keys:
            return app
    head = file.head
    if "viber" in name.casefold() and name.casefold().endswith((".csv", ".txt", ".zip")):
        return App(
            "an export of Viber", "name its columns: --format table --columns speaker=...,text=..."
        )
    for pattern, app in HEADS:
        if re.match(pattern, head):
            return app
    if name.casefold().endswith((".csv", ".tsv")):
        columns = head.split("\n", 1)[0].strip()[:120]
        fix = "name the columns: --format table --columns speaker=COLUMN,text=COLUMN,time=COLUMN"
        return App(f"a table with the columns {columns}", fix)
    return None
