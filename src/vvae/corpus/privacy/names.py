"""Stable pseudonyms for people, and the mapping they can be undone by, kept apart from the chats.

A pseudonym is taken from a list, in the order in which people are met, so that the same export
gives the same names. The mapping is the only file with real names; it can be read by its owner
alone and deleted without loss.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import regex
import yaml

from vvae.core.errors import DataError
from vvae.core.random import shuffled
from vvae.core.text import WORD_BEGINS, WORD_ENDS, is_unspaced

__all__ = ["Pseudonyms", "name_replacer"]

HAN = regex.compile(r"\p{Han}")
PART = regex.compile(r"[\p{L}\p{M}'’\-]+")
FEWEST_LETTERS = 3
FEWEST_DIGITS = 5
"""Of a name without letters, a telephone number."""


class Pseudonyms:
    """A mapping from real name to pseudonym, growing as people are met.

    Args:
        known: what a mapping says already.
        taken: names that stand in the chats, which no pseudonym may be.
        never: pseudonyms that are given to nobody any more.
    """

    def __init__(
        self,
        known: Mapping[str, str] | None = None,
        taken: Iterable[str] = (),
        never: Container[str] = (),
    ) -> None:
        self.known = dict(known or {})
        parts = {part.casefold() for name in taken for part in PART.findall(name)}
        used = {*parts, *(name.casefold() for name in self.known.values())}
        lists = _lists()
        self._left = {
            script: [
                name
                for name in shuffled(lists[script], "pseudonym")
                if name.casefold() not in used and name not in never
            ]
            for script in ("latin", "han")
        }
        self._numbered = len(self.known)

    def of(self, name: str) -> str:
        """Return the pseudonym of somebody, chosen when they are first met."""
        if name not in self.known:
            free_names = self._left["han" if HAN.search(name) else "latin"]
            self._numbered += 1
            self.known[name] = free_names.pop(0) if free_names else f"Person {self._numbered}"
        return self.known[name]

    def save(self, path: Path, *, without: Container[str] = ()) -> None:
        """Write the mapping, whole, for its owner's eyes alone.

        Args:
            without: names that shall stand nowhere.
        """
        kept = {name: pseudonym for name, pseudonym in self.known.items() if name not in without}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                json.dump(kept, out, ensure_ascii=False, indent=1)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @staticmethod
    def read(path: Path) -> dict[str, str]:
        """Return the mapping of a file, empty where there is none.

        Raises:
            DataError: the file is no mapping.
        """
        try:
            mapping = json.loads(path.read_text("utf-8")) if path.exists() else {}
        except (OSError, ValueError):
            mapping = None
        if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
            raise DataError(
                "no mapping of names", where=str(path), fix="move it away; names are given anew"
            )
        return mapping


@cache
def _lists() -> dict[str, list[str]]:
    text = resources.files("vvae.corpus.privacy").joinpath("pseudonyms.yaml").read_text("utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return {key: [str(value) for value in values] for key, values in data.items()}


def name_replacer(
    people: Mapping[str, str], kept: Iterable[str] = ()
) -> Callable[[str], tuple[str, int]]:
    """Return a function that puts pseudonyms in the place of names in a text, and says how many.

    Whole names and their parts are replaced, at word boundaries, in any case; parts that are words
    as well only where they are written with a capital letter; of a Chinese name also the given
    name. A name that is a sign, an emoji or a single letter is looked for behind @ alone, and what
    an app writes in place of a name nowhere.

    Args:
        people: every way somebody is called -> pseudonym.
        kept: people whose names stay, and win over somebody else's same name.

    >>> name_replacer({"Ana García": "Robin"})("ask ana or Mrs García, not Anatol")
    ('ask Robin or Mrs Robin, not Anatol', 2)
    """
    lists = _lists()
    words, never = set(lists["words"]), set(lists["particles"])
    people = {n: new for n, new in people.items() if n.casefold() not in lists["placeholders"]}
    stay = {form.casefold() for name in kept for form in [name, *PART.findall(name)]}
    forms: dict[str, str] = {}
    for name, pseudonym in people.items():
        for form in [name, *_parts(name)]:
            if form.casefold() not in stay and form.casefold() not in never:
                forms.setdefault(form.casefold(), pseudonym)
                forms.setdefault(form.lower(), pseudonym)  # ß is no ss in a text
    if not forms:
        return lambda text: (text, 0)
    capital = {form for form in forms if form in words}
    ordered = sorted(forms, key=lambda form: (-len(form), form))
    pattern = regex.compile("|".join(map(_bounded, ordered)), regex.IGNORECASE)
    n = 0

    def swap(match: regex.Match[str]) -> str:
        nonlocal n
        word = match.group()
        if word.casefold() in capital and not word[0].isupper():
            return word
        n += 1
        return forms.get(word.casefold()) or forms.get(word.lower()) or word

    def replace(text: str) -> tuple[str, int]:
        nonlocal n
        n = 0
        return pattern.sub(swap, text), n

    return replace


def _parts(name: str) -> list[str]:
    parts = [
        part
        for part in PART.findall(name)
        if len(part) >= FEWEST_LETTERS or (HAN.search(part) and len(part) > 1)
    ]
    return parts + [part[1:] for part in parts if HAN.match(part) and len(part) == 3]


def _bounded(form: str) -> str:
    begins, ends = WORD_BEGINS, WORD_ENDS
    if is_unspaced(form):  # ゆい is no part of ゆいいつ; Han has no such words
        begins, ends = r"(?<![\p{L}\p{N}])", r"(?![\p{L}\p{N}])"
    left = "" if HAN.match(form[0]) or not form[0].isalnum() else begins
    right = "" if HAN.match(form[-1]) or not form[-1].isalnum() else ends
    letters, digits = sum(map(str.isalpha, form)), sum(map(str.isdigit, form))
    called = "" if letters > 1 or digits >= FEWEST_DIGITS else "(?<=@)"
    return called + left + regex.escape(form) + right
