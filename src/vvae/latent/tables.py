"""Encodings and profiles in and out of parquet: a persona is a struct column per dimension."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from vvae.core.tables import read_frame, write_rows
from vvae.latent.persona import Persona, Slot
from vvae.latent.profile import Profile, Ranked
from vvae.latent.space import LatentSpace

__all__ = [
    "SLOT",
    "Encoding",
    "persona_of",
    "persona_row",
    "read_encodings",
    "read_profiles",
    "write_encodings",
    "write_profiles",
]


@dataclass(frozen=True, slots=True)
class Encoding:
    """A reading of one pair by an encoder: z with nulls, or why there is none."""

    pair_id: str
    encoder: str
    persona: Persona
    status: Literal["ok", "invalid", "error"] = "ok"
    reason: str | None = None


SLOT: dict[str, Any] = {
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
    return {
        "value": slot.value,
        "source": slot.source,
        "start": start,
        "end": end,
        "confidence": slot.confidence,
    }


def _slot(row: Mapping[str, Any]) -> Slot:
    evidence = None if row["start"] is None else (row["start"], row["end"])
    return Slot(row["value"], row["source"], evidence, row["confidence"])


def persona_row(persona: Persona, space: LatentSpace) -> dict[str, Any]:
    """Return the columns of a persona: a struct or null for each dimension of the space."""
    return {name: _slot_row(persona[name]) for name in space.names}


def persona_of(row: Mapping[str, Any], names: Sequence[str]) -> Persona:
    """Return the persona of a row that `persona_row` made, for the dimensions named."""
    return Persona({name: _slot(row[name]) for name in names if row[name] is not None})


_ENCODING = {"pair_id": pl.String, "status": pl.String, "reason": pl.String, "encoder": pl.String}


def write_encodings(path: Path, encodings: Iterable[Encoding], space: LatentSpace) -> Counter[str]:
    """Write encodings.parquet: a struct column per dimension, null where the encoder saw no
    evidence.

    Returns:
        Rows by how they ended: ``ok``, or status and reason.
    """
    ended: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for e in encodings:
            ended[f"{e.status}: {e.reason}" if e.reason else e.status] += 1
            yield {**{k: getattr(e, k) for k in _ENCODING}, **persona_row(e.persona, space)}

    write_rows(
        path, "encodings", rows(), {**_ENCODING, **dict.fromkeys(space.names, pl.Struct(SLOT))}
    )
    return ended


def read_encodings(path: Path) -> list[Encoding]:
    """Return the encodings that `write_encodings` wrote."""
    frame = read_frame(path, "encodings")
    names = [name for name in frame.columns if name not in _ENCODING]
    rows = frame.iter_rows(named=True)
    return [
        Encoding(r["pair_id"], r["encoder"], persona_of(r, names), r["status"], r["reason"])
        for r in rows
    ]


_PROFILE = {
    "speaker": pl.String,
    "listener": pl.String,
    "replies": pl.Int64,
    "dimension": pl.String,
    "rank": pl.Int64,
    "value": pl.String,
    "support": pl.Int64,
    "drawn": pl.Boolean,
}


def write_profiles(path: Path, profiles: Mapping[str, Profile]) -> None:
    """Write profiles.parquet: (speaker, listener or null, dimension, rank, value, support, drawn);
    no row of values for all-null. What is drawn is a habit: all its values stand there.
    """
    write_rows(
        path, "profiles", (row for p in profiles.values() for row in _profile_rows(p)), _PROFILE
    )


def _profile_rows(profile: Profile) -> Iterator[dict[str, Any]]:
    head = {"speaker": profile.speaker, "replies": profile.replies}
    yield {
        **head,
        "listener": None,
        "dimension": None,
        "rank": None,
        "value": None,
        "support": None,
        "drawn": False,
    }
    own = ((None, profile.values, False), (None, profile.habits, True))
    towards = ((listener, values, False) for listener, values in profile.by_listener.items())
    for listener, values, drawn in (*own, *towards):
        for dimension, ranked in values.items():
            for rank, (value, support) in enumerate(ranked):
                body = {"dimension": dimension, "rank": rank, "value": value, "support": support}
                yield {**head, "listener": listener, **body, "drawn": drawn}


def read_profiles(path: Path) -> dict[str, Profile]:
    """Return the profiles that `write_profiles` wrote."""
    heads: dict[str, int] = {}
    values: dict[str, dict[tuple[str | None, bool], dict[str, list[Ranked]]]] = {}
    for row in read_frame(path, "profiles").iter_rows(named=True):
        heads[row["speaker"]] = row["replies"]
        if row["dimension"] is not None:
            kind = (row["listener"], bool(row.get("drawn")))
            of_listener = values.setdefault(row["speaker"], {}).setdefault(kind, {})
            of_listener.setdefault(row["dimension"], []).append(
                Ranked(row["value"], row["support"])
            )
    profiles: dict[str, Profile] = {}
    for speaker, replies in heads.items():
        tables = {
            k: {d: tuple(r) for d, r in v.items()} for k, v in values.get(speaker, {}).items()
        }
        own, habits = (tables.pop((None, drawn), {}) for drawn in (False, True))
        towards = {str(listener): table for (listener, _), table in tables.items()}
        profiles[speaker] = Profile(speaker, replies, own, towards, habits)
    return profiles
