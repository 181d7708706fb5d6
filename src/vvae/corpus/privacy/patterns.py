"""Personal items that have a form: e-mail and web addresses, numbers of phones, cards, accounts and
people, postal addresses, keys.

Made for recall: an item that is missed stays in a model for good, one too many costs a number in a
chat. What looks like a date, a time, an amount or a score is left. No national validators: people
mistype their numbers, and a wrong digit makes a number no less theirs. A checksum only says which
kind it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import NamedTuple

import regex
import yaml

__all__ = ["KINDS", "Item", "find_items", "masked"]

KINDS = ("url", "email", "key", "iban", "card", "ip", "phone", "id", "address")
"""What is told apart; an item stands in the text as <kind>."""
SIGN = re.compile(r"[\d@:=：是/_\-省区]")
"""Most messages have none of these, and a set of characters is looked for ten times as fast as a
choice of patterns.
"""
HINT = regex.compile(
    r"[\d@]|://|www\.|PRIVATE KEY|[=:：是] ?\S{6}|eyJ|省|自治区|[A-Za-z0-9_\-]{20}",
    regex.IGNORECASE,
)
ROAD_HINT = regex.compile(r"[路街道巷弄胡]")
ENDS_URL = r"[^\s<>\"'，。！？；、（）]"
DOMAINS = "com|org|net|io|me|app|dev|ly|gl|co|cn|de|fr|es|it|uk|us|eu|info|biz|xyz|link|be|tv"
URL = regex.compile(
    rf"(?:[a-z][a-z0-9+.\-]{{1,20}}://|(?<!\w)www\.(?=\w)){ENDS_URL}+"
    rf"|(?<![\w@.])(?:[a-z0-9\-]{{1,63}}\.){{1,6}}(?:{DOMAINS})/{ENDS_URL}*",
    regex.IGNORECASE,
)
LETTER = r"A-Za-z0-9\p{Latin}\p{Cyrillic}\p{Greek}"
EMAIL = regex.compile(
    rf"[{LETTER}.!#$%&'*+/=?^_`{{|}}~\-]{{1,64}}@(?:[{LETTER}\-]{{1,63}}\.){{1,6}}"
    r"[A-Za-z\p{Latin}\p{Cyrillic}\p{Greek}]{2,24}"
)
IBAN = regex.compile(
    r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?:[ \u00a0\-]?[A-Z0-9]{2,4}){2,8}(?![A-Z0-9])", regex.IGNORECASE
)
IP = regex.compile(
    r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])|(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{1,4}(?![\w:])"
    r"|(?<![\w:\-])(?:[0-9a-f]{2}[:\-]){5}[0-9a-f]{2}(?![\w:\-])",
    regex.IGNORECASE,
)
NUMBER = regex.compile(
    r"(?<![A-Za-z0-9.,$€£¥])(?:\+|(?=[\d(]))[ \u00a0]?\(?\d(?:[ "
    r"\u00a0\u2009\u202f.\-–/()]{0,3}\d){5,23}"
    r"(?: ?(?:x|ext\.?|#) ?\d{1,6})?(?![A-Za-z0-9]|[.,]\d|[%€$£¥])",
    regex.IGNORECASE,
)
DAY = r"(?:(?:19|20)\d\d[\-./]\d{1,2}[\-./]\d{1,2}|\d{1,2}[\-./]\d{1,2}[\-./](?:19|20)?\d{2})"
DATE = regex.compile(rf"\(?{DAY}(?:[ \-–]+(?:{DAY}|\d{{1,2}}))?\)?")
YEARS = regex.compile(r"\(?(?:1[5-9]|20)\d\d(?:[ ]?[\-–/ ][ ]?(?:1[5-9]|20)?\d\d){1,5}\)?")
AMOUNT = regex.compile(
    r"[1-9]\d{0,2}(?:\.\d{3}){1,4}|[1-9]\d{0,2}(?:[ \u00a0\u202f]\d{3}){0,3}[ \u00a0\u202f]000"
    r"|[1-9]\d{0,2}0{5,}|\d\.\d{6,}"
)
NATIONAL = regex.compile(
    r"\d{3}-\d{2}-\d{4}|\d{3}\.\d{3}\.\d{3}-\d{2}|\d{15}|\d{18}"  # US, Brazil, France, China
    r"|[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3}(?: ?\d{2})?"
)
WORD = regex.compile(
    r"(?<![A-Za-z0-9])[A-Za-z0-9](?:[A-Za-z0-9]|[\-./](?=[A-Za-z0-9])){5,24}(?:\([0-9A-Za-z]\))?(?![A-Za-z0-9])"
)
SPACED_ID = regex.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D](?![A-Za-z0-9])", regex.IGNORECASE
)
TOKEN = regex.compile(r"(?<![\w\-+/=])[A-Za-z0-9_\-+/=]{20,}(?![\w\-+/=])")
PART = regex.compile(r"<<(\w+)>>")
UUID = regex.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", regex.IGNORECASE)
MEASURE = regex.compile(
    r"\d{1,6}[a-z]{1,5}|\d+[a-zA-Z]{2,5}|[\d.]+-[\d.]+[a-zA-Z]{1,3}|\d+/\d+(?:st|nd|rd|th)|[a-zA-Z]{4,}\d{5}|[a-z]+\.\d+[a-z]+"
    r"|\d+\.\d+[a-z]+|\d{4}-\d\d-\d\dT[\d\-.]+Z?"
)
FEWEST_DIGITS = 7
HAN_ADDRESS = 40
MISTYPED = 1


class Item(NamedTuple):
    """A personal item: text[start:end]."""

    kind: str
    start: int
    end: int


def find_items(text: str) -> list[Item]:
    """Return the items of a text, in order, none within another.

    >>> text = "call +34 600 11 22 33 on 2024-05-03"
    >>> [(item.kind, text[item.start:item.end]) for item in find_items(text)]
    [('phone', '+34 600 11 22 33')]
    """
    if not HINT.search(text):
        return []
    candidates = sorted(
        _all(text), key=lambda item: (KINDS.index(item.kind), item.start, -item.end)
    )
    items: list[Item] = []
    for item in candidates:
        if all(item.end <= other.start or item.start >= other.end for other in items):
            items.append(item)
    return sorted(items, key=lambda item: item.start)


def masked(text: str) -> tuple[str, Counter[str]]:
    """Return the text with <kind> in the place of each item, and how many of each kind there were.

    >>> masked("ana@example.org, IBAN ES91 2100 0418 4502 0005 1332")[0]
    '<email>, IBAN <iban>'
    """
    if not SIGN.search(text) and "ww." not in text.casefold():
        return text, Counter()
    items = find_items(text)
    for item in reversed(items):
        text = f"{text[: item.start]}<{item.kind}>{text[item.end :]}"
    return text, Counter(item.kind for item in items)


def _all(text: str) -> Iterator[Item]:
    digits = (
        sum(c.isdigit() for c in text) if not text.isascii() else sum(map(text.count, "0123456789"))
    )
    words = _words()
    for kind, pattern in (("url", URL), ("email", EMAIL)):
        if "@" in text if kind == "email" else "." in text:
            for match in pattern.finditer(text):
                end = match.end() - (len(match.group()) - len(match.group().rstrip(".,;:!?)]}")))
                yield Item(kind, match.start(), end)
    yield from (Item("key", *match.span()) for match in words.keys.finditer(text))
    for match in words.secret.finditer(text):
        yield Item("key", *match.span("secret"))
    for match in TOKEN.finditer(text):
        if UUID.fullmatch(match.group()) or _random(match.group()):
            yield Item("key", *match.span())
    if digits >= 4:
        yield from (
            Item("ip", *match.span()) for match in IP.finditer(text) if _is_ip(match.group())
        )
    if digits:
        yield from (
            Item("address", *match.span())
            for pattern in words.addresses
            for match in pattern.finditer(text)
        )
    if ROAD_HINT.search(text):
        yield from (item for pattern in words.han for item in _han_addresses(text, *pattern))
    if digits >= 5:
        yield from _numbers(text)


def _han_addresses(
    text: str, end: regex.Pattern[str], before: regex.Pattern[str]
) -> Iterator[Item]:
    for match in end.finditer(text):
        start = max(match.start() - HAN_ADDRESS, 0)
        if opening := before.search(text[start : match.start()]):
            yield Item("address", start + opening.start(), match.end())


def _numbers(text: str) -> Iterator[Item]:
    for match in IBAN.finditer(text):
        end = _end_of_account(match.group())
        if end:
            yield Item("iban", match.start(), match.start() + end)
    for match in NUMBER.finditer(text):
        kind = _number_kind(match.group())
        if kind:
            start = match.start() + len(match.group()) - len(match.group().lstrip(" \u00a0"))
            yield Item(kind, start, match.end())
    yield from (Item("id", *match.span()) for match in SPACED_ID.finditer(text))
    for match in WORD.finditer(text):
        word = match.group()
        letters, numbers = sum(c.isalpha() for c in word), sum(c.isdigit() for c in word)
        if letters and numbers >= 5 and not _is_measure(word):
            yield Item("id", *match.span())


def _end_of_account(text: str) -> int | None:
    """Where an account's number ends: after as many characters as its country has; None where it is
    none.
    """
    length = _words().iban.get(text[:2].upper())
    places = [at for at, c in enumerate(text) if c.isalnum()]
    if length is None or len(places) < length - MISTYPED:
        return None
    end = places[min(length, len(places)) - 1] + 1
    return end if sum(c.isdigit() for c in text[:end]) >= length // 3 else None


def _is_measure(word: str) -> bool:
    """A number and a unit or the like: 100000km, 2024-01-01T10, 20000mAh."""
    return bool(MEASURE.fullmatch(word))


def _number_kind(text: str) -> str | None:
    """What a run of digits and separators is; None for a date, years, an amount, a list of small
    numbers.
    """
    body = text.strip(" \u00a0")
    digits = [c for c in body if c.isdigit()]
    if (
        len(digits) < FEWEST_DIGITS
        or DATE.fullmatch(body)
        or YEARS.fullmatch(body)
        or AMOUNT.fullmatch(body)
    ):
        return None
    groups = regex.findall(r"\d+", body)
    sure = body[0] in "+(" or body[0] == "0"
    pairs = len(groups) in (4, 5) and set(map(len, groups[1:])) == {
        2
    }  # 70 12 34 56: how numbers are read out in French
    if not sure and not pairs and max(map(len, groups)) <= 2:
        return None
    if NATIONAL.fullmatch(body):
        return "id" if len(digits) != 15 or not _luhn(digits) else "card"
    if 13 <= len(digits) <= 19 and _luhn(digits):
        return "card"
    return "id" if len(digits) > 15 else "phone"


def _luhn(digits: list[str]) -> bool:
    """Whether the check digit of a payment card is right (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_ip(text: str) -> bool:
    if "." in text:
        return all(int(part) < 256 for part in text.split("."))
    return len(text) >= 11


def _random(token: str) -> bool:
    """Whether a long token looks drawn at random: letters and digits mixed, or hexadecimal."""
    digits = sum(c.isdigit() for c in token)
    if regex.fullmatch(r"(?:0x)?[0-9a-fA-F]{24,}", token):
        return digits >= 4
    upper, lower = sum(c.isupper() for c in token), sum(c.islower() for c in token)
    return digits >= 3 and upper >= 3 and lower >= 3


class _Words(NamedTuple):
    keys: regex.Pattern[str]
    secret: regex.Pattern[str]
    addresses: tuple[regex.Pattern[str], ...]
    iban: dict[str, int]
    han: tuple[tuple[regex.Pattern[str], regex.Pattern[str]], ...]


@cache
def _words() -> _Words:
    data = yaml.safe_load(
        resources.files("vvae.corpus.privacy").joinpath("patterns.yaml").read_text("utf-8")
    )
    lists = {
        name: "|".join(data[name])
        for name in ("english", "plain_english", "german", "before_a_name")
    }
    parts: dict[str, str] = {**lists, **data["parts"]}

    def compiled(pattern: str) -> regex.Pattern[str]:
        while (whole := PART.sub(lambda match: parts[match[1]], pattern)) != pattern:
            pattern = whole
        return regex.compile(pattern, regex.VERBOSE)

    secret = "|".join(sorted(data["secret_words"], key=len, reverse=True)).replace(" ", "[ ]")
    secret_value = rf"""(?<!\p{{L}})(?:{secret})s?(?!\p{{Latin}})
        (?:[ ](?:is|ist|es|est|è|é))?[ ]?[:=：是]?[ ]?["']?
        (?P<secret>(?=\S*\d)[^\s"',，。]{{4,64}})"""
    return _Words(
        regex.compile("|".join(f"(?:{pattern})" for pattern in data["keys"])),
        regex.compile(secret_value, regex.IGNORECASE | regex.VERBOSE),
        tuple(map(compiled, data["addresses"])),
        data["iban"],
        tuple((compiled(entry["end"]), compiled(entry["before"])) for entry in data["han"]),
    )
