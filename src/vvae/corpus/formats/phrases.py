"""Phrases that an app writes itself, with places for names and numbers in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Move", "any_of", "move_of"]

QUOTED_NAME = r"[\"“”„«»「」] ?.{1,100}? ?[\"“”„«»「」]"


class Move(NamedTuple):
    """A notice that somebody came or went, and who, as the notice names them."""

    who: tuple[str, ...]
    here: bool


def any_of(phrases: Iterable[str], then: str = "") -> re.Pattern[str]:
    """Return a pattern that matches any of some phrases.

    Args:
        phrases: texts with NAME for a name or a title, N for a number, and WHO for people who are a
            group of the match. Quotation marks are matched by any.
        then: a pattern of what may follow.
    """
    patterns = []
    for phrase in sorted(phrases, key=lambda phrase: "WHO" in phrase):  # "added you" is no WHO
        pattern = re.escape(re.sub(r'["“”„«»「」]', '"', phrase)).replace("WHO", "(.{1,150}?)")
        pattern = pattern.replace('"NAME"', '"\\ NAME\\ "').replace('"\\ NAME\\ "', QUOTED_NAME)
        pattern = re.sub("NAME|name", ".{1,100}?", pattern).replace("N", r"\d+")
        patterns.append(pattern)
    return re.compile(f"(?:{'|'.join(patterns)}){then}", re.IGNORECASE)


def move_of(line: str, joined: re.Pattern[str], left: re.Pattern[str]) -> Move | None:
    """Return who came or went by a line; None where nobody did."""
    for here, pattern in ((True, joined), (False, left)):
        if match := pattern.fullmatch(line):
            who = next((part for part in match.groups() if part), "")
            names = re.split(r", | and | y | und | et | e |、|님과 |님, ", who.strip())
            return Move(tuple(name for name in names if name), here)
    return None
