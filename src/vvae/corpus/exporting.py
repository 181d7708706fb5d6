"""Chats out again, as training data for other software.

A record has the talk of one dialogue with one person to be learnt, whose turns are the assistant's;
`weight` (OpenAI, Axolotl) is 1 for the replies that a model is to learn and 0 for what has nothing
before it. Names are those of the chats: pseudonyms, unless they were brought in with real names, in
which case everybody is renamed here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vvae.core.dialogue import Dialogue, Turn
from vvae.core.errors import ConfigError
from vvae.core.files import atomic_path
from vvae.corpus.conversations import SYMBOLS
from vvae.corpus.pairs import PairsConfig, side, windows
from vvae.corpus.privacy.names import Pseudonyms, name_replacer

__all__ = ["ChatFormat", "Exported", "export_chats"]

ChatFormat = Literal["sharegpt", "openai", "jsonl"]


class Exported(NamedTuple):
    """A count of what was written: records, replies to be learnt, and turns left out by reason."""

    records: int
    replies: int
    left_out: Counter[str]


def export_chats(
    dialogues: Collection[Dialogue],
    path: Path,
    form: ChatFormat,
    *,
    learn: Iterable[str] = (),
    rename: bool = False,
    config: PairsConfig | None = None,
    seed: int = 0,
) -> Exported:
    """Write dialogues as training data, a record a line.

    Args:
        dialogues: as `load_dialogues` returns them.
        path: the file to write, whole or not at all.
        form: ``openai`` (`messages` with `weight`), ``sharegpt`` (`conversations`, human and gpt in
            turn) or ``jsonl`` (a pair a line: `prompt` and `completion`, as TRL takes them).
        learn: whose turns are the assistant's; everybody's in turn where empty.
        rename: put pseudonyms in the place of all names, in the texts, too.
        config: which share of the dialogues says ``"split": "heldout"``, as in a run, and how long
            the context of a pair may be; the defaults where there is none.
        seed: of the split.

    Raises:
        ConfigError: nobody who is to be learnt speaks in the dialogues.
    """
    config, chosen = config or PairsConfig(), tuple(learn)
    called = _pseudonyms(dialogues) if rename else {}
    others = {name: new for name, new in called.items() if name not in SYMBOLS}
    in_text = name_replacer(others, SYMBOLS)
    left_out: Counter[str] = Counter()
    records = replies = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for dialogue in dialogues:
            split = side(dialogue.id, config.heldout, seed)
            shown = _renamed(dialogue, called, in_text) if rename else dialogue
            for speaker in chosen or dialogue.speakers:
                if speaker not in dialogue.speakers:
                    continue
                name = called.get(speaker, speaker)
                for row, learnt in _records(shown, name, form, config.window_tokens, left_out):
                    row |= {"speaker": name, "split": split}
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
                    records, replies = records + 1, replies + learnt
        if not records:
            who = ", ".join(map(repr, chosen)) or "anybody"
            raise ConfigError(
                f"no reply of {who} is in these chats",
                where="--learn",
                fix="use a name of the chats ('vvae doctor' lists them)",
            )
    return Exported(records, replies, left_out)


def _records(
    dialogue: Dialogue, speaker: str, form: ChatFormat, budget: int, left_out: Counter[str]
) -> Iterator[tuple[dict[str, Any], int]]:
    """(record, number of replies to be learnt in it)."""
    if form == "jsonl":
        yield from _pairs(dialogue, speaker, budget)
        return
    turns = [turn for turn in dialogue.turns if turn.text]
    first = next((i for i, turn in enumerate(turns) if turn.speaker != speaker), len(turns))
    learnt = sum(turn.speaker == speaker for turn in turns[first:])
    if not learnt:
        left_out["of a dialogue in which they do not reply"] += len(turns)
        return
    if form == "openai":
        messages = [_message(turn, speaker, weight=int(i > first)) for i, turn in enumerate(turns)]
        yield {"id": dialogue.id, "messages": messages}, learnt
        return
    left_out["before anybody else spoke"] += first
    several = len(dialogue.speakers) > 2
    conversations: list[dict[str, str]] = []
    for turn in turns[first:]:
        role = "gpt" if turn.speaker == speaker else "human"
        text = f"{turn.speaker}: {turn.text}" if several and role == "human" else turn.text
        if conversations and conversations[-1]["from"] == role:
            conversations[-1]["value"] += f"\n{text}"
        else:
            conversations.append({"from": role, "value": text})
    yield {"id": dialogue.id, "conversations": conversations}, learnt


def _pairs(dialogue: Dialogue, speaker: str, budget: int) -> Iterator[tuple[dict[str, Any], int]]:
    starts = windows(dialogue, budget)
    for turn in dialogue.turns:
        before = [t for t in dialogue.turns if starts[turn.id] <= t.id < turn.id and t.text]
        if turn.speaker == speaker and turn.text and any(t.speaker != speaker for t in before):
            prompt = [_message(t, speaker) for t in before]
            completion = [_message(turn, speaker)]
            yield {"id": f"{dialogue.id}#{turn.id}", "prompt": prompt, "completion": completion}, 1


def _message(turn: Turn, speaker: str, *, weight: int | None = None) -> dict[str, Any]:
    if turn.speaker != speaker:
        return {"role": "user", "name": turn.speaker, "content": turn.text}
    mask = {} if weight is None else {"weight": weight}
    return {"role": "assistant", "content": turn.text, **mask}


def _pseudonyms(dialogues: Iterable[Dialogue]) -> dict[str, str]:
    people = dict.fromkeys(name for dialogue in dialogues for name in dialogue.speakers)
    pseudonyms = Pseudonyms(taken=people)
    return {name: name if name in SYMBOLS else pseudonyms.of(name) for name in people}


def _renamed(
    dialogue: Dialogue, called: dict[str, str], in_text: Callable[[str], tuple[str, int]]
) -> Dialogue:
    turns = tuple(
        Turn(
            turn.id,
            called[turn.speaker],
            tuple(replace(message, text=in_text(message.text)[0]) for message in turn.messages),
        )
        for turn in dialogue.turns
    )
    return Dialogue(dialogue.id, turns, dialogue.meta)
