"""Dialogues and pairs in and out of parquet."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl

from vvae.core.dialogue import Dialogue, Message, Pair, Reaction, Turn
from vvae.core.tables import ROWS_AT_ONCE, Table, check_table, read_frame, write_frames

__all__ = ["PAIRS", "StoredDialogues", "iterate_dialogues", "read_dialogues", "write_dialogues"]

DIALOGUES_AT_ONCE = 256
WHOLE_TABLE = 128 << 20
"""Bytes of a table up to which its dialogues are all held in memory."""
BLOCK_OF_DIALOGUES, MOST_BLOCKS = 256, 16
"""Of a larger one: so many dialogues are read at a time, and so many of these blocks are held."""
CHARACTERS_AT_ONCE = 4 << 20
"""Of dialogues in memory while they are written; how long they are is seen from the first ones."""


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
_TURN: dict[str, Any] = {
    "id": pl.Int64,
    "speaker": pl.String,
    "messages": pl.List(pl.Struct(_MESSAGE)),
}
_DIALOGUE: dict[str, Any] = {
    "id": pl.String,
    "meta": pl.List(pl.Struct({"key": pl.String, "value": pl.String})),
    "turns": pl.List(pl.Struct(_TURN)),
}


def write_dialogues(path: Path, dialogues: Iterable[Dialogue]) -> None:
    """Write dialogues.parquet."""
    # By way of JSON, as in reading: lists within lists are made four times faster so.
    lines = (json.dumps(_dialogue_row(dialogue), ensure_ascii=False) for dialogue in dialogues)

    first = list(islice(lines, DIALOGUES_AT_ONCE))
    mean = sum(map(len, first)) // max(len(first), 1) + 1
    rows = min(max(CHARACTERS_AT_ONCE // mean, 64), 8192)

    def frames() -> Iterator[pl.DataFrame]:
        remaining = chain(first, lines)
        while chunk := list(islice(remaining, rows)):
            yield pl.Series("row", chunk).str.json_decode(pl.Struct(_DIALOGUE)).struct.unnest()

    write_frames(path, "dialogues", frames, _DIALOGUE, rows)


def _dialogue_row(dialogue: Dialogue) -> dict[str, Any]:
    turns = [
        {"id": t.id, "speaker": t.speaker, "messages": list(map(_message_row, t.messages))}
        for t in dialogue.turns
    ]
    return {
        "id": dialogue.id,
        "meta": [{"key": k, "value": v} for k, v in dialogue.meta],
        "turns": turns,
    }


def _message_row(message: Message) -> dict[str, Any]:
    """What is known of a message; keys that are left out are null."""
    row: dict[str, Any] = {
        name: value for name in _MESSAGE if (value := getattr(message, name)) is not None
    }
    if message.reactions is not None:
        row["reactions"] = [reaction._asdict() for reaction in message.reactions]
    if message.present is not None:
        row["present"] = list(message.present)
    return row


def read_dialogues(path: Path) -> list[Dialogue]:
    """Return the dialogues that `write_dialogues` wrote."""
    return list(_dialogues(read_frame(path, "dialogues")))


def iterate_dialogues(path: Path) -> Iterator[Dialogue]:
    """Yield the dialogues that `write_dialogues` wrote, some at a time: a table may be larger than
    memory.

    Raises:
        DataError: the file is no such table.
    """
    check_table(path, "dialogues")
    table = pl.scan_parquet(path)
    for start in range(0, table.select(pl.len()).collect().item(), ROWS_AT_ONCE):
        yield from _dialogues(table.slice(start, ROWS_AT_ONCE).collect())


class StoredDialogues(Mapping[str, Dialogue]):
    """The dialogues that `write_dialogues` wrote, by id, in their order: read when they are asked
    for, some at a time, where the table is large.

    Raises:
        DataError: the file is no such table.
    """

    def __init__(self, path: Path) -> None:
        check_table(path, "dialogues")
        self._path = path
        ids = pl.scan_parquet(path).select("id").collect().to_series().to_list()
        self._rows = {name: row for row, name in enumerate(ids)}
        small = path.stat().st_size <= WHOLE_TABLE
        self._at_once = max(len(ids), 1) if small else BLOCK_OF_DIALOGUES
        self._blocks: OrderedDict[int, list[Dialogue]] = OrderedDict()

    def __getitem__(self, name: str) -> Dialogue:
        """Return a dialogue by its id."""
        number, place = divmod(self._rows[name], self._at_once)
        block = self._blocks.get(number)
        if block is None:
            table = pl.scan_parquet(self._path).slice(number * self._at_once, self._at_once)
            block = self._blocks[number] = list(_dialogues(table.collect()))
            if len(self._blocks) > MOST_BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return block[place]

    def __iter__(self) -> Iterator[str]:
        """Yield the ids, in the order of the table."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rows)


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


PAIRS = Table(
    "pairs",
    {
        "pair_id": pl.String,
        "dialogue": pl.String,
        "turn": pl.Int64,
        "window": pl.Int64,
        "speaker": pl.String,
        "listeners": pl.List(pl.String),
        "split": pl.String,
        "response": pl.String,
    },
    from_row=lambda row: Pair(**{**row, "listeners": tuple(row["listeners"])}),
    to_row=lambda pair: {
        **{field.name: getattr(pair, field.name) for field in fields(pair)},
        "listeners": list(pair.listeners),
    },
)
"""pairs.parquet."""
