"""Dates that do not say which of their numbers is the day."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from vvae.core.errors import DataError
from vvae.corpus.formats import Dates

__all__ = ["Clock", "Order", "iso_seconds", "iso_utc", "order_of"]


class Order(NamedTuple):
    """A reading of a date: where year, month and day stand among its three numbers."""

    year: int
    month: int
    day: int


YEAR_FIRST, DAY_FIRST, MONTH_FIRST = Order(0, 1, 2), Order(2, 1, 0), Order(2, 0, 1)


def order_of(
    dates: Iterable[tuple[str, str, str]], *, dotted: bool, option: Dates, where: str
) -> Order:
    """Return the order of the numbers of all dates of a file.

    A number above 12 is no month and one above 31 is a year; where that leaves two readings, the
    one under which time runs backwards less often is taken; dots mean day first.

    Args:
        dates: three runs of digits each.
        dotted: whether dots stand between them.

    Raises:
        DataError: both readings remain, and the user did not say which.
    """
    if option != "auto":
        first = next(iter(dates), ("0", "0", "0"))
        return (
            YEAR_FIRST
            if len(first[0]) == 4
            else DAY_FIRST
            if option == "day-first"
            else MONTH_FIRST
        )
    open_ = [DAY_FIRST, MONTH_FIRST]
    back = dict.fromkeys(open_, 0)
    last: dict[Order, tuple[int, int, int]] = {}
    before: tuple[str, str, str] | None = None
    for date in dates:
        if date == before:
            continue
        before = date
        if len(date[0]) == 4 or int(date[0]) > 31:
            return YEAR_FIRST
        for order in list(open_):
            if not (1 <= int(date[order.month]) <= 12):
                open_.remove(order)
                continue
            now = (int(date[order.year]), int(date[order.month]), int(date[order.day]))
            back[order] += now < last.get(order, now)
            last[order] = now
        if len(open_) == 1:
            return open_[0]
    if len(open_) == 2 and back[DAY_FIRST] != back[MONTH_FIRST]:
        return min(open_, key=back.__getitem__)
    if dotted or not open_ or before is None:
        return DAY_FIRST
    raise DataError(
        f"is {'/'.join(before)} the day or the month first? No date of this file tells",
        where=where,
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
                year + 2000 if year < 100 else year,
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
