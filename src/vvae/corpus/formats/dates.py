"""Dates that do not say which of their numbers is the day, and dates in words of many languages."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple

import yaml

from vvae.core.errors import DataError
from vvae.corpus.formats import Dates

__all__ = ["Clock", "Dating", "Order", "hour_of", "iso_seconds", "iso_utc", "written"]


class Order(NamedTuple):
    """A reading of a date: where year, month and day stand among its three numbers."""

    year: int
    month: int
    day: int


YEAR_FIRST, DAY_FIRST, MONTH_FIRST = Order(0, 1, 2), Order(2, 1, 0), Order(2, 0, 1)


class Dating:
    """A look at all dates of a file that tells the order of their numbers.

    A number above 12 is no month and one above 31 is a year; where that leaves two readings, the
    one under which time changes its direction less often is taken; dots mean day first.

    Args:
        dotted: whether dots stand between the numbers.
        option: what the user says of it.
        where: the file, for an error.
    """

    def __init__(self, *, dotted: bool, option: Dates, where: str) -> None:
        self._dotted, self._option, self._where = dotted, option, where
        self._open = [DAY_FIRST, MONTH_FIRST]
        self._forward = dict.fromkeys(self._open, 0)
        self._back = dict.fromkeys(self._open, 0)
        self._last: dict[Order, tuple[int, int, int]] = {}
        self._before: tuple[str, str, str] | None = None
        self._settled: Order | None = None

    def see(self, date: tuple[str, str, str]) -> None:
        """Take a date: three runs of digits."""
        if date == self._before or self._settled is not None:
            return
        self._before = date
        if len(date[0]) == 4 or int(date[0]) > 31:
            self._settled = YEAR_FIRST
        elif self._option != "auto":
            self._settled = DAY_FIRST if self._option == "day-first" else MONTH_FIRST
        else:
            self._count(date)

    def _count(self, date: tuple[str, str, str]) -> None:
        for order in list(self._open):
            if not (1 <= int(date[order.month]) <= 12):
                self._open.remove(order)
                continue
            now = (int(date[order.year]), int(date[order.month]), int(date[order.day]))
            last = self._last.get(order, now)
            self._back[order] += now < last
            self._forward[order] += now > last
            self._last[order] = now
        if len(self._open) == 1:
            self._settled = self._open[0]

    def order(self) -> Order:
        """Return where year, month and day stand.

        Raises:
            DataError: both readings remain, and the user did not say which.
        """
        if self._settled is not None:
            return self._settled
        turns = {order: min(self._back[order], self._forward[order]) for order in self._open}
        if len(set(turns.values())) == 2:
            return min(turns, key=turns.__getitem__)
        if self._dotted or not self._open or self._before is None:
            return DAY_FIRST
        raise DataError(
            f"is {'/'.join(self._before)} the day or the month first? No date of this file tells",
            where=self._where,
            fix="say --dates day-first or --dates month-first",
        )


class Clock:
    """A reader of local dates and times as seconds and ISO 8601; each day is worked out once."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._days: dict[tuple[str, str, str], tuple[float, str] | None] = {}

    def read(
        self, date: tuple[str, str, str], hour: int, minute: int, second: int
    ) -> tuple[float, str] | None:
        """Return (seconds, ISO 8601 without an offset), or None where there is no such time."""
        if date not in self._days:
            if len(self._days) > 10_000:
                self._days.clear()
            self._days[date] = self._day(date)
        day = self._days[date]
        if day is None or hour > 24 or minute > 59 or second > 60:
            return None
        return (
            day[0] + 3600 * hour + 60 * minute + second,
            f"{day[1]}T{hour % 24:02d}:{minute:02d}:{min(second, 59):02d}",
        )

    def _day(self, date: tuple[str, str, str]) -> tuple[float, str] | None:
        numbers = [int(part) for part in date]
        year = numbers[self._order.year]
        try:
            day = datetime(
                year + 2000 if year < 100 else year - 543 if year > 2400 else year,  # Buddhist era
                numbers[self._order.month],
                numbers[self._order.day],
            )
        except (ValueError, OverflowError):
            return None
        return day.replace(tzinfo=UTC).timestamp(), day.date().isoformat()


def iso_utc(seconds: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def iso_seconds(text: str) -> float | None:
    """Return the seconds of an ISO 8601 time, or None where it is none; one without an offset is
    taken for UTC.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


AM = {"am", "a", "上午", "凌晨", "早上", "清晨", "午前", "오전", "ص", "πμ", "पूर्वाह्न"}
PM = {"pm", "p", "下午", "晚上", "中午", "午後", "오후", "م", "μμ", "अपराह्न"}
HOUR = re.compile(
    r"(?<![\d.])(\d{1,2})\s?[:.時时시]\s?(\d{1,2})(?:\s?[:.分분]\s?(\d{1,2}))?\s?[秒초분分]?(?![\d.]\d)"
)
HALF = re.compile(
    rf"{'|'.join(sorted((AM | PM) - {'am', 'a', 'pm', 'p'}))}|(?<![^\W\d_])[ap]\.? ?m\b|[πμ]\.μ"
)
NUMBERED = (
    re.compile(r"(?P<y>\d{4}) ?[年년./\-] ?(?P<m>\d{1,2}) ?[月월./\-] ?(?P<d>\d{1,2})"),
    re.compile(r"(?P<d>\d{1,2}) tháng (?P<m>\d{1,2})\D+(?P<y>\d{4})"),
)
IN_WORDS = re.compile(r"[^\W\d_][^\W\d_׳॰’.]*[׳॰]?")


def hour_of(hour: int, half: str | None) -> int:
    """Return the hour from 0 to 23 of a clock of twelve hours.

    Args:
        hour: as written; above 12 it is taken as it is.
        half: the word for the half of the day, before or after the time; None where there is none.
    """
    if half is None or hour > 12:
        return hour
    if re.sub(r"[\W_]", "", half.casefold()) in PM:
        return hour if hour == 12 or (half == "中午" and hour > 10) else hour + 12
    return 0 if hour == 12 else hour


def written(text: str) -> tuple[float, str] | None:
    """Return (seconds, ISO 8601 without an offset) of a date with the month in words of any of 37
    languages, or in CJK numerals, and a time; None for what is none. No time is midnight.

    >>> written("mardi 17 mai 2022 à 17:29:42 UTC")
    (1652808582.0, '2022-05-17T17:29:42')
    """
    plain = re.sub(r"[\u00a0\u2009\u202f]", " ", re.sub(r"[\u200b-\u200f]", "", text[:120]))
    times = list(HOUR.finditer(plain))
    time = times[-1] if times else None
    date = _written_date(
        plain if time is None else plain[: time.start()] + " " + plain[time.end() :]
    )
    if date is None:
        return None
    hour, minute, second = (int(part or 0) for part in time.groups()) if time else (0, 0, 0)
    half = HALF.search(plain.casefold())
    hour = hour_of(hour, half.group() if half else None)
    if hour > 24 or minute > 59 or second > 60:
        return None
    iso = f"{date.date().isoformat()}T{hour % 24:02d}:{minute:02d}:{min(second, 59):02d}"
    return date.replace(tzinfo=UTC).timestamp() + 3600 * hour + 60 * minute + second, iso


@lru_cache(maxsize=4096)
def _written_date(text: str) -> datetime | None:
    for pattern in NUMBERED:
        if match := pattern.search(text):
            return _date(int(match["y"]), int(match["m"]), int(match["d"]))
    months = _months()
    words = IN_WORDS.findall(unicodedata.normalize("NFC", text.casefold()))
    words = [word if word in months else word.removeprefix("ב") for word in words]  # Hebrew "in"
    named = [months[word] for word in words if word in months]
    numbers = re.findall(r"\d+", text)
    years = [number for number in numbers if len(number) == 4]
    days = [number for number in numbers if len(number) < 3]
    if not named or not days or not (years or len(days) > 1):
        return None
    return _date(int(years[0]) if years else 2000 + int(days[1]), named[-1], int(days[0]))


def _date(year: int, month: int, day: int) -> datetime | None:
    try:
        return datetime(year - 543 if year > 2400 else year, month, day)
    except ValueError:
        return None


@cache
def _months() -> dict[str, int]:
    text = resources.files("vvae.corpus.formats").joinpath("months.yaml").read_text("utf-8")
    return {
        unicodedata.normalize("NFC", name): number
        for number, names in yaml.safe_load(text).items()
        for name in names
    }
