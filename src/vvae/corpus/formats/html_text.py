"""HTML exports as a stream of elements, and the text of a piece of HTML."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser

from vvae.core.errors import DataError
from vvae.corpus.formats.files import BLOCK, LONGEST_RECORD, File

__all__ = ["Element", "elements", "text_of"]

EMPTY = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)
DEEPEST = 200
MOST_INSIDE = 100_000
"""Elements within one message."""


class Element:
    """An element of a page: its tag, classes, attributes, and what is in it, in order."""

    __slots__ = ("attributes", "children", "classes", "tag")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes = tag, attributes
        self.classes = frozenset(attributes.get("class", "").split())
        self.children: list[Element | str] = []

    def find_all(self, *classes: str) -> Iterator[Element]:
        """Yield the outermost elements within this one that have one of these classes."""
        for child in self.children:
            if isinstance(child, Element):
                if child.classes & set(classes):
                    yield child
                else:
                    yield from child.find_all(*classes)

    def find(self, *classes: str) -> Element | None:
        """Return the first element within this one that has one of these classes."""
        return next(self.find_all(*classes), None)

    def elements(self) -> Iterator[Element]:
        """Yield all elements within this one."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.elements()

    @property
    def text(self) -> str:
        """Return the text within; <br> and blocks such as paragraphs begin a line."""
        text = re.sub(r"\s*\x00[\x00\s]*", "\n", "".join(self._pieces()).strip("\0 \n\t\r"))
        return "\n".join(line.strip() for line in text.split("\n"))

    def _pieces(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield " ".join(child.split("\n")) if "\n" in child else child
            elif child.tag == "br":
                yield "\n"
            elif child.tag == "img":
                yield child.attributes.get("alt", "")
            elif child.tag in ("p", "div", "li", "blockquote", "pre"):
                yield "\0"  # begins a line, but no two
                yield from child._pieces()
                yield "\0"
            elif child.tag not in ("script", "style"):
                yield from child._pieces()


class _Parser(HTMLParser):
    """Builds the elements that are asked for, and only those."""

    def __init__(self, wanted: Callable[[Element], bool]) -> None:
        super().__init__(convert_charrefs=True)
        self._wanted = wanted
        self._open: list[Element] = []
        self._inside = 0
        self.found: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        if self._open:
            self._inside += 1
            if len(self._open) > DEEPEST or self._inside > MOST_INSIDE:
                raise ValueError("nested too deeply")
            self._open[-1].children.append(element)
        elif not self._wanted(element):
            return
        if tag not in EMPTY:
            self._open.append(element)
        elif not self._open:
            self.found.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        at = next((i for i in reversed(range(len(self._open))) if self._open[i].tag == tag), None)
        if at is None:
            return
        first = self._open[0]
        del self._open[at:]
        if not self._open:
            self._inside = 0
            self.found.append(first)

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open[-1].children.append(data)


def elements(file: File, wanted: Callable[[Element], bool]) -> Iterator[Element]:
    """Yield the outermost elements of a page that are wanted, as they end.

    Raises:
        DataError: an element is too large or nested too deeply.
    """
    parser = _Parser(wanted)
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    with file.open() as opened:
        pending = 0
        while block := opened.read(BLOCK):
            pending += len(block)
            try:
                parser.feed(decoder.decode(block).replace("\x00", ""))
            except (ValueError, AssertionError, RecursionError) as error:
                raise DataError(
                    f"no HTML of a chat ({error})", where=file.where, fix="export it again"
                ) from None
            if parser.found:
                pending = 0
            yield from parser.found
            parser.found = []
            if pending > LONGEST_RECORD:
                pending = 0
                if parser.rawdata and len(parser.rawdata) > LONGEST_RECORD:
                    fix = "this is no export of chat"
                    raise DataError("a tag without an end", where=file.where, fix=fix)


def text_of(piece: str) -> str:
    """Return the text of a piece of HTML."""
    parser = _Parser(lambda element: True)
    try:
        parser.feed(f"<div>{piece}</div>")
        parser.close()
    except (ValueError, AssertionError):
        return piece
    return parser.found[0].text if parser.found else piece
