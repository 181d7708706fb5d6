"""What is measured, in and out of parquet: replies, likelihoods, rows of studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from vvae.core.tables import Table, read_frame, write_rows
from vvae.latent.persona import Persona
from vvae.latent.space import LatentSpace
from vvae.latent.tables import SLOT, persona_of, persona_row

__all__ = [
    "LIKELIHOODS",
    "MEASURED",
    "Likelihood",
    "Measured",
    "Reply",
    "read_replies",
    "write_replies",
]


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
    """A human reply's likelihood under a variant that is shown one z, or that of the speaker's
    phrase in it.
    """

    pair_id: str
    shown: str
    """``posterior``: z read from the reply; ``profile``, ``swapped``: the speaker's and another's;
    ``none``; ``written``: of a reply that the variant wrote, under the z that it was written under.
    """
    nats: float | None = None
    """Summed cross-entropy of the reply."""
    tokens: int | None = None
    phrase: float | None = None
    """Probability that the speaker's own catchphrase stands in the reply; of one that the variant
    wrote an estimate of it without bias, which may pass 1
    (`vvae.metrics.teacher_forcing.said_in_own`).
    """


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure of one reply in a study; a measure is the ratio of summed values and weights."""

    variant: str
    """Or ``human``."""
    seed: int
    measure: str
    pair_id: str
    speaker: str
    dialogue: str
    value: float
    weight: float


_REPLY = {
    "variant": pl.String,
    "pair_id": pl.String,
    "seed": pl.Int64,
    "profile": pl.String,
    "reply": pl.String,
    "finish_reason": pl.String,
}


def write_replies(path: Path, replies: Iterable[Reply], space: LatentSpace) -> None:
    """Write replies.parquet: a row per variant and pair; `persona` is null where none was shown."""
    schema = {**_REPLY, "persona": pl.Struct(dict.fromkeys(space.names, pl.Struct(SLOT)))}
    rows = (
        {
            **{name: getattr(r, name) for name in _REPLY},
            "persona": None if r.persona is None else persona_row(r.persona, space),
        }
        for r in replies
    )
    write_rows(path, "replies", rows, schema)


def read_replies(path: Path) -> list[Reply]:
    """Return the replies that `write_replies` wrote."""
    return [_reply(row) for row in read_frame(path, "replies").iter_rows(named=True)]


def _reply(row: Mapping[str, Any]) -> Reply:
    persona = row["persona"]
    return Reply(
        **{**row, "persona": None if persona is None else persona_of(persona, list(persona))}
    )


LIKELIHOODS = Table(
    "likelihoods",
    {
        "pair_id": pl.String,
        "shown": pl.String,
        "nats": pl.Float64,
        "tokens": pl.Int64,
        "phrase": pl.Float64,
    },
    from_row=lambda row: Likelihood(**row),
)
"""losses/<variant>.parquet: a row per human reply and z shown; phrases/<variant>.parquet: a row per
reply that the variant wrote.
"""

MEASURED = Table(
    "measured",
    {
        "variant": pl.String,
        "seed": pl.Int64,
        "measure": pl.String,
        "pair_id": pl.String,
        "speaker": pl.String,
        "dialogue": pl.String,
        "value": pl.Float64,
        "weight": pl.Float64,
    },
    from_row=lambda row: Measured(**row),
)
"""studies/<name>/rows.parquet: a row per variant, seed, measure and reply."""
