"""What WhatsApp writes itself, told from what people say: placeholders, files, calls, notices.

The phrases stand in whatsapp.yaml, in the languages of the app's exports.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple

import yaml

from vvae.core.dialogue import Message
from vvae.corpus.formats.phrases import Move, any_of, move_of

__all__ = [
    "ATTACHED_ANDROID",
    "MARKS",
    "doubtful",
    "folded",
    "is_encryption_notice",
    "marked",
    "message_of",
    "notice_of",
    "unbalanced",
]

MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
"""Characters that are not seen; the app puts U+200E before what it writes itself."""
WHOLE_PLACEHOLDER = re.compile(r"<[^<>\n]{4,60}>")
NAME = r"(?P<name>[^<>\n]{1,200}\.(?P<type>\w{1,5}))"
ATTACHED = re.compile(rf" ?[<‹][^<>:：\n]{{1,40}}[:：] ?[{MARKS}]*{NAME}>")
ATTACHED_BEHIND = re.compile(rf"{NAME} <[^<>:\n]{{3,40}}>")
ATTACHED_ANDROID = re.compile(rf"{NAME} \((?P<word>[^()\n]{{3,60}})\)")
DESCRIBED = re.compile(rf"(?P<file>[^\n]{{1,200}}\.\w{{1,5}}) • [{MARKS}]*\d+ \S{{1,12}} ?")
PLACE = re.compile(
    r"[^\n:]{2,20}: https?://(?:maps\.google|maps\.app|www\.google\.\w+/maps|goo\.gl/maps)\S*"
)
SIGNS = re.compile("[<(:•\u200e]")
"""One of these stands in all that the app writes with a file, place or poll."""
POLL = re.compile(
    r"[^\s:：]{2,15} ?[:：]\n.+(?:\n[^\s:：]{2,15} ?[:：].*\(\d+ [^()]{1,20}\))+", re.DOTALL
)
LASTED = re.compile(
    rf"[{MARKS}]*\d+ ?[^\W\d]{{1,12}}\.?(?: \d+ ?[^\W\d]{{1,12}}\.?)*"
    r"|\d{1,2}:\d{2}(?::\d{2})?"
)
QUOTES = (("“", "”"), ("„", "“"), ("«", "»"), ("「", "」"))
KINDS = {
    **dict.fromkeys(("jpg", "jpeg", "png", "heic"), "image"),
    **dict.fromkeys(("mp4", "mov", "3gp"), "video"),
    **dict.fromkeys(("opus", "m4a", "mp3", "ogg", "aac"), "audio"),
    **dict.fromkeys(("webp", "was", "tgs"), "sticker"),
    "gif": "gif",
    "vcf": "contact",
}


def unbalanced(name: str) -> bool:
    """Return whether a quotation is open in what stands before a colon, which then belongs to a
    notice.
    """
    return name.count('"') % 2 == 1 or any(
        name.count(a) != name.count(b) for a, b in QUOTES if a in name
    )


def marked(text: str) -> bool:
    """Return whether the app put its mark at the beginning of a text."""
    return "\u200e" in text[:3]


def message_of(text: str, time: str, attached: Collection[str]) -> Message | None:
    """Return a message from its text; None for a line of the app's own that carries a name.

    Args:
        text: what stands behind the name, with all its lines.
        time: ISO 8601.
        attached: what the app writes behind the name of a file in this export, folded.
    """
    if len(text) > 150 and "<" not in text and "(" not in text and text.isascii():
        return Message(text, time=time, kind="text")
    phrases = _phrases()
    is_marked = marked(text)
    plain = text.strip(MARKS + " \n\u202f")
    edited = False
    if (
        plain.endswith(">")
        and (at := plain.rfind("<")) >= 0
        and folded(plain[at:]) in phrases.edited
    ):
        plain, edited = plain[:at].rstrip(MARKS + " \n"), True
    if (found := _placeholder(plain, attached, marked=is_marked)) is not None:
        kind, caption = found
        return Message(caption, time=time, kind=kind)
    if is_marked and not edited:
        return None
    if not plain.isascii() and ("\u2068" in plain or "\u2069" in plain):  # around a mention
        plain = plain.replace("\u2068", "").replace("\u2069", "")
    return Message(plain, time=time, kind="text", edited=edited or None)


def _placeholder(plain: str, attached: Collection[str], *, marked: bool) -> tuple[str, str] | None:
    """The kind of something that is no text, and the caption with it; None for what was said."""
    phrases = _phrases()
    first, newline, rest = plain.partition("\n")
    begins = folded(first)
    kind = phrases.whole.get(begins)
    if kind is not None and (not newline or first.startswith("<") or marked):
        return kind, rest.strip(MARKS + " \n")
    if not newline:
        if plain == "null":
            return "media", ""
        if _is_call(first, marked=marked):
            return "call", ""
        if begins[:6] in phrases.deleted_beginnings and phrases.deleted_by.fullmatch(begins):
            return "deleted", ""
    if not marked and not SIGNS.search(plain):
        return None
    if ":" in plain and (PLACE.fullmatch(plain) or POLL.fullmatch(plain)):
        return ("poll" if newline else "location"), ""
    if found := _attached(plain, first, rest, attached):
        return found
    if WHOLE_PLACEHOLDER.fullmatch(plain) and " " in plain:
        return "media", ""
    if not plain.isascii() and "\u200e" in plain:
        before, _, last = plain.rpartition("\u200e")
        if (kind := phrases.whole.get(folded(last))) is not None:
            return kind, _caption(before, "")
    if (match := DESCRIBED.match(plain)) and (
        (kind := phrases.whole.get(folded(plain[match.end() :]))) is not None
    ):
        return kind, ""
    if marked:
        if plain.startswith("<"):
            return "media", ""
        if begins.startswith("http") or "maps" in begins:
            return "location", ""
        if begins.startswith(("poll", "encuesta", "umfrage", "sondage", "enquete", "投票")):
            return "poll", ""
    return None


def _attached(
    plain: str, first: str, rest: str, attached: Collection[str]
) -> tuple[str, str] | None:
    """A file that is named, wherever the app names it, and what was said with it."""
    if "<" in plain:
        if match := ATTACHED.search(plain):
            around = f"{plain[: match.start()]}\n{plain[match.end() :]}"
            return _file_kind(match), _caption(around, match["name"])
        if match := ATTACHED_BEHIND.fullmatch(first):
            return _file_kind(match), _caption(rest, match["name"])
    if "(" in first and (match := ATTACHED_ANDROID.fullmatch(first)):
        word = folded(match["word"])
        if word in _phrases().attached or word in attached:
            return _file_kind(match), _caption(rest, match["name"])
    return None


def _file_kind(match: re.Match[str]) -> str:
    return KINDS.get(match["type"].lower(), "file")


def _caption(text: str, name: str) -> str:
    """What was said with a file, without the file's own name and number of pages."""
    plain = text.strip(MARKS + " \n")
    if match := DESCRIBED.match(plain):
        plain = plain[match.end() :].strip(MARKS + " \n")
    bare = re.sub(r"^\d{8}-", "", name)
    if not name and re.fullmatch(NAME, plain):
        return ""  # a file that is named before the word for it
    return "" if plain in (name, bare, bare.rpartition(".")[0]) else plain


def _is_call(line: str, *, marked: bool) -> bool:
    """A call with how it ended; without a mark only where the end is one that the app writes."""
    at = line.find(", ")
    at = line.find(". ") if at < 0 else at
    phrases = _phrases()
    if not 3 < at < 50 or folded(line[:at]) not in phrases.calls:
        return False
    end = line[at + 2 :].strip(MARKS + " .")
    return marked or not end or folded(end) in phrases.call_ends or bool(LASTED.fullmatch(end))


def doubtful(message: Message, text: str) -> bool:
    """Return whether a line may as well be the other: a person's though taken for the app's, or the
    app's though taken for a person's.
    """
    first = text.partition("\n")[0]
    if message.kind != "text":
        unknown = first.startswith("<") and folded(first) not in _phrases().whole
        return text == "null" or (message.kind == "media" and unknown)
    return "(" in first and ATTACHED_ANDROID.fullmatch(first) is not None


@lru_cache(maxsize=4096)
def notice_of(line: str) -> Move | bool:
    """Return what a line says if the app wrote it, who came or went or no more than that; False for
    any other.
    """
    plain = line.strip(MARKS + " ~").rstrip(".。")
    if len(plain) > 300 or "\n" in plain:
        return False
    phrases = _phrases()
    if len(plain) < 200 and (move := move_of(plain, phrases.joined, phrases.left)):
        return move
    return bool(phrases.notices.fullmatch(plain) or phrases.encryption.search(plain))


class _Phrases(NamedTuple):
    whole: dict[str, str]
    """A whole message, folded -> the kind that it stands for."""
    deleted_by: re.Pattern[str]
    deleted_beginnings: frozenset[str]
    """The first six characters of what `deleted_by` matches."""
    edited: frozenset[str]
    attached: frozenset[str]
    calls: frozenset[str]
    call_ends: frozenset[str]
    encryption: re.Pattern[str]
    joined: re.Pattern[str]
    left: re.Pattern[str]
    notices: re.Pattern[str]


@cache
def _phrases() -> _Phrases:
    data = yaml.safe_load(
        resources.files("vvae.corpus.formats").joinpath("whatsapp.yaml").read_text("utf-8")
    )
    by = [phrase for phrase in data["deleted"] if "NAME" in phrase]
    media = {folded(phrase): kind for kind, phrases in data["media"].items() for phrase in phrases}
    calls, call_ends, edited, attached, deleted = (
        frozenset(map(folded, data[name]))
        for name in ("calls", "call_ends", "edited", "attached", "deleted")
    )
    return _Phrases(
        media | dict.fromkeys(calls, "call") | dict.fromkeys(deleted, "deleted"),
        any_of(by),
        frozenset(folded(phrase)[:6] for phrase in by),
        edited,
        attached,
        calls,
        call_ends,
        re.compile("|".join(map(re.escape, data["encryption"])), re.IGNORECASE),
        any_of(data["joined"]),
        any_of(data["left"]),
        any_of(data["notices"], then=r"(?:[.,] .{1,150})?"),
    )


def is_encryption_notice(text: str) -> bool:
    """Return whether a text is the notice with which a chat begins."""
    return _phrases().encryption.search(text) is not None


def folded(text: str) -> str:
    """Return a text without what does not matter in a phrase: case, marks, brackets, a stop."""
    return text.casefold().strip(MARKS + " \n\u202f<>.。").removesuffix("।")
