"""How long people wait, as an export tells it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vvae.core.dialogue import Dialogue, Message, Turn
from vvae.corpus.pauses import Pauses

NOON = datetime(2024, 5, 1, 12, 0, 1)


def chat(
    number: int, before: float, within: float, text: str = "ok", start: datetime = NOON
) -> Dialogue:
    """Ana answers Ben after `before` seconds, in two messages `within` seconds apart."""
    at, turns = start + timedelta(days=number), []
    for turn in range(4):
        at += timedelta(seconds=before)
        first = Message(text, time=at.isoformat())
        at += timedelta(seconds=within)
        messages = (first, Message(text, time=at.isoformat()))
        turns.append(Turn(turn, ("ben", "ana")[turn % 2], messages))
    return Dialogue(f"d{number}", tuple(turns))


def test_a_pause_is_one_of_the_persons_own_by_length_and_time_of_day() -> None:
    night = NOON.replace(hour=2)
    pauses = Pauses(
        [
            *(chat(day, 20, 3) for day in range(20)),
            *(chat(day, 20, 30, "x" * 50) for day in range(20)),
            *(chat(day, 600, 3, start=night) for day in range(20)),
        ]
    )
    assert pauses.known
    assert pauses.draw("ana", ["ok", "ok", "y" * 60], 13, 7) == (20, 3, 30)
    assert pauses.draw("ana", ["ok"], 3, 7) == (600,)
    assert pauses.draw("ana", [], 3, 7) == ()


def test_who_is_hardly_known_waits_as_everybody_does() -> None:
    pauses = Pauses([chat(day, 20, 3) for day in range(40)])
    assert pauses.draw("nobody", ["ok", "ok"], 13, 7) == (20, 3)
    assert pauses.draw("ana", ["ok"], 23, 7) == (20,), "nobody wrote at that time of the day"


def test_times_without_seconds_tell_nothing() -> None:
    whole = NOON.replace(second=0)
    minutes = Pauses([chat(day, 60, 60, start=whole) for day in range(40)])
    assert not minutes.known
    assert minutes.draw("ana", ["ok"], 12, 1) == ()
    mixed = Pauses([chat(0, 60, 60, start=whole), *(chat(day, 20, 3) for day in range(30))])
    assert mixed.draw("ana", ["ok", "ok"], 12, 1) == (20, 3), "whole minutes are left out"
    assert not Pauses([]).known
    odd = Message("hi", time="yesterday")
    assert not Pauses([Dialogue("d", (Turn(0, "ana", (odd, odd)),))]).known


@given(st.lists(st.floats(0.1, 5000), min_size=1, max_size=20), st.integers(0, 23))
def test_a_draw_is_a_silence_that_was_seen_and_comes_again(
    silences: list[float], hour: int
) -> None:
    pauses = Pauses([chat(day, wait, 2.5) for day, wait in enumerate(silences)])
    drawn = pauses.draw("ben", ["ok", "ok"], hour, "c#1", 4)
    assert drawn == pauses.draw("ben", ["ok", "ok"], hour, "c#1", 4)
    seen = {round(wait, 1) for wait in silences}
    assert any(drawn[0] == pytest.approx(one, abs=0.11) for one in seen)
    assert drawn[1] == 2.5
