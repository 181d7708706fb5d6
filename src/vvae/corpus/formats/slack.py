"""Slack's workspace export: users.json, channels.json and a folder per channel with a file per day.

A thread is a conversation of its own, begun by the message it hangs on.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import emoji

from vvae.core.dialogue import Message, Reaction
from vvae.corpus.formats import Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_utc
from vvae.corpus.formats.discord import media_kind
from vvae.corpus.formats.files import File
from vvae.corpus.formats.json_stream import parts, whole_escapes
from vvae.corpus.formats.jsonl import objects, plain_text

__all__ = ["read", "recognise"]

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
LISTS = ("users", "channels", "groups", "dms", "mpims")
TS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,7})?")
MARKUP = re.compile(r"<([@#!]?)([^<>|]*)(?:\|([^<>]*))?>")
SAID = {
    None,
    "thread_broadcast",
    "me_message",
    "file_share",
    "file_comment",
    "bot_message",
    "reply_broadcast",
}
CAME, WENT = {"channel_join", "group_join"}, {"channel_leave", "group_leave"}


def recognise(file: File) -> str | None:
    """Return why a file is Slack's: a file per day in a channel's folder, or one of the lists
    beside them.
    """
    if not file.begins("["):
        return None
    if DAY.fullmatch(file.stem) and ("ts" in file.keys or file.head.strip() == "[]"):
        return "a day's list of messages with a 'ts'"
    return (
        f"the workspace's list of {file.stem}" if file.stem in LISTS and "id" in file.keys else None
    )


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages, channel by channel and day by day."""
    people = {str(user.get("id")): user for user in _list(files, "users")}
    names = {user_id: _name(user) for user_id, user in people.items()}
    direct = {str(channel.get("id")) for channel in _list(files, "dms")}
    bots = {user_id for user_id, user in people.items() if user.get("is_bot")} | {"USLACKBOT"}
    for file in files:
        if not DAY.fullmatch(file.stem):
            continue
        for _, value in parts(file, {"item"}):
            if not isinstance(value, dict):
                yield Malformed(file.where, "a message that is no object")
            else:
                yield _record(value, file, names, bots, group=file.folder not in direct)


def _list(files: Sequence[File], name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for file in files:
        if file.stem == name:
            try:
                data = json.loads(whole_escapes(file.read()))
            except (ValueError, RecursionError):
                data = None
            rows += [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []
    return rows


def _name(user: Mapping[str, Any]) -> str:
    profile = user.get("profile")
    fields = {**user, **profile} if isinstance(profile, dict) else user
    name = next(
        (fields[key] for key in ("display_name", "real_name", "name") if fields.get(key)),
        user.get("id"),
    )
    return str(name)


def _record(
    message: dict[str, Any], file: File, names: Mapping[str, str], bots: set[str], *, group: bool
) -> Record:
    ts, chat, subtype = message.get("ts"), file.folder or file.stem, message.get("subtype")
    if not isinstance(ts, str) or not TS.fullmatch(ts):
        return Malformed(file.where, "a message without time")
    where = f"{file.where}: message {ts}"
    user = message.get("user") or message.get("bot_id")
    if not isinstance(user, str):
        user = str(message.get("username") or "") if subtype == "bot_message" else ""
    if subtype in CAME | WENT and user:
        return Presence(chat, (user,), subtype in CAME, float(ts))
    deleted = subtype == "tombstone"
    call = isinstance(subtype, str) and subtype.startswith("huddle")
    if not deleted and not call and not (subtype is None or subtype in SAID):
        return Skipped("system line", str(message.get("text") or ""))
    text = plain_text(message.get("text") or "")
    if text is None:
        return Malformed(where, "a message whose text cannot be read")
    if not user:  # Slack writes such messages itself
        return Skipped("a message without sender", text)
    text = _plain(text, names) or _of_blocks(message.get("blocks"), names)
    profile = message.get("user_profile")
    display_name = names.get(user) or (
        _name({"id": user, "profile": profile}) if isinstance(profile, dict) else user
    )
    sent_files = message.get("files")
    kind = "deleted" if deleted else "call" if call else "text"
    if kind == "text" and isinstance(sent_files, list) and sent_files:
        kind = media_kind(sent_files[0].get("name") if isinstance(sent_files[0], dict) else "")
    thread = message.get("thread_ts")
    thread = thread if isinstance(thread, str) else None
    body = Message(
        "" if deleted or call else text,
        id=ts,
        time=iso_utc(float(ts)),
        kind=kind if kind != "text" or text else "media",
        reply_to=thread if thread != ts else None,
        reactions=_reactions(message.get("reactions")),
        edited=True if message.get("edited") else None,
    )
    bot = user in bots or "bot_id" in message or subtype == "bot_message"
    return Sent(
        chat, Person(user, display_name), body, float(ts), group=group, thread=thread, bot=bot
    )


def _plain(text: str, names: Mapping[str, str]) -> str:
    """Slack's markup as text: <@U1> -> @Ana, <url|label> -> label, :smile: -> 😄, &amp; -> &."""

    def spell(match: re.Match[str]) -> str:
        sign, target, label = match.groups()
        if sign == "@":
            return f"@{label or names.get(target, target)}"
        if sign in "#!" and sign:
            return f"{'#' if sign == '#' else '@'}{label or target}".replace("@@", "@")
        return label or target

    plain = html.unescape(MARKUP.sub(spell, text))
    if ":" not in plain:
        return plain
    # A skin tone is a shortcode of its own behind the emoji's.
    spelled = re.sub(r":skin-tone-([2-6]):", lambda m: chr(0x1F3F9 + int(m[1])), plain)
    return emoji.emojize(spelled, language="alias")


def _of_blocks(value: object, names: Mapping[str, str]) -> str:
    """The text of blocks: what somebody wrote where the message has no text beside them.

    https://docs.slack.dev/reference/block-kit/blocks/rich-text-block
    """
    lines = [_of_block(block, names) for block in objects(value)]
    return "\n".join(line for line in lines if line)


def _of_block(block: dict[str, Any], names: Mapping[str, str]) -> str:
    kind = block.get("type")
    nested = block.get("elements")
    if kind in ("rich_text", "rich_text_list"):
        return _of_blocks(nested, names)
    if kind in ("section", "header", "markdown"):
        text = block.get("text")
        return _plain(str((text.get("text") if isinstance(text, dict) else text) or ""), names)
    if not str(kind).startswith("rich_text_"):
        return ""
    return "".join(_of_inline(element, names) for element in objects(nested))


def _of_inline(element: dict[str, Any], names: Mapping[str, str]) -> str:
    kind = element.get("type")
    if kind == "user":
        user = str(element.get("user_id"))
        return f"@{names.get(user, user)}"
    if kind == "emoji":
        return emoji.emojize(f":{element.get('name')}:", language="alias")
    if kind == "broadcast":
        return f"@{element.get('range')}"
    return str(element.get("text") or element.get("url") or element.get("fallback") or "")


def _reactions(value: object) -> tuple[Reaction, ...] | None:
    if not isinstance(value, list):
        return None
    result: list[Reaction] = []
    for reaction in value:
        if isinstance(reaction, dict) and isinstance(reaction.get("users"), list):
            face = emoji.emojize(f":{reaction.get('name')}:", language="alias")
            result += [
                Reaction(face, user if isinstance(user, str) else None)
                for user in reaction["users"]
            ]
    return tuple(result) or None
