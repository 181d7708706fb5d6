"""The exports of chats with an assistant: ChatGPT's and Claude's conversations.json, Open WebUI's.

A conversation is a tree of messages, as one may ask again; the branch that was last shown is read.
Whoever asks is `user`, whoever answers `assistant`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Dialogue, Message
from vvae.corpus.formats import Hints, Malformed, Record, Skipped, Speech, bursts
from vvae.corpus.formats.files import File
from vvae.corpus.formats.json_stream import parts
from vvae.corpus.formats.jsonl import NOT_SAID, ROLES, objects, plain_text, storable

__all__ = ["read", "recognise"]

HUMANS = {"human": "user"}
SHOWN = {"text", "multimodal_text"}
NOT_WRITTEN = re.compile(
    r"<details type=\"(?:reasoning|tool_calls|code_interpreter)\".*?</details>\s*"
    "|\ue200[^\ue201]*\ue201|【[^【】]*†[^【】]*】",
    re.DOTALL,
)
"""What stands in the text of an answer and is none of it: thoughts, calls of tools, sources."""


def recognise(file: File) -> str | None:
    """Return why a file is an export of a chat with an assistant."""
    if not file.begins("[", "{"):
        return None
    if {"mapping", "parent", "children"} <= file.keys:
        return "conversations with a 'mapping' (ChatGPT)"
    if "chat_messages" in file.keys:
        return "conversations with 'chat_messages' (Claude)"
    if {"parentId", "childrenIds", "role"} <= file.keys:
        return "chats with a 'history' (Open WebUI)"
    return None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield a dialogue for each conversation."""
    for file in files:
        path = "item" if file.begins("[") else ""
        for number, (_, value) in enumerate(parts(file, {path}), start=1):
            where = f"{file.where}: conversation {number}"
            if isinstance(value, dict):
                yield from _conversation(value, where, f"{file.stem}:{number}")
            else:
                yield Malformed(where, "not a JSON object")


def _conversation(value: dict[str, Any], where: str, name: str) -> Iterator[Record]:
    branch = _branch(value)
    speeches: list[Speech] = []
    for number, message in enumerate(branch):
        role, text = _said(message)
        if text is None:
            yield Malformed(where, "a message whose text cannot be read")
            return
        if role is None:
            yield Skipped(NOT_SAID, text)
        elif not text:
            yield Skipped("without text")
        else:
            speeches.append(Speech(role, Message(text, id=str(number))))
    turns = bursts(speeches)
    if len({turn.speaker for turn in turns}) < 2:
        for _ in speeches:
            yield Skipped("nobody answered")
        return
    yield Dialogue(name, turns)


def _branch(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of the branch that was shown last, oldest first."""
    if "chat_messages" in value:
        said = objects(value["chat_messages"])
        nodes = {str(message.get("uuid")): message for message in said}
        parents = {str(message.get("parent_message_uuid")) for message in said}
        return _up(nodes, None, "parent_message_uuid") if parents & nodes.keys() else said
    if isinstance(mapping := value.get("mapping"), dict):
        return _up(mapping, value.get("current_node"), "parent")
    chat = value.get("chat")
    chat = chat if isinstance(chat, dict) else value
    history = chat.get("history")
    messages = history.get("messages") if isinstance(history, dict) else None
    if isinstance(history, dict) and isinstance(messages, dict):
        return _up(messages, history.get("currentId"), "parentId")
    return objects(chat.get("messages"))


def _up(nodes: dict[str, Any], leaf: object, parent: str) -> list[dict[str, Any]]:
    """From a leaf to the root; from the last node where the leaf is not known."""
    known = isinstance(leaf, str) and leaf in nodes
    at: object = leaf if known else next(reversed(nodes), None)
    found: list[dict[str, Any]] = []
    seen: set[object] = set()
    while isinstance(at, str) and at in nodes and at not in seen:
        seen.add(at)
        node = nodes[at]
        if not isinstance(node, dict):
            break
        message = node.get("message", node) if parent == "parent" else node
        if isinstance(message, dict):
            found.append(message)
        at = node.get(parent)
    return found[::-1]


def _piece(piece: object) -> str:
    """The text of a part of a message: written, or spoken and transcribed."""
    if isinstance(piece, dict) and piece.get("content_type") == "audio_transcription":
        piece = piece.get("text")
    return piece if isinstance(piece, str) else ""


def _said(message: dict[str, Any]) -> tuple[str | None, str | None]:
    """(who, text) of a message: nobody for instructions, tools and what was not shown; no text for
    one that cannot be read.
    """
    author = message.get("author")
    role = author.get("role") if isinstance(author, dict) else None
    role = role or message.get("role") or message.get("sender")
    role = HUMANS.get(str(role), role)
    content, hidden = message.get("content") or message.get("text"), False
    if isinstance(content, dict):  # ChatGPT
        metadata = message.get("metadata")
        hidden = str(content.get("content_type")) not in SHOWN or (
            isinstance(metadata, dict)
            and metadata.get("is_visually_hidden_from_conversation") is True
        )
        pieces = content.get("parts")
        pieces = pieces if isinstance(pieces, list) else []
        content = "".join(map(_piece, pieces))
    text = plain_text(content if content is not None else "")
    if text is not None:
        text = NOT_WRITTEN.sub("", text).strip()
    if (
        not isinstance(role, str)
        or role in ROLES
        or hidden
        or message.get("recipient") not in (None, "all")
    ):
        return None, text if text is not None else ""
    return storable(role), text
