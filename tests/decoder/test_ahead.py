"""What is made ahead comes in order, with its errors in place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from vvae.decoder.ahead import made_ahead


def counted(until: int, made: list[int]) -> Iterator[int]:
    for number in range(until):
        made.append(number)
        yield number
    raise OSError("the disk is gone")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_items_come_in_order_and_an_error_in_its_place(number: int) -> None:
    reader = made_ahead(counted(7, []), number)
    assert [next(reader) for _ in range(7)] == list(range(7))
    with pytest.raises(OSError, match="the disk is gone"):
        next(reader)


def test_a_reader_who_stops_early_leaves_no_thread_behind() -> None:
    made: list[int] = []
    reader = made_ahead(counted(1000, made), 2)
    assert [next(reader), next(reader)] == [0, 1]
    reader.close()
    assert len(made) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
