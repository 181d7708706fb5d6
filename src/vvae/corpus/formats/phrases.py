"""Phrases that an app writes itself, with places for names and numbers in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Move", "any_of", "is_tapback", "move_of"]

QUOTED = r"[\"“”„«»「」] ?.{1,100}? ?[\"“”„«»「」]"


class Move(NamedTuple):
    """A notice that somebody came or went, and who, as the notice names them."""

    who: tuple[str, ...]
    here: bool


TOKENS = re.compile(r'("?)(NAME|TITLE|WHO|(?<!\w)N(?!\w))("?)')


def any_of(phrases: Iterable[str], *, name: str = ".{1,100}?", then: str = "") -> re.Pattern[str]:
    """Return a pattern that matches any of some phrases.

    Args:
        phrases: texts with NAME for a person, TITLE for anything, N for a number, and WHO for
            people who are a group of the match. Quotation marks are matched by any.
        name: a pattern of what stands for NAME.
        then: a pattern of what may follow.
    """
    stand_for = {"NAME": name, "TITLE": ".{1,100}?", "WHO": "(.{1,150}?)", "N": r"\d+"}
    patterns = []
    for phrase in sorted(phrases, key=lambda phrase: "WHO" in phrase):  # "added you" is no WHO
        plain = re.sub(r'« ?| ?»|["“”„「」]', '"', phrase)
        pieces, at = [], 0
        for match in TOKENS.finditer(plain):
            pieces.append(re.escape(plain[at : match.start()]))
            quoted = match[1] and match[3]
            pieces.append(QUOTED if quoted else match[1] + stand_for[match[2]] + match[3])
            at = match.end()
        patterns.append("".join(pieces) + re.escape(plain[at:]))
    return re.compile(f"(?:{'|'.join(patterns)}){then}", re.IGNORECASE)


def move_of(line: str, joined: re.Pattern[str], left: re.Pattern[str]) -> Move | None:
    """Return who came or went by a line; None where nobody did."""
    for here, pattern in ((True, joined), (False, left)):
        if match := pattern.fullmatch(line):
            who = next((part for part in match.groups() if part), "")
            names = re.split(r", | and | y | und | et | e |、|님과 |님, ", who.strip())
            return Move(tuple(name for name in names if name), here)
    return None


TAPBACK = re.compile(
    r"(?:Loved|Liked|Disliked|Laughed at|Emphasized|Questioned) "
    r"(?:“.*”|\".*\"|an? (?:image|movie|attachment|audio message|sticker|photo))"
    r"|\u200b?.{1,8} to [“\"].*[”\"]",
    re.DOTALL,
)


def is_tapback(text: str) -> bool:
    """Return whether a text is how a phone tells another phone of a reaction."""
    return TAPBACK.fullmatch(text.strip()) is not None
