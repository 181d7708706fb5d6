from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.exports import EXPORTERS, Line
from vvae.dialogue import Dialogue
from vvae.importers import Sent, find, read

NAMES = ("Ana", "Ben María", "李雷", "Zoë 🌻", "+34 600 11 22 33")
# What an app would never write as the beginning of a text, or could not tell from its own words.
plain = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp", "Zs")) | st.just(" "), min_size=1)
texts = plain.map(lambda t: " ".join(t.split())).filter(
    lambda t: t and not re.search(r"^[<\[({:]|[>)]$|: |^null$|:$", t)
)
lines = st.lists(
    st.builds(Line, st.sampled_from(NAMES), st.integers(1_577_900_000, 1_893_000_000), texts), min_size=4, max_size=12
).map(lambda found: sorted(found, key=lambda line: line.at))


def said(path: Path) -> list[tuple[str, str]]:
    """(speaker, text) of everything in an export, in order."""
    found: list[tuple[str, str]] = []
    for _, record in read(find(path)):
        if isinstance(record, Sent):
            found.append((record.person.name, record.message.text))
        elif isinstance(record, Dialogue):
            found += [(turn.speaker, m.text) for turn in record.turns for m in turn.messages]
    return found


@pytest.mark.parametrize("name", EXPORTERS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(lines=lines)
def test_what_an_app_exports_comes_back_message_for_message(name: str, lines: list[Line]) -> None:
    format, write = EXPORTERS[name]
    days = {(line.at // 86400) for line in lines}
    sure = [Line("Ana", 1_577_900_000 + 25 * 86400, "the 26th"), Line("Ben María", 1_577_900_100 + 25 * 86400, "yes")]
    lines = sorted([*sure, *lines], key=lambda line: line.at) if days else lines
    if name == "slack":  # its shortcodes become emoji, and its markup what it stands for
        lines = [line._replace(text=line.text.replace(":", "").replace("&", "and") or "x") for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), lines)
        assert {one.format for one in find(path)} - {None} == {format}
        expected = [(line.speaker, line.text) for line in lines]
        if name == "weclone":
            expected = [("me" if speaker == lines[0].speaker else "room", text) for speaker, text in expected]
            assert [text for _, text in said(path)] == [text for _, text in expected]
        else:
            assert said(path) == expected
