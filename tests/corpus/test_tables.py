from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vvae.core.dialogue import Dialogue, Message, Pair, Reaction, Turn
from vvae.core.errors import DataError
from vvae.core.files import atomic_path, write_text
from vvae.corpus import tables
from vvae.corpus.tables import PAIRS, StoredDialogues, read_dialogues, write_dialogues
from vvae.latent.persona import Persona, Slot
from vvae.latent.profile import Profile, Ranked
from vvae.latent.space import load_space
from vvae.latent.tables import (
    Encoding,
    read_encodings,
    read_profiles,
    write_encodings,
    write_profiles,
)
from vvae.metrics.tables import Reply, read_replies, write_replies

SPACE = load_space()
texts = st.text(st.characters(codec="utf-8"), max_size=20)
messages = st.builds(
    Message,
    texts,
    id=st.none() | texts,
    time=st.none() | texts,
    kind=st.none() | texts,
    reply_to=st.none() | texts,
    reactions=st.none()
    | st.lists(st.builds(Reaction, texts, st.none() | texts), max_size=2).map(tuple),
    edited=st.none() | st.booleans(),
    present=st.none() | st.lists(texts, max_size=2).map(tuple),
)
turns = st.builds(
    Turn, st.integers(0, 99), texts, st.lists(messages, min_size=1, max_size=3).map(tuple)
)
dialogues = st.builds(
    Dialogue,
    texts,
    st.lists(turns, max_size=4).map(tuple),
    st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
)
slots = st.builds(
    Slot,
    texts,
    st.sampled_from(["observed", "sampled", "given"]),
    st.none() | st.tuples(st.integers(0, 9), st.integers(9, 20)),
    st.none() | st.floats(0, 1),
)
personas = st.builds(Persona, st.dictionaries(st.sampled_from(SPACE.names), slots))
relaxed = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)


@relaxed
@given(st.lists(dialogues, max_size=3))
def test_dialogues_come_back_as_they_were(tmp_path: Path, given_dialogues: list[Dialogue]) -> None:
    write_dialogues(tmp_path / "d.parquet", given_dialogues)
    assert read_dialogues(tmp_path / "d.parquet") == given_dialogues


@relaxed
@given(
    st.lists(
        st.builds(Encoding, texts, texts, personas, st.sampled_from(["ok", "invalid", "error"])),
        max_size=3,
    )
)
def test_encodings_come_back_as_they_were(tmp_path: Path, encodings: list[Encoding]) -> None:
    write_encodings(tmp_path / "e.parquet", encodings, SPACE)
    assert read_encodings(tmp_path / "e.parquet") == encodings


@relaxed
@given(
    st.lists(
        st.builds(
            Reply, texts, texts, st.integers(0, 9), texts, st.none() | personas, texts, texts
        ),
        max_size=3,
    )
)
def test_replies_come_back_as_they_were(tmp_path: Path, replies: list[Reply]) -> None:
    write_replies(tmp_path / "r.parquet", replies, SPACE)
    assert read_replies(tmp_path / "r.parquet") == replies


def test_pairs_and_profiles_come_back_as_they_were(tmp_path: Path) -> None:
    pairs = [Pair("d#1", "d", 1, 0, "ana", ("ben", "cleo"), "train", "嗨\nhi")]
    PAIRS.write(tmp_path / "p.parquet", pairs)
    assert PAIRS.read(tmp_path / "p.parquet") == pairs
    profiles = {
        "ana": Profile(
            "ana",
            7,
            {"tone": (Ranked("sad", 3), Ranked("tender", 1))},
            {"ben": {"nickname": (Ranked("bro", 2),)}},
        ),
        "null": Profile("null", 3),
    }
    write_profiles(tmp_path / "q.parquet", profiles)
    assert read_profiles(tmp_path / "q.parquet") == profiles


def test_another_kind_version_or_a_torn_file_is_refused_in_one_line(tmp_path: Path) -> None:
    PAIRS.write(tmp_path / "p.parquet", [])
    with pytest.raises(DataError, match=r"no dialogues table \(found: pairs\)"):
        read_dialogues(tmp_path / "p.parquet")
    pl.DataFrame({"a": [1]}).write_parquet(
        tmp_path / "old.parquet", metadata={"vvae.kind": "pairs", "vvae.format": "0"}
    )
    with pytest.raises(DataError, match="format 0"):
        PAIRS.read(tmp_path / "old.parquet")
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "p.parquet").read_bytes()[:50])
    with pytest.raises(DataError, match="cannot be read"):
        PAIRS.read(tmp_path / "torn.parquet")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def broken() -> None:
        with atomic_path(file) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        broken()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("whole", [0, 1 << 30])
def test_dialogues_are_read_when_they_are_asked_for(
    whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "WHOLE_TABLE", whole)
    monkeypatch.setattr(tables, "BLOCK_OF_DIALOGUES", 7)
    monkeypatch.setattr(tables, "MOST_BLOCKS", 2)
    said = [
        Dialogue(f"d{i}", (Turn(0, "a", (Message(f"m{i}"),)), Turn(1, "b", (Message("x"),))))
        for i in range(40)
    ]
    write_dialogues(tmp_path / "d.parquet", said)
    stored = StoredDialogues(tmp_path / "d.parquet")
    assert list(stored.values()) == said
    assert [stored[f"d{i}"] for i in (39, 0, 20, 39)] == [said[i] for i in (39, 0, 20, 39)]
    assert len(stored) == 40
    assert "d40" not in stored
