"""The report's words follow from its intervals."""

from __future__ import annotations

import pytest

from vvae.report.verdict import against_people


@pytest.mark.parametrize(
    ("by_probability", "by_count", "words"),
    [
        ((9.4, 17.0), (12.2, 31.7), "says it more often than people"),
        ((-1.7, 3.8), (3.9, 21.9), "says it more often than people"),
        ((-6.4, -1.4), (-5.3, 8.8), "cannot be told from people"),
        ((-10.3, -5.3), (-10.4, -1.7), "says it more rarely than people"),
        ((-6.4, -1.4), (0.3, 8.8), "cannot be told from people"),
        ((-5.9, 0.9), (-5.5, 8.4), "cannot be told from people"),
    ],
)
def test_a_verdict_needs_what_its_measures_can_say(
    by_probability: tuple[float, float], by_count: tuple[float, float], words: str
) -> None:
    measures = ({"low": low, "high": high} for low, high in (by_probability, by_count))
    assert against_people(*measures) == words
