"""Labelled chat for an audit: a CSV or JSONL file with a row for each utterance, and a mapping of
its columns.

path: valid.csv             # beside the mapping file; CSV, TSV or JSONL
dialogue: Dialogue_ID       # columns; rows of a dialogue stand in order
speaker: Speaker
text: Utterance
dimensions:
  tone:
    column: Emotion
    values:                 # the file's label -> ours, several, or null (no evidence)
      anger: annoyed
      happy: [excited, playful]
      neutral: null         # a label that is not listed is left out of the audit, counted
  hobby: {column: hobby}    # without values: the file's own words; an empty cell is null
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.core.errors import ConfigError, DataError, choose_from
from vvae.core.text import normal_form
from vvae.core.yaml import read_yaml
from vvae.corpus.pairs import windows
from vvae.latent.readers import reader
from vvae.latent.space import Dimension, LatentSpace

__all__ = ["ColumnMapping", "Gold", "Labelled", "read_labelled"]

Gold = frozenset[str]
"""The values that are right for an utterance; the empty set where the label says that there is no
evidence.
"""


class _Column(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    values: dict[str, str | tuple[str, ...] | None] | None = None


class ColumnMapping(BaseModel):
    """A mapping file: which column holds what, and which label means which value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    dialogue: str
    speaker: str
    text: str
    dimensions: dict[str, _Column]


class Labelled(NamedTuple):
    """A corpus of labelled utterances as pairs, with what is right for each.

    `gold` is by dimension and pair id; one that is not in it has no label that says something of
    the dimension.
    """

    name: str
    dialogues: dict[str, Dialogue]
    pairs: list[Pair]
    gold: dict[str, dict[str, Gold]]
    left_out: Counter[str]


def read_labelled(path: Path, space: LatentSpace, *, window_tokens: int = 384) -> Labelled:
    """Read a mapping file and return the utterances of the file that it points to.

    Each row is a turn of its own.

    Raises:
        ConfigError: the mapping is wrong, or names a dimension or label that the space lacks.
        DataError: the file is missing or lacks a column.
    """
    mapping = _mapping(path, space)
    file = path.parent / mapping.path
    rows_of: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    left_out: Counter[str] = Counter()
    named = (mapping.dialogue, mapping.speaker, mapping.text)
    needed = {
        mapping.dialogue,
        mapping.speaker,
        mapping.text,
        *(c.column for c in mapping.dimensions.values()),
    }
    for number, row in enumerate(_rows(file), start=1):
        if missing := needed - set(row):
            raise DataError(
                f"no column {sorted(missing)[0]!r}",
                where=f"{file}: row {number}",
                fix="see the mapping",
            )
        name, speaker, text = (str(row[c] if row[c] is not None else "").strip() for c in named)
        if not text:
            left_out["empty text"] += 1
            continue
        rows_of.setdefault(name, []).append((speaker, text, row))
    if not rows_of:
        raise DataError("no utterances", where=str(file), fix="see the mapping")
    dialogues, pairs = {}, []
    gold: dict[str, dict[str, Gold]] = {name: {} for name in mapping.dimensions}
    for name, rows in rows_of.items():
        turns = tuple(
            Turn(i, speaker, (Message(text),)) for i, (speaker, text, _) in enumerate(rows)
        )
        dialogues[name] = dialogue = Dialogue(name, turns)
        starts = windows(dialogue, window_tokens)
        for turn, (speaker, _, row) in zip(turns, rows, strict=True):
            listeners = tuple(s for s in dialogue.speakers if s != speaker)
            pair = Pair(
                f"{name}#{turn.id}",
                name,
                turn.id,
                starts[turn.id],
                speaker,
                listeners,
                "train",
                turn.text,
            )
            pairs.append(pair)
            for dimension, column in mapping.dimensions.items():
                values = _gold(row[column.column], column, space.by_name[dimension])
                if values is None:
                    left_out[f"{dimension}: {row[column.column]}"] += 1
                else:
                    gold[dimension][pair.pair_id] = values
    for dimension in gold:
        if not gold[dimension]:
            fix = "see that 'values' names the file's labels as they are written"
            raise DataError(
                "no row has a label that is mapped",
                where=f"{path}: dimensions.{dimension}",
                fix=fix,
            )
    return Labelled(path.stem, dialogues, pairs, gold, left_out)


def _gold(cell: object, column: _Column, dimension: Dimension) -> Gold | None:
    """What is right, None where the label is not mapped."""
    words = (
        [str(c) for c in cell]
        if isinstance(cell, list)
        else [str(cell)]
        if cell not in (None, "")
        else [""]
    )
    if column.values is not None:
        known = [column.values[word] for word in words or [""] if word in column.values]
        return frozenset().union(*map(_as_set, known)) if known else None
    values = {normal_form(word) for word in words if word}
    names_of = reader(dimension.reader).names_of
    return frozenset(values.union(*map(names_of, words)))


def _as_set(value: str | tuple[str, ...] | None) -> Gold:
    return frozenset() if value is None else frozenset([value] if isinstance(value, str) else value)


def _mapping(path: Path, space: LatentSpace) -> ColumnMapping:
    try:
        data = read_yaml(path, "give a mapping file (docs/encoders.md)")
        mapping = ColumnMapping.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(
            first["msg"], where=f"{path}: {key}", fix="see docs/encoders.md"
        ) from None
    for name, column in mapping.dimensions.items():
        if name not in space.by_name:
            fix = choose_from(name, space.names)
            raise ConfigError(f"unknown dimension {name!r}", where=f"{path}: dimensions", fix=fix)
        for value in frozenset().union(*map(_as_set, (column.values or {}).values())):
            space.check(name, value, where=f"{path}: dimensions.{name}.values")
    return mapping


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            if file.suffix in (".jsonl", ".ndjson"):
                for number, line in enumerate(opened, start=1):
                    if line.strip():
                        row = json.loads(line)
                        if not isinstance(row, dict):
                            raise DataError("not a JSON object", where=f"{file}:{number}")
                        yield row
            else:
                yield from csv.DictReader(opened, delimiter="\t" if file.suffix == ".tsv" else ",")
    except OSError:
        raise DataError(
            "cannot be read", where=str(file), fix="check 'path' in the mapping file"
        ) from None
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"cannot be parsed ({error})", where=str(file), fix="give CSV, TSV or JSONL in UTF-8"
        ) from None
