"""Records in and out of a run folder: parquet tables and text files, written whole or not at all.

A table carries its kind and format version in the file's metadata; reading another one is a `DataError` and
never a guess.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import polars as pl
from polars.io.plugins import register_io_source

from vvae.dialogue import Dialogue, Message, Pair, Reaction, Turn
from vvae.errors import DataError
from vvae.persona import LatentSpace, Persona, Slot
from vvae.profile import Profile, Ranked

__all__ = [
    "FORMAT_VERSION",
    "Answered",
    "Encoding",
    "Likelihood",
    "Measured",
    "Reply",
    "atomic_path",
    "digest",
    "iterate_dialogues",
    "read_answered",
    "read_dialogues",
    "read_encodings",
    "read_likelihoods",
    "read_measured",
    "read_pairs",
    "read_profiles",
    "read_replies",
    "write_answered",
    "write_bytes",
    "write_dialogues",
    "write_encodings",
    "write_likelihoods",
    "write_measured",
    "write_pairs",
    "write_profiles",
    "write_replies",
    "write_text",
]

FORMAT_VERSION = "1"
ROWS_AT_ONCE = 4096
DIALOGUES_AT_ONCE = 256
CHARACTERS_AT_ONCE = 4 << 20
"""Of dialogues in memory while they are written; how long they are is seen from the first ones."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """What an encoder made of one pair: z with nulls, or why there is none."""

    pair_id: str
    encoder: str
    persona: Persona
    status: Literal["ok", "invalid", "error"] = "ok"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of one variant to one pair."""

    variant: str
    pair_id: str
    seed: int
    profile: str
    """Whose profile was shown: the pair's speaker, or another one (the swapped control)."""
    persona: Persona | None
    """The persona shown, None for variants that take none."""
    reply: str
    finish_reason: str
    """``stop``, or ``length`` where it was cut."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a human reply is under a variant that is shown one z, or how likely the speaker's phrase is in it."""

    pair_id: str
    shown: str
    """``posterior``: z read from the reply; ``profile``, ``swapped``: the speaker's and another's; ``none``."""
    nats: float | None = None
    """Summed cross-entropy of the reply."""
    tokens: int | None = None
    phrase: float | None = None
    """Probability that the speaker's own catchphrase stands in the reply."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure of one reply in a study; a measure is the ratio of summed values and weights."""

    variant: str
    """Or ``human``."""
    seed: int
    measure: str
    pair_id: str
    speaker: str
    dialogue: str
    value: float
    weight: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one multiple-choice question (DialogBench)."""

    item: str
    task: str
    language: str
    rotation: int
    """By how many places the options were moved."""
    right: str
    """Letter of the right option."""
    strict: str | None
    """Letter answered; null for an answer that does not start with one."""
    lenient: str | None
    """Letter answered; null for an answer in which none stands."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes the name when the block ends well, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogatepass")


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def digest(path: Path) -> str:
    """Hash of a file, or of all files under a folder; empty where there is none."""
    digest = blake2b(digest_size=16)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if file.is_file():
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def _write(path: Path, kind: str, rows: Iterable[Mapping[str, Any]], schema: Mapping[str, Any]) -> None:
    """Writes rows as they come."""
    left = iter(rows)

    def frames() -> Iterator[pl.DataFrame]:
        while some := list(islice(left, ROWS_AT_ONCE)):
            yield pl.DataFrame(some, schema=dict(schema), orient="row")

    _write_frames(path, kind, frames, schema, ROWS_AT_ONCE)


def _write_frames(
    path: Path, kind: str, frames: Callable[[], Iterator[pl.DataFrame]], schema: Mapping[str, Any], rows: int
) -> None:
    """Writes frames as they come, so that a table may be larger than memory."""
    stopped: list[BaseException] = []

    def until_stopped() -> Iterator[pl.DataFrame]:
        # Raised within, it would reach us while threads of the writer still hold the file.
        try:
            yield from frames()
        except BaseException as error:
            stopped.append(error)

    table = register_io_source(lambda *_: until_stopped(), schema=pl.Schema(schema))
    metadata = {"vvae.kind": kind, "vvae.format": FORMAT_VERSION}
    with atomic_path(path) as temporary:
        table.sink_parquet(temporary, metadata=metadata, row_group_size=rows, maintain_order=True, statistics=False)
        if stopped:
            raise stopped[0]


def _check(path: Path, kind: str) -> None:
    """Whether a file is a table of a kind, as this version writes it.

    Raises:
        DataError: it is not.
    """
    fix = "run the stage that makes it again"
    try:
        metadata = pl.read_parquet_metadata(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot be read ({type(error).__name__})", where=str(path), fix=fix) from None
    if (found := metadata.get("vvae.kind")) != kind:
        raise DataError(f"this is no {kind} table (found: {found})", where=str(path), fix=fix)
    if (version := metadata.get("vvae.format")) != FORMAT_VERSION:
        raise DataError(f"format {version}, this version reads {FORMAT_VERSION}", where=str(path), fix=fix)


def _read(path: Path, kind: str) -> pl.DataFrame:
    _check(path, kind)
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        fix = "run the stage that makes it again"
        raise DataError(f"cannot be read ({type(error).__name__})", where=str(path), fix=fix) from None


# --- dialogues ------------------------------------------------------------------------------------------------------

_MESSAGE: dict[str, Any] = {
    "text": pl.String,
    "id": pl.String,
    "time": pl.String,
    "kind": pl.String,
    "reply_to": pl.String,
    "reactions": pl.List(pl.Struct({"emoji": pl.String, "by": pl.String})),
    "edited": pl.Boolean,
    "present": pl.List(pl.String),
}
_TURN: dict[str, Any] = {"id": pl.Int64, "speaker": pl.String, "messages": pl.List(pl.Struct(_MESSAGE))}
_DIALOGUE: dict[str, Any] = {
    "id": pl.String,
    "meta": pl.List(pl.Struct({"key": pl.String, "value": pl.String})),
    "turns": pl.List(pl.Struct(_TURN)),
}


def write_dialogues(path: Path, dialogues: Iterable[Dialogue]) -> None:
    """dialogues.parquet."""
    # By way of JSON, as in reading: lists within lists are made four times faster so.
    lines = (json.dumps(_dialogue_row(dialogue), ensure_ascii=False) for dialogue in dialogues)

    first = list(islice(lines, DIALOGUES_AT_ONCE))
    mean = sum(map(len, first)) // max(len(first), 1) + 1
    rows = min(max(CHARACTERS_AT_ONCE // mean, 64), 8192)

    def frames() -> Iterator[pl.DataFrame]:
        left = chain(first, lines)
        while some := list(islice(left, rows)):
            yield pl.Series("row", some).str.json_decode(pl.Struct(_DIALOGUE)).struct.unnest()

    _write_frames(path, "dialogues", frames, _DIALOGUE, rows)


def _dialogue_row(dialogue: Dialogue) -> dict[str, Any]:
    turns = [
        {"id": t.id, "speaker": t.speaker, "messages": list(map(_message_row, t.messages))} for t in dialogue.turns
    ]
    return {"id": dialogue.id, "meta": [{"key": k, "value": v} for k, v in dialogue.meta], "turns": turns}


def _message_row(message: Message) -> dict[str, Any]:
    """What is known of a message; keys that are left out are null."""
    row: dict[str, Any] = {name: value for name in _MESSAGE if (value := getattr(message, name)) is not None}
    if message.reactions is not None:
        row["reactions"] = [reaction._asdict() for reaction in message.reactions]
    if message.present is not None:
        row["present"] = list(message.present)
    return row


def read_dialogues(path: Path) -> list[Dialogue]:
    """The inverse of `write_dialogues`."""
    return list(_dialogues(_read(path, "dialogues")))


def iterate_dialogues(path: Path) -> Iterator[Dialogue]:
    """The same, some at a time: a table may be larger than memory.

    Raises:
        DataError: the file is no such table.
    """
    _check(path, "dialogues")
    table = pl.scan_parquet(path)
    for start in range(0, table.select(pl.len()).collect().item(), ROWS_AT_ONCE):
        yield from _dialogues(table.slice(start, ROWS_AT_ONCE).collect())


def _dialogues(frame: pl.DataFrame) -> Iterator[Dialogue]:
    # By way of JSON: lists within lists are read four times faster so.
    rows = frame.select(pl.struct(pl.all()).struct.json_encode()).to_series()
    return (_dialogue(json.loads(row)) for row in rows)


def _dialogue(row: Mapping[str, Any]) -> Dialogue:
    turns = (Turn(t["id"], t["speaker"], tuple(map(_message, t["messages"]))) for t in row["turns"])
    return Dialogue(row["id"], tuple(turns), tuple((m["key"], m["value"]) for m in row["meta"]))


def _message(row: Mapping[str, Any]) -> Message:
    reactions = row["reactions"]
    present = row["present"]
    values = {
        **row,
        "reactions": None if reactions is None else tuple(Reaction(**r) for r in reactions),
        "present": None if present is None else tuple(present),
    }
    return Message(**values)


# --- pairs ----------------------------------------------------------------------------------------------------------

_PAIR = {
    "pair_id": pl.String,
    "dialogue": pl.String,
    "turn": pl.Int64,
    "window": pl.Int64,
    "speaker": pl.String,
    "listeners": pl.List(pl.String),
    "split": pl.String,
    "response": pl.String,
}


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """pairs.parquet."""
    rows = ({**{name: getattr(p, name) for name in _PAIR}, "listeners": list(p.listeners)} for p in pairs)
    _write(path, "pairs", rows, _PAIR)


def read_pairs(path: Path) -> list[Pair]:
    """The inverse of `write_pairs`."""
    return [Pair(**{**row, "listeners": tuple(row["listeners"])}) for row in _read(path, "pairs").iter_rows(named=True)]


# --- personas: a struct per dimension ---------------------------------------------------------------------------------

_SLOT: dict[str, Any] = {
    "value": pl.String,
    "source": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
    "confidence": pl.Float64,
}


def _slot_row(slot: Slot | None) -> dict[str, Any] | None:
    if slot is None:
        return None
    start, end = slot.evidence or (None, None)
    return {"value": slot.value, "source": slot.source, "start": start, "end": end, "confidence": slot.confidence}


def _slot(row: Mapping[str, Any]) -> Slot:
    evidence = None if row["start"] is None else (row["start"], row["end"])
    return Slot(row["value"], row["source"], evidence, row["confidence"])


def _persona_row(persona: Persona, space: LatentSpace) -> dict[str, Any]:
    return {name: _slot_row(persona[name]) for name in space.names}


def _persona(row: Mapping[str, Any], names: Sequence[str]) -> Persona:
    return Persona({name: _slot(row[name]) for name in names if row[name] is not None})


_ENCODING = {"pair_id": pl.String, "status": pl.String, "reason": pl.String, "encoder": pl.String}


def write_encodings(path: Path, encodings: Iterable[Encoding], space: LatentSpace) -> Counter[str]:
    """encodings.parquet: a struct column per dimension, null where the encoder saw no evidence.

    Returns:
        Rows by how they ended: ``ok``, or status and reason.
    """
    ended: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for e in encodings:
            ended[f"{e.status}: {e.reason}" if e.reason else e.status] += 1
            yield {**{k: getattr(e, k) for k in _ENCODING}, **_persona_row(e.persona, space)}

    _write(path, "encodings", rows(), {**_ENCODING, **dict.fromkeys(space.names, pl.Struct(_SLOT))})
    return ended


def read_encodings(path: Path) -> list[Encoding]:
    """The inverse of `write_encodings`."""
    frame = _read(path, "encodings")
    names = [name for name in frame.columns if name not in _ENCODING]
    rows = frame.iter_rows(named=True)
    return [Encoding(r["pair_id"], r["encoder"], _persona(r, names), r["status"], r["reason"]) for r in rows]


# --- profiles: a row per value ----------------------------------------------------------------------------------------

_PROFILE = {
    "speaker": pl.String,
    "listener": pl.String,
    "replies": pl.Int64,
    "dimension": pl.String,
    "rank": pl.Int64,
    "value": pl.String,
    "support": pl.Int64,
}


def write_profiles(path: Path, profiles: Mapping[str, Profile]) -> None:
    """profiles.parquet: (speaker, listener or null, dimension, rank, value, support); no row of values for all-null."""
    _write(path, "profiles", (row for p in profiles.values() for row in _profile_rows(p)), _PROFILE)


def _profile_rows(profile: Profile) -> Iterator[dict[str, Any]]:
    head = {"speaker": profile.speaker, "replies": profile.replies}
    yield {**head, "listener": None, "dimension": None, "rank": None, "value": None, "support": None}
    for listener, values in [(None, profile.values), *profile.by_listener.items()]:
        for dimension, ranked in values.items():
            for rank, (value, support) in enumerate(ranked):
                body = {"dimension": dimension, "rank": rank, "value": value, "support": support}
                yield {**head, "listener": listener, **body}


def read_profiles(path: Path) -> dict[str, Profile]:
    """The inverse of `write_profiles`."""
    heads: dict[str, int] = {}
    values: dict[str, dict[str | None, dict[str, list[Ranked]]]] = {}
    for row in _read(path, "profiles").iter_rows(named=True):
        heads[row["speaker"]] = row["replies"]
        if row["dimension"] is not None:
            of_listener = values.setdefault(row["speaker"], {}).setdefault(row["listener"], {})
            of_listener.setdefault(row["dimension"], []).append(Ranked(row["value"], row["support"]))
    profiles: dict[str, Profile] = {}
    for speaker, replies in heads.items():
        tables = {k: {d: tuple(r) for d, r in v.items()} for k, v in values.get(speaker, {}).items()}
        own = tables.pop(None, {})
        profiles[speaker] = Profile(speaker, replies, own, {str(k): v for k, v in tables.items()})
    return profiles


# --- replies ----------------------------------------------------------------------------------------------------------

_REPLY = {
    "variant": pl.String,
    "pair_id": pl.String,
    "seed": pl.Int64,
    "profile": pl.String,
    "reply": pl.String,
    "finish_reason": pl.String,
}


def write_replies(path: Path, replies: Iterable[Reply], space: LatentSpace) -> None:
    """replies.parquet: a row per variant and pair; `persona` is null where none was shown."""
    schema = {**_REPLY, "persona": pl.Struct(dict.fromkeys(space.names, pl.Struct(_SLOT)))}
    rows = (
        {
            **{name: getattr(r, name) for name in _REPLY},
            "persona": None if r.persona is None else _persona_row(r.persona, space),
        }
        for r in replies
    )
    _write(path, "replies", rows, schema)


def read_replies(path: Path) -> list[Reply]:
    """The inverse of `write_replies`."""
    return [_reply(row) for row in _read(path, "replies").iter_rows(named=True)]


def _reply(row: Mapping[str, Any]) -> Reply:
    shown = row["persona"]
    return Reply(**{**row, "persona": None if shown is None else _persona(shown, list(shown))})


# --- likelihoods ------------------------------------------------------------------------------------------------------

_LIKELIHOOD = {
    "pair_id": pl.String,
    "shown": pl.String,
    "nats": pl.Float64,
    "tokens": pl.Int64,
    "phrase": pl.Float64,
}


def write_likelihoods(path: Path, rows: Iterable[Likelihood]) -> None:
    """losses/<variant>.parquet: a row per human reply and z shown."""
    _write(path, "likelihoods", ({name: getattr(row, name) for name in _LIKELIHOOD} for row in rows), _LIKELIHOOD)


def read_likelihoods(path: Path) -> list[Likelihood]:
    """The inverse of `write_likelihoods`."""
    return [Likelihood(**row) for row in _read(path, "likelihoods").iter_rows(named=True)]


# --- DialogBench ------------------------------------------------------------------------------------------------------

_ANSWERED = {
    "item": pl.String,
    "task": pl.String,
    "language": pl.String,
    "rotation": pl.Int64,
    "right": pl.String,
    "strict": pl.String,
    "lenient": pl.String,
}


def write_answered(path: Path, rows: Iterable[Answered]) -> None:
    """dialogbench/<variant>.parquet: a row per question and rotation."""
    _write(path, "answered", ({name: getattr(row, name) for name in _ANSWERED} for row in rows), _ANSWERED)


def read_answered(path: Path) -> list[Answered]:
    """The inverse of `write_answered`."""
    return [Answered(**row) for row in _read(path, "answered").iter_rows(named=True)]


# --- what a study measured --------------------------------------------------------------------------------------------

_MEASURED = {
    "variant": pl.String,
    "seed": pl.Int64,
    "measure": pl.String,
    "pair_id": pl.String,
    "speaker": pl.String,
    "dialogue": pl.String,
    "value": pl.Float64,
    "weight": pl.Float64,
}


def write_measured(path: Path, rows: Iterable[Measured]) -> None:
    """studies/<name>/rows.parquet: a row per variant, seed, measure and reply."""
    _write(path, "measured", ({name: getattr(row, name) for name in _MEASURED} for row in rows), _MEASURED)


def read_measured(path: Path) -> list[Measured]:
    """The inverse of `write_measured`."""
    return [Measured(**row) for row in _read(path, "measured").iter_rows(named=True)]
