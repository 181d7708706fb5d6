"""DialogBench (Ou et al., NAACL 2024 long.341): multiple choice on dialogues, twelve tasks, Chinese
and English.

Its data has no licence file and is read from where the user keeps it: a folder of JSON lines files,
a task each, named as the task; a folder ``zh`` or ``en`` above says the language. A line holds id,
history or messages, query, choices {letter: text} and label, and perhaps ready prompts (prompt_SFT,
prompt_pretrain).

    chat   the model answers greedily; strict: it starts with a letter; lenient: holds one
    base   the option with the lowest mean cross-entropy of its tokens

An answer without a letter is wrong. Options may be asked for in every rotation; then the share of
rotations that are right counts. A score is the plain mean of the tasks' accuracies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import regex

from vvae.core.errors import DataError
from vvae.core.random import shuffled
from vvae.decoder.model import Decoder
from vvae.decoder.trees import Node, Tree
from vvae.inference.endpoint.client import Prompt, completions
from vvae.inference.endpoint.settings import EndpointConfig
from vvae.inference.engine import GenerationConfig, Request
from vvae.inference.template import escape

__all__ = [
    "Answered",
    "Item",
    "Scoring",
    "answer_with",
    "answer_with_endpoint",
    "parse",
    "read_items",
    "rotated",
    "scores",
]

Scoring = Literal["chat", "base"]
LETTERS = "ABCDEFGH"
ANSWER_TOKENS = 128
SYSTEM = "You answer multiple-choice questions about dialogues with a single letter."
ASK = {
    "en": "Which option is right? Answer with its letter only.",
    "zh": "哪个选项是正确的？请只回答选项的字母。",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """A multiple-choice question of DialogBench and what was answered."""

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


@dataclass(frozen=True)
class Item:
    """A question with its options."""

    id: str
    task: str
    language: str
    text: str
    """The dialogue and the question."""
    options: tuple[str, ...]
    right: int
    """The place of the right option."""
    rotation: int = 0
    ready: tuple[str | None, str | None] = (None, None)
    """Prompts that come with the data, for chat and base models; only of an item as it came."""

    @property
    def question(self) -> str:
        """Return what a chat model is asked."""
        listed = " ".join(
            f"{letter}. {text}" for letter, text in zip(LETTERS, self.options, strict=False)
        )
        return self.ready[0] or f"{self.text}\n\n{listed}\n\n{ASK[self.language]}"


def read_items(folder: Path, *, limit: int | None = None, seed: int = 0) -> list[Item]:
    """Return the questions of a folder, tasks in order.

    Args:
        limit: only so many of each task, a keyed choice.

    Raises:
        DataError: there are none, or a line is no question.
    """
    items: list[Item] = []
    for path in sorted(folder.rglob("*.jsonl")):
        language = (
            "zh"
            if "zh" in (part.lower() for part in path.parts) or "_zh" in path.stem.lower()
            else "en"
        )
        own = [_item(line, path, n, language) for n, line in _lines(path)]
        if limit is not None and limit < len(own):
            chosen = set(
                shuffled([item.id for item in own], "dialogbench", seed, path.stem)[:limit]
            )
            own = [item for item in own if item.id in chosen]
        items += own
    if not items:
        fix = "give the folder that holds the tasks' .jsonl files"
        raise DataError("no questions here", where=str(folder), fix=fix)
    return items


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            if line.strip():
                yield number, json.loads(line)
    except (OSError, ValueError) as error:
        raise DataError(f"not JSON lines ({error})", where=str(path)) from None


def _item(data: Any, path: Path, number: int, language: str) -> Item:
    try:
        choices: Mapping[str, str] = data["choices"]
        letters = sorted(choices)
        turns = data.get("messages") or data.get("history") or ""
        dialogue = (
            "\n".join(_turn(turn) for turn in turns) if isinstance(turns, list) else str(turns)
        )
        text = "\n\n".join(
            part for part in (dialogue, str(data.get("query") or "")) if part.strip()
        )
        ready = (data.get("prompt_SFT"), data.get("prompt_pretrain"))
        right = letters.index(str(data["label"]).strip())
        options = tuple(str(choices[letter]) for letter in letters)
        return Item(
            f"{path.stem}:{data.get('id', number)}",
            path.stem,
            language,
            text,
            options,
            right,
            ready=ready,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no question: {type(error).__name__} {error}"
        raise DataError(
            what, where=f"{path}:{number}", fix="a line has choices {letter: text} and label"
        ) from None


def _turn(turn: Any) -> str:
    if isinstance(turn, Mapping):
        who = turn.get("role") or turn.get("speaker") or turn.get("name")
        text = str(turn.get("content") or turn.get("text") or "")
        return f"{who}: {text}" if who else text
    return str(turn)


def rotated(item: Item) -> list[Item]:
    """Return the question with its options in every rotation, so that the right one stands behind
    each letter once.
    """
    n = len(item.options)
    rotations = [item]
    for k in range(1, n):
        options = item.options[-k:] + item.options[:-k]
        rotations.append(
            replace(
                item, options=options, right=(item.right + k) % n, rotation=k, ready=(None, None)
            )
        )
    return rotations


def parse(answer: str, options: int) -> tuple[str | None, str | None]:
    """Return the letter of an answer, read strictly and leniently; None where there is none.

    >>> parse("B. because", 4), parse("The answer is (C)", 4), parse("答案是D", 4)
    (('B', 'B'), (None, 'C'), (None, 'D'))
    >>> parse("A dog", 4), parse("none", 4)
    ((None, 'A'), (None, None))
    """
    letters = LETTERS[:options]
    text = answer.strip()
    strict = regex.match(rf"[(\[（]?([{letters}])(?:[)\].,:：。、）]|\s*$)", text)
    stands = regex.search(
        rf"(?<![\p{{Latin}}\p{{N}}])([{letters}])(?![\p{{Latin}}\p{{N}}'’])", text
    )
    lenient = strict or stands
    return strict[1] if strict else None, lenient[1] if lenient else None


def answer_with(
    decoder: Decoder, items: Sequence[Item], scoring: Scoring, *, progress: Any = None
) -> list[Answered]:
    """Return the decoder's answers, in order."""
    if scoring == "base":
        return [
            _likeliest(decoder, item, progress, n, len(items))
            for n, item in enumerate(items, start=1)
        ]
    frame = decoder.prompter.frame
    requests = [
        Request(
            f"{item.id}|{item.rotation}",
            decoder.prompter.tokens(
                frame.opening
                + SYSTEM
                + frame.system_to_user
                + escape(item.question, frame.control)
                + frame.generation
            ),
        )
        for item in items
    ]
    greedy = GenerationConfig(temperature=0, max_new_tokens=ANSWER_TOKENS)
    replies = decoder.engine.complete(requests, greedy, seed=0, progress=progress)
    return [_answered(item, c.text) for item, c in zip(items, replies, strict=True)]


def answer_with_endpoint(
    endpoint: EndpointConfig, items: Sequence[Item], ledger: Path, *, progress: Any = None
) -> list[Answered]:
    """Return an endpoint's answers, in order; one that did not come is wrong."""
    form = {"temperature": 0.0, "max_tokens": ANSWER_TOKENS}
    prompts = [
        Prompt(
            [{"role": "system", "content": SYSTEM}, {"role": "user", "content": item.question}],
            form,
        )
        for item in items
    ]
    answers, _ = completions(endpoint, prompts, ledger, progress=progress)
    return [
        _answered(item, (a.content or "") if a else "")
        for item, a in zip(items, answers, strict=True)
    ]


def _answered(item: Item, text: str) -> Answered:
    strict, lenient = parse(text, len(item.options))
    return Answered(
        item.id, item.task, item.language, item.rotation, LETTERS[item.right], strict, lenient
    )


def _likeliest(decoder: Decoder, item: Item, progress: Any, number: int, total: int) -> Answered:
    trunk = decoder.prompter.tokens(item.ready[1] or f"{item.text}\n")
    nodes = [Node("", trunk)]
    for place, option in enumerate(item.options):
        tokens = decoder.prompter.tokens(f" {option}")
        nodes.append(Node(str(place), tokens, 0, len(trunk), len(tokens)))
    losses = decoder.losses([Tree(tuple(nodes))])
    means = [losses[str(place)][0] / losses[str(place)][1] for place in range(len(item.options))]
    letter = LETTERS[means.index(min(means))]
    if progress:
        progress(number, total)
    return Answered(
        item.id, item.task, item.language, item.rotation, LETTERS[item.right], letter, letter
    )


def scores(answered: Sequence[Answered]) -> dict[str, Any]:
    """Return by task and over all: accuracy strict and lenient, share without a letter, number of
    questions.

    A question that was asked in several rotations counts by the share of them that are right;
    `always` is the share of questions that are right in all of them.
    """
    tasks: dict[str, dict[str, list[Answered]]] = {}
    for answer in answered:
        tasks.setdefault(answer.task, {}).setdefault(answer.item, []).append(answer)
    result: dict[str, Any] = {"tasks": {}}
    for task, items in tasks.items():
        questions = list(items.values())
        result["tasks"][task] = {
            "strict": _mean(
                [_share([a.strict == a.right for a in rotations]) for rotations in questions]
            ),
            "lenient": _mean(
                [_share([a.lenient == a.right for a in rotations]) for rotations in questions]
            ),
            "always": _mean(
                [float(all(a.lenient == a.right for a in rotations)) for rotations in questions]
            ),
            "no_letter": _mean(
                [_share([a.lenient is None for a in rotations]) for rotations in questions]
            ),
            "questions": len(questions),
        }
    for name in ("strict", "lenient", "always", "no_letter"):
        result[name] = _mean([of[name] for of in result["tasks"].values()])
    result["questions"] = sum(of["questions"] for of in result["tasks"].values())
    return result


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)
