"""A blind test: people say which of two replies a person wrote; 50 % is what a perfect imitation
would leave them with.

The page holds contexts and pairs of replies in a hidden order, and nothing that says which is
which; that is in key.json, beside it. Judges' answers come back as files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vvae.core.dialogue import context
from vvae.core.errors import ConfigError, DataError, choose_from
from vvae.core.files import write_json, write_text
from vvae.core.random import bits64, shuffled
from vvae.metrics.bootstrap import Hit, bootstrap, interval, rate, tabulate
from vvae.pipeline.run import Run
from vvae.pipeline.stages.measuring import replies_of
from vvae.report.pages import build_turing

__all__ = ["make_page", "score_answers"]

CONTEXT_TURNS = 6
SIDES = ("a", "b")


@dataclass(frozen=True)
class _Item:
    id: str
    variant: str
    pair_id: str
    human: str
    """The side the person's reply stands on."""


def make_page(run: Run, names: Sequence[str], number: int) -> Path:
    """Write `turing/page.html` and `turing/key.json`; return the page's path.

    Args:
        names: variants whose replies are shown; all that wrote some by default.
        number: pairs of replies for each variant.

    Raises:
        ConfigError: a variant has written no replies.
    """
    pairs = {pair.pair_id: pair for pair in run.valid_pairs}
    with_replies = [v for v in run.variants if run.path(f"replies/{v.name}.parquet").is_file()]
    chosen = [v for v in with_replies if not names or v.name in names]
    if not chosen or set(names) - {v.name for v in with_replies}:
        missing = ", ".join(set(names) - {v.name for v in with_replies}) or "any variant"
        fix = "write them with 'vvae run'"
        if with_replies:
            fix = choose_from(missing, (v.name for v in with_replies))
        raise ConfigError(f"no replies of {missing}", where="--variant", fix=fix)
    items: list[_Item] = []
    page_items: dict[str, dict[str, Any]] = {}
    for variant in chosen:
        candidates = [reply for reply in replies_of(run, variant) if reply.text.strip()]
        # Other contexts for each variant, where there are enough: nobody sees the person's reply
        # twice.
        fresh = shuffled(
            candidates,
            "turing",
            run.config.seed,
            variant.name,
            name=[reply.pair.pair_id for reply in candidates],
        )
        used_pairs = {item.pair_id for item in items}
        fresh.sort(key=lambda reply: reply.pair.pair_id in used_pairs)
        for reply in fresh[:number]:
            key = ("turing item", run.config.seed, variant.name, reply.pair.pair_id)
            item = _Item(
                f"{bits64(*key):016x}",
                variant.name,
                reply.pair.pair_id,
                SIDES[bits64("side", *key) & 1],
            )
            items.append(item)
            pair = pairs[item.pair_id]
            turns = context(run.dialogues[pair.dialogue], pair)[-CONTEXT_TURNS:]
            replies = {item.human: pair.response, SIDES[item.human == "a"]: reply.text}
            page_items[item.id] = {
                "id": item.id,
                "context": [[turn.speaker == pair.speaker, turn.text] for turn in turns],
                **{side: replies[side].strip() for side in SIDES},
            }
    order = sorted(page_items)  # ids are hashes: neither variant nor context can be told from them
    write_json(run.path("turing/key.json"), [item.__dict__ for item in items])
    page = run.path("turing/page.html")
    write_text(page, build_turing([page_items[name] for name in order]))
    return page


def score_answers(run: Run, files: Sequence[Path]) -> dict[str, Any]:
    """Return how often judges picked the person, by variant, and how often each judge did; write it
    to `turing/scores.json`.

    Intervals are a bootstrap over the speakers imitated, each kept whole; several judges of an
    item count as several answers to it.

    Raises:
        DataError: there is no key, or a file is no answers file of this page.
    """
    key_path = run.path("turing/key.json")
    if not key_path.is_file():
        raise DataError(
            "no blind test here", where=str(key_path), fix="make one with 'vvae turing RUN'"
        )
    items = {row["id"]: _Item(**row) for row in json.loads(key_path.read_text("utf-8"))}
    pairs = {pair.pair_id: pair for pair in run.valid_pairs}
    hits: dict[str, list[Hit]] = {}
    judges: dict[str, list[bool]] = {}
    answered: dict[
        tuple[str, str], str
    ] = {}  # a judge's later file replaces what an earlier one says
    for path in files:
        judge, answers = _read(path, items)
        answered |= {(judge, name): side for name, side in answers.items()}
    for (judge, name), side in answered.items():
        item = items[name]
        pair = pairs[item.pair_id]
        right = side == item.human
        hits.setdefault(item.variant, []).append(Hit(pair.speaker, pair.dialogue, right))
        judges.setdefault(judge, []).append(right)
    tables = {variant: tabulate(of_variant) for variant, of_variant in hits.items()}
    samples = bootstrap(tables, resamples=run.config.bench.resamples, seed=run.config.seed)
    scores: dict[str, Any] = {"variants": {}, "judges": {}}
    for variant, counts in tables.items():
        low, high = interval(samples[variant])
        row = {
            "picked_the_person": round(rate(counts), 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }
        scores["variants"][variant] = {**row, "answers": len(hits[variant])}
    for judge, verdicts in judges.items():
        share = sum(verdicts) / len(verdicts)
        scores["judges"][judge] = {"picked_the_person": round(share, 4), "answers": len(verdicts)}
    write_json(run.path("turing/scores.json"), scores)
    return scores


def _read(path: Path, items: dict[str, _Item]) -> tuple[str, dict[str, str]]:
    """The judge's name and the answers: item -> side."""
    fix = "give the file that the page of this run saved"
    try:
        data = json.loads(path.read_text("utf-8"))
        judge, answers = str(data["judge"]), dict(data["answers"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError("no answers file", where=str(path), fix=fix) from None
    if unknown := [name for name in answers if name not in items]:
        raise DataError(
            f"{len(unknown)} answers to items of another page", where=str(path), fix=fix
        )
    if wrong := [side for side in answers.values() if side not in SIDES]:
        raise DataError(
            f"an answer is neither a nor b: {str(wrong[0])[:20]!r}", where=str(path), fix=fix
        )
    return judge or path.stem, answers
