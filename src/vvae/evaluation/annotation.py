"""Human replies and human readings of them: the road to a corpus like HumanChatData, without the
web.

An annotator first reads some replies that everybody reads (what agreement is measured on), then
writes replies to given contexts as himself. Each reply's persona is filled in by the encoder and
confirmed or corrected. There is one file per annotator, written whole after every change, so a
stopped session goes on where it was.
"""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import regex
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vvae.core.dialogue import BURST, Pair, context
from vvae.core.errors import ConfigError, DataError
from vvae.core.files import write_text
from vvae.core.random import shuffled
from vvae.latent.persona import Persona, Slot
from vvae.latent.space import LatentSpace
from vvae.metrics.audit.scores import agreement
from vvae.pipeline.run import Run

__all__ = ["Collection", "Entry", "Work", "annotator_agreement", "export", "read_works"]

LONGEST_REPLY = 4000
CONTEXT_TURNS = 12
ANNOTATOR = regex.compile(r"[\w-]{1,40}")
Values = dict[str, str | None]


class Entry(BaseModel):
    """A task as one annotator did it."""

    model_config = ConfigDict(extra="forbid")

    reply: str = Field("", max_length=LONGEST_REPLY)
    """What the annotator wrote; empty where a reply was only read."""
    prefilled: Values | None = None
    """What the encoder read, once it was asked."""
    values: Values | None = None
    """What the annotator says."""
    done: bool = False


class Work(BaseModel):
    """A file of one annotator: everything done so far."""

    model_config = ConfigDict(extra="forbid")

    annotator: str
    about: dict[str, str] = Field(default_factory=dict)
    """Optional: age, gender, whatever was asked."""
    entries: dict[str, Entry] = Field(default_factory=dict)


class Collection:
    """The tasks of a run's contexts and a folder of annotators' files.

    Args:
        shared: human replies that every annotator reads.
        contexts: to which each annotator writes a reply.

    Raises:
        DataError: the run has too few held-out replies.
    """

    def __init__(self, run: Run, folder: Path, *, shared: int, contexts: int) -> None:
        self.run, self.folder, self.space = run, folder, run.space
        held = [pair for pair in run.valid_pairs if pair.split == "heldout"]
        chosen = shuffled(held, "collect", run.config.seed, name=[p.pair_id for p in held])[
            : shared + contexts
        ]
        if len(chosen) < shared + contexts:
            fix = "ask for fewer with --shared and --contexts"
            raise DataError(
                f"{len(chosen)} held-out replies, {shared + contexts} are asked for", fix=fix
            )
        self.tasks: dict[str, Literal["read", "write"]] = {
            pair.pair_id: "read" if i < shared else "write" for i, pair in enumerate(chosen)
        }
        self._pairs = {pair.pair_id: pair for pair in chosen}
        self._lock = threading.Lock()
        self._encoder = run.encoder
        folder.mkdir(0o700, parents=True, exist_ok=True)  # ages, genders and what people wrote

    def work(self, annotator: str) -> Work:
        """Return what an annotator has done so far.

        Raises:
            ConfigError: this is no id.
        """
        path = self._path(annotator)
        return _read(path) if path.is_file() else Work(annotator=annotator)

    def _path(self, annotator: str) -> Path:
        if not ANNOTATOR.fullmatch(annotator):
            raise ConfigError(
                "no annotator id",
                where=repr(annotator)[:60],
                fix="letters, digits, - and _, at most 40",
            )
        return self.folder / f"{annotator}.json"

    def about(self, annotator: str, about: Mapping[str, str]) -> None:
        """Write down what an annotator says of himself."""
        with self._lock:
            work = self.work(annotator)
            work.about = {name[:40]: value[:80] for name, value in about.items() if value.strip()}
            self._save(work)

    def keep(
        self, annotator: str, task: str, reply: str, values: Values | None, *, done: bool
    ) -> Entry:
        """Write down a draft or a finished entry, and return it.

        Raises:
            ConfigError: the task, a dimension or a label is unknown, or a finished entry lacks
                reply or values.
        """
        kind = self.tasks.get(task)
        if kind is None:
            raise ConfigError("unknown task", where=repr(task)[:60])
        checked = (
            None
            if values is None
            else {name: (values.get(name) or "").strip() or None for name in self.space.names}
        )
        for name, value in (values or {}).items():
            if value and value.strip():
                self.space.check(name, value.strip())
        with self._lock:
            work = self.work(annotator)
            entry = work.entries.get(task, Entry())
            text = reply[:LONGEST_REPLY].strip() if kind == "write" else ""
            if text != entry.reply and checked is None:
                entry.values = entry.prefilled = None  # they were those of another reply
            entry.reply = text
            entry.values = checked if checked is not None else entry.values
            entry.done = done
            if done and (entry.values is None or (kind == "write" and not entry.reply)):
                raise ConfigError(
                    "not finished",
                    where=repr(task)[:60],
                    fix="write a reply and confirm its values",
                )
            work.entries[task] = entry
            self._save(work)
        return entry

    def fill_in(self, annotator: str, task: str, reply: str) -> Values:
        """Return what the encoder reads in the annotator's reply, or in the one to be read; it is
        kept with the entry.
        """
        kind = self.tasks.get(task)
        if kind is None:
            raise ConfigError("unknown task", where=repr(task)[:60])
        pair = self._pairs[task]
        text = pair.response if kind == "read" else reply[:LONGEST_REPLY].strip()
        target = replace(pair, response=text, speaker=pair.speaker if kind == "read" else annotator)
        with self._lock:
            persona = next(iter(self._encoder.encode([target], self.run.dialogues))).persona
            values = {name: persona.value(name) for name in self.space.names}
            work = self.work(annotator)
            entry = work.entries.setdefault(task, Entry())
            entry.prefilled = values
            self._save(work)
        return values

    def task_view(self, task: str) -> dict[str, Any]:
        """Return a task as the page shows it: kind, context as (own side, text), the reply to be
        read or None.
        """
        pair, kind = self._pairs[task], self.tasks[task]
        turns = context(self.run.dialogues[pair.dialogue], pair)[-CONTEXT_TURNS:]
        lines = [[turn.speaker == pair.speaker, turn.text] for turn in turns]
        return {
            "task": task,
            "kind": kind,
            "context": lines,
            "reply": pair.response if kind == "read" else None,
        }

    def _save(self, work: Work) -> None:
        write_text(self._path(work.annotator), work.model_dump_json(indent=1) + "\n")

    def pair(self, task: str) -> Pair:
        """Return the pair that a task was made from."""
        return self._pairs[task]


def _read(path: Path) -> Work:
    try:
        return Work.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValidationError):
        raise DataError("no annotator's file", where=str(path), fix="move it away") from None


def read_works(folder: Path) -> list[Work]:
    """Return the contents of all annotators' files, by file name.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    works = [_read(path) for path in sorted(folder.glob("*.json"))]
    if not works:
        raise DataError(
            "no annotators' files here",
            where=str(folder),
            fix="collect some with 'vvae collect RUN'",
        )
    return works


# --- what becomes of it ---------------------------------------------------------------------------


def annotator_agreement(works: list[Work], space: LatentSpace, *, seed: int = 0) -> dict[str, Any]:
    """Return how far every two annotators agree on replies that both read, by dimension: mean
    Cohen's kappa over the couples.

    Also how often annotators kept what the encoder had filled in, which pulls them together:
    agreement on values that were filled in says less than agreement on values that were not.

    Raises:
        DataError: no two annotators read the same reply.
    """
    personas = {work.annotator: _personas(work) for work in works}
    couples = [
        (a, b) for a, b in combinations(personas, 2) if len(set(personas[a]) & set(personas[b])) > 1
    ]
    if not couples:
        fix = "let two annotators finish the shared replies"
        raise DataError("no two annotators read the same replies", fix=fix)
    dimensions: dict[str, Any] = {}
    scored = []
    for a, b in couples:
        shared = set(personas[a]) & set(personas[b])
        dialogue_of = {task: task.rpartition("#")[0] for task in shared}
        scored.append(agreement(personas[a], personas[b], space, dialogue_of, seed=seed))
    for name in space.names:
        kappas = [k for row in scored if (k := row[name]["kappa"]["value"]) is not None and k == k]
        shares = [share for row in scored if (share := row[name]["agreement"]) is not None]
        filled = [
            entry.prefilled.get(name) == entry.values.get(name)
            for work in works
            for entry in work.entries.values()
            if entry.done and entry.prefilled and entry.values
        ]
        dimensions[name] = {
            "kappa": round(fmean(kappas), 4) if kappas else None,
            "agreement": round(fmean(shares), 4) if shares else None,
            "couples": len(couples),
            "kept": round(fmean(filled), 4) if filled else None,
        }
    return {"annotators": list(personas), "dimensions": dimensions}


def _personas(work: Work) -> dict[str, Persona]:
    """Task -> the values an annotator gave, of the replies that were only read."""
    return {
        task: Persona({name: Slot(value, "given") for name, value in entry.values.items() if value})
        for task, entry in work.entries.items()
        if entry.done and entry.values is not None and not entry.reply
    }


def export(collection: Collection, target: Path) -> dict[str, int]:
    """Write what is finished in the project's formats.

    - dialogues.jsonl: each context with the annotator's reply, for `data.path`
    - labels.csv and labels.yaml: what annotators say of replies, for `vvae audit labels`
    - annotators.csv: what they say of themselves, for `vvae analyze --groups`

    Returns:
        How many replies were written, how many labelled.
    """
    works = read_works(collection.folder)
    dialogues, labels = [], []
    for work in works:
        for task, entry in work.entries.items():
            if not entry.done or task not in collection.tasks or entry.values is None:
                continue
            pair = collection.pair(task)
            turns = list(_turns(collection, pair, work.annotator, entry))
            name = f"{task}@{work.annotator}"
            if entry.reply:
                lines = [
                    (who, line) for who, text in turns for line in text.split(BURST) if line.strip()
                ]
                messages = [{"role": "user", "name": who, "content": line} for who, line in lines]
                dialogues.append(json.dumps({"id": name, "messages": messages}, ensure_ascii=False))
            rows = [{"dialogue": name, "speaker": who, "text": text} for who, text in turns]
            for row in rows:
                row |= dict.fromkeys(collection.space.names, "-")  # not labelled
            rows[-1] |= {dimension: value or "null" for dimension, value in entry.values.items()}
            labels += rows
    target.mkdir(0o700, parents=True, exist_ok=True)
    write_text(target / "dialogues.jsonl", "".join(line + "\n" for line in dialogues))
    write_text(
        target / "labels.csv",
        _csv(labels, ["dialogue", "speaker", "text", *collection.space.names]),
    )
    values = {
        name: {
            "null": None,
            **{v: v for v in sorted({row[name] for row in labels} - {"-", "null"})},
        }
        for name in collection.space.names
    }
    mapping = {"path": "labels.csv", "dialogue": "dialogue", "speaker": "speaker", "text": "text"}
    dimensions = {name: {"column": name, "values": of} for name, of in values.items()}
    write_text(
        target / "labels.yaml",
        yaml.safe_dump({**mapping, "dimensions": dimensions}, allow_unicode=True, sort_keys=False),
    )
    questions = sorted({name for work in works for name in work.about})
    people = [{"speaker": work.annotator, **work.about} for work in works]
    write_text(target / "annotators.csv", _csv(people, ["speaker", *questions]))
    return {
        "replies": len(dialogues),
        "labelled": sum(row[collection.space.names[0]] != "-" for row in labels),
    }


def _turns(
    collection: Collection, pair: Pair, annotator: str, entry: Entry
) -> Iterator[tuple[str, str]]:
    """Who says what, the reply last; who writes takes the place of the one who replied."""
    own = annotator if entry.reply else pair.speaker
    for turn in context(collection.run.dialogues[pair.dialogue], pair):
        yield own if turn.speaker == pair.speaker else turn.speaker, turn.text
    yield own, entry.reply or pair.response


def _csv(rows: list[dict[str, str]], columns: list[str]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
