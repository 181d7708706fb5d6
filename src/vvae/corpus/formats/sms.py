"""SMS Backup & Restore (Android): one XML file of SMS and MMS.

Emoji stand in it as two entities of half a character each (&#55357;&#56838;), which is no XML; they
are joined before it is parsed. No entities are expanded, no other file is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO
from xml.parsers import expat

from vvae.core.dialogue import Message
from vvae.core.errors import DataError
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_utc
from vvae.corpus.formats.files import BLOCK, LONGEST_RECORD, File
from vvae.corpus.formats.jsonl import storable
from vvae.corpus.formats.phrases import is_tapback

__all__ = ["read", "recognise"]

PAIR = re.compile(rb"&#(5[56]\d{3});&#(5[67]\d{3});")
END = re.compile(rb"&#5[56]\d{3};\Z")
HALF = re.compile(
    rb"&#(?:5(?:529[6-9]|5[3-9]\d\d|6\d{3}|7[0-2]\d\d|73[0-3]\d|734[0-3])|[0-8]|1[124-9]|2\d|3[01]);"
)
"""Entities that stand for no character: a single half, or a control character."""
LONGEST_ENTITY = 16
FEWEST_DIGITS = 7
"""Of a number that may stand without its country's and its area's."""
RECEIVED, SENT = "1", "2"
SENDER = "137"
"""Of the addresses of an MMS: who sent it (PduHeaders.FROM)."""
MOST_INSIDE = 16 * LONGEST_RECORD
"""Bytes of one message: a video of 90 MB stands in it as text."""
KINDS = {"image": "image", "video": "video", "audio": "audio"}


def recognise(file: File) -> str | None:
    """Return why a file is of SMS Backup & Restore: XML whose root is <smses>."""
    is_match = file.begins("<") and "<smses" in file.head[:4096]
    return "XML with <smses> (SMS Backup & Restore)" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each file; whom one writes with is a chat."""
    numbers = _Numbers()
    for file in files:
        yield from _Parser(file, numbers).records()


class _Numbers:
    """Telephone numbers as they were first written: sent messages hold them as they were dialled,
    with or without the country's.
    """

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def first(self, address: str) -> str:
        """The first spelling of a number; what is none stays as it is."""
        if address not in self._known:
            digits = re.sub(r"[\s().\-]", "", address).removeprefix("+").lstrip("0")
            is_number = digits.isdecimal() and len(digits) >= FEWEST_DIGITS
            same = (n for n in self._first if n.endswith(digits) or digits.endswith(n))
            number = next(same, digits) if is_number else ""
            self._known[address] = self._first.setdefault(number, address) if is_number else address
        return self._known[address]


class _Parser:
    def __init__(self, file: File, numbers: _Numbers) -> None:
        self._file, self._numbers = file, numbers
        self._found: list[Record] = []
        self._mms: dict[str, str] | None = None
        self._texts: list[str] = []
        self._kind = ""
        self._sender = ""
        self._inside = 0

    def records(self) -> Iterator[Record]:
        """What stands in the file.

        Raises:
            DataError: it is no XML, or declares entities.
        """
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.EntityDeclHandler = self._refuse
        with self._file.open() as opened:
            try:
                for block in _joined(opened):
                    parser.Parse(block, False)
                    self._inside += len(block)
                    if self._found:
                        self._inside = 0
                    if self._inside > MOST_INSIDE:
                        raise ValueError("a message without end")
                    yield from self._found
                    self._found = []
                parser.Parse(b"", True)
            except (expat.ExpatError, ValueError, LookupError) as error:
                ended = "no element found" in str(error)
                where = f"{self._file.where}:{parser.ErrorLineNumber}:{parser.ErrorColumnNumber}"
                reason = "it ends too early" if ended else f"no XML ({error})"
                raise DataError(reason, where=where, fix="export it again") from None
        yield from self._found

    def _refuse(self, *_: object) -> None:
        raise ValueError("entities are declared")

    def _begin(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "sms":
            text = attributes.get("body", "")
            kind = attributes.get("type")
            if kind not in (RECEIVED, SENT):
                self._found.append(Skipped("a draft or not sent", text))
                return
            self._add(attributes, text, own=kind == SENT, kind="text")
        elif tag == "mms":
            self._mms, self._texts, self._kind, self._sender = dict(attributes), [], "", ""
        elif tag == "part" and self._mms is not None:
            content = attributes.get("ct", "")
            if content == "text/plain":
                self._texts.append(_known(attributes.get("text", "")))
            elif content != "application/smil":
                self._kind = KINDS.get(content.partition("/")[0], "file")
        elif tag == "addr" and self._mms is not None and attributes.get("type") == SENDER:
            self._sender = attributes.get("address", "")

    def _end(self, tag: str) -> None:
        if tag == "mms" and self._mms is not None:
            own = self._mms.get("msg_box") == SENT
            text = "\n".join(filter(None, self._texts))
            self._add(self._mms, text, own=own, kind=self._kind or "text", sender=self._sender)
            self._mms = None

    def _add(
        self, row: Mapping[str, str], text: str, *, own: bool, kind: str, sender: str = ""
    ) -> None:
        date = row.get("date", "")
        address = "~".join(map(self._numbers.first, row.get("address", "").split("~")))
        sender = self._numbers.first(sender)
        if not re.fullmatch(r"[0-9]{9,14}", date):
            self._found.append(Malformed(self._file.where, "a message without time"))
            return
        if is_tapback(text):
            self._found.append(Skipped("reaction", text))
            return
        group = "~" in address
        known = _known(row.get("contact_name", ""))
        known = "" if known == "(Unknown)" else known
        who = "Me" if own else sender if group and sender else address
        if not who:
            self._found.append(Malformed(self._file.where, "a message without sender"))
            return
        name = who if own or group or not known else known
        at = int(date) / (1000 if len(date) > 11 else 1)
        text = storable(_known(text))
        body = Message(text, time=iso_utc(at), kind=kind if text or kind != "text" else "media")
        chat = storable(address or known)
        person = Person(storable(who), storable(name))
        self._found.append(Sent(chat, person, body, at, group=group))


def _known(text: str) -> str:
    """A value; the app writes `null` where it has none."""
    return "" if text == "null" else text


def _joined(opened: IO[bytes]) -> Iterator[bytes]:
    """The file with halves of characters joined, and single halves as the replacement character."""
    rest = b""
    while True:
        block = opened.read(BLOCK)
        data = rest + block
        cut = len(data)
        if block:  # neither within an entity nor between the halves of a character
            at = data.rfind(b"&", max(cut - LONGEST_ENTITY, 0))
            cut = cut if at < 0 else at
            if half := END.search(data, max(cut - LONGEST_ENTITY, 0), cut):
                cut = half.start()
        rest = data[cut:]
        piece = PAIR.sub(_whole, data[:cut])
        yield HALF.sub(b"&#65533;", piece)
        if not block:
            return


def _whole(match: re.Match[bytes]) -> bytes:
    high, low = int(match[1]), int(match[2])
    if not (0xD800 <= high < 0xDC00 <= low < 0xE000):
        return match[0]
    return b"&#%d;" % (0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
