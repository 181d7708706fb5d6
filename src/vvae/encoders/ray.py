"""Encoding shard by shard on Ray, with the rows of a single process.

    shards/pairs-00000.parquet, dialogues-00000.parquet     whole dialogues, in order
    shards/encodings-00000.parquet, prior-00000.json        what reading it gave
    shards/ledger-00000.sqlite                              its calls, where a language model reads
    shards/done-00000.json                                  written last: complete

A dialogue's shard is a hash of its id, and so is the replica that answers for it
(`EndpointConfig.address`): all calls of one dialogue meet the same prefix cache, whichever worker
makes them. A shard is one task; one that was lost with its worker is done again by another, which
finds the answers so far in the shard's ledger. Counts of the prior add.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from vvae.core.cluster import on_cluster
from vvae.core.dialogue import Dialogue, Pair
from vvae.core.errors import DataError, EndpointError, VVAEError
from vvae.core.files import digest, write_text
from vvae.core.random import index_below
from vvae.core.reporting import Progress
from vvae.corpus.tables import PAIRS, read_dialogues, write_dialogues
from vvae.encoders.base import Encoder, EncoderSettings
from vvae.latent.prior import Prior, count
from vvae.latent.space import LatentSpace
from vvae.latent.tables import Encoding, read_encodings, write_encodings

__all__ = [
    "ShardReader",
    "encode_on_ray",
    "merged",
    "prior_of",
    "shard_of",
    "unanswered",
    "write_shards",
]


def shard_of(dialogue: str, shards: int) -> int:
    """Return the shard of a dialogue, a pure function of its id."""
    return index_below(shards, "shard", dialogue)


def _file(folder: Path, kind: str, shard: int, suffix: str = "parquet") -> Path:
    return folder / f"{kind}-{shard:05d}.{suffix}"


def write_shards(
    folder: Path, pairs: Sequence[Pair], dialogues: Mapping[str, Dialogue], shards: int
) -> None:
    """Write the shards of some pairs."""
    own: dict[int, list[Pair]] = {shard: [] for shard in range(shards)}
    for pair in pairs:
        own[shard_of(pair.dialogue, shards)].append(pair)
    for shard, members in own.items():
        names = dict.fromkeys(pair.dialogue for pair in members)
        PAIRS.write(_file(folder, "pairs", shard), members)
        write_dialogues(_file(folder, "dialogues", shard), (dialogues[name] for name in names))


@dataclass(frozen=True)
class ShardReader:
    """A reader of shards with one encoder; what a worker needs travels as text.

    Args:
        folder: the shards, on a file system that all workers see.
        state: the encoder's.
        config: the encoder's, for what its state does not say.
    """

    folder: Path
    state: str
    config: EncoderSettings
    space: LatentSpace

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Read the shard of a row, unless it is complete; return the row with what its marker says.

        An error of ours is returned too, as its text: Ray keeps no exception of a task whole.
        """
        try:
            return {"found": json.dumps(self._shard(int(row["shard"]))), "error": ""}
        except VVAEError as error:
            return {"found": "", "error": str(error)}

    def _shard(self, shard: int) -> dict[str, Any]:
        encoder = self.config.load(self.state, ledger=_file(self.folder, "ledger", shard, "sqlite"))
        source, marker = (
            _file(self.folder, "pairs", shard),
            _file(self.folder, "done", shard, "json"),
        )
        contexts = _file(self.folder, "dialogues", shard)
        mark = {"encoder": encoder.id, "corpus": digest(source), "dialogues": digest(contexts)}
        previous: dict[str, Any] = json.loads(marker.read_text("utf-8")) if marker.is_file() else {}
        if mark.items() <= previous.items() and not unanswered(previous["pairs"]):
            return previous
        pairs = PAIRS.read(source)
        dialogues = {d.id: d for d in read_dialogues(contexts)}
        ended, prior = self._read(
            encoder, pairs, dialogues, _file(self.folder, "encodings", shard), mark["corpus"]
        )
        write_text(_file(self.folder, "prior", shard, "json"), prior.to_json())
        result = {
            **mark,
            "pairs": dict(ended),
            "not_believed": dict(encoder.rejected),
            **encoder.accounts(),
        }
        write_text(marker, json.dumps(result, ensure_ascii=False) + "\n")
        return result

    def _read(
        self,
        encoder: Encoder,
        pairs: Sequence[Pair],
        dialogues: Mapping[str, Dialogue],
        target: Path,
        corpus: str,
    ) -> tuple[Counter[str], Prior]:
        """Writes the encodings of a shard; how they ended, and the counts of its training side."""
        train = {pair.pair_id for pair in pairs if pair.split == "train"}
        ended = write_encodings(target, encoder.encode(pairs, dialogues), self.space)
        personas = (
            e.persona for e in read_encodings(target) if e.status == "ok" and e.pair_id in train
        )
        return ended, count(personas, self.space, encoder=encoder.id, corpus=corpus)


def encode_on_ray(
    reader: ShardReader, shards: int, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Read all shards on the Ray cluster of RAY_ADDRESS, or on this machine's cores; return counts
    over all of them.

    A worker that dies is replaced, and its shard is read again. A user's mistake in a worker is
    raised here.

    Raises:
        ModelError: ray is not installed.
        EndpointError: as the encoder does.
    """
    results: list[dict[str, Any]] = []
    with on_cluster() as ray:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = ray.data.from_items(
            [{"shard": shard} for shard in range(shards)], override_num_blocks=shards
        )
        for row in rows.map(reader).iter_rows():
            if row["error"]:
                raise EndpointError(row["error"])
            results.append(json.loads(row["found"]))
            if progress:
                progress(len(results), shards)
    return _together(results)


def _together(accounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of several shards added up; what they share is kept."""
    result: dict[str, Any] = {"encoder": accounts[0]["encoder"]}
    for name in ("pairs", "not_believed", "attempts"):
        if name in accounts[0]:
            result[name] = dict(reduce(add, (Counter(account[name]) for account in accounts)))
    for name in ("prompt_tokens", "completion_tokens", "cost"):
        if name in accounts[0]:
            amounts = [account[name] for account in accounts]
            result[name] = None if None in amounts else sum(amounts)
    return result


def unanswered(pairs: Mapping[str, int]) -> int:
    """Return how many of some pairs, counted by how they ended, got no answer."""
    return sum(n for ended, n in pairs.items() if ended.startswith("error"))


def merged(folder: Path, pairs: Sequence[Pair], shards: int) -> Iterator[Encoding]:
    """Yield the encodings of all shards in the order of the pairs."""
    rows = {
        shard: iter(read_encodings(_file(folder, "encodings", shard))) for shard in range(shards)
    }
    for pair in pairs:
        encoding = next(rows[shard_of(pair.dialogue, shards)], None)
        if encoding is None or encoding.pair_id != pair.pair_id:
            raise DataError(
                "the shards are of other pairs",
                where=str(folder),
                fix="remove the folder, run again",
            )
        yield encoding


def prior_of(folder: Path, shards: int) -> Prior:
    """Return the prior over all shards: the sum of their counts."""
    priors = (
        Prior.from_json(
            (path := _file(folder, "prior", shard, "json")).read_text("utf-8"), where=str(path)
        )
        for shard in range(shards)
    )
    return reduce(add, priors)
