"""Rates asked for against rates delivered, and what it costs: a trained variant writes replies with
a rate asked of one dimension, by training alone (its measured reach, strengths included) and with
candidates that are read.

python -m benchmarks.knobs RUN --replies 600 --candidates 1 16
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vvae.core.dialogue import Pair
from vvae.decoder.variants import DEFAULT_VARIANT
from vvae.encoders.in_the_loop import Accepted, Judge, Task, write_accepted
from vvae.latent.readers import reader
from vvae.latent.steering import Knob, Reach, Steered, Steering, steer
from vvae.pipeline.calibration import reaches
from vvae.pipeline.run import Run

ASKED: Mapping[str, str | None] = {
    "catchphrase": None,
    "emoji": None,
    "length": "a word or two",
    "ending": "exclamation mark",
}
"""Dimension -> the value that is set; None: the speaker's own habit."""
RATES = (0.05, 0.15, 0.40)
EACH = 4
"""Replies to each context, with draws of their own."""


def steering_of(
    name: str, value: str | None, rate: float, candidates: int, strength: float | None = None
) -> Steering:
    """What is asked of one dimension."""
    knobs = {} if value is None else {name: Knob("fixed", value)}
    strengths = {} if strength is None else {name: strength}
    return Steering(knobs=knobs, rates={name: rate}, strengths=strengths, candidates=candidates)


def asked(
    run: Run, pairs: list[Pair], steering: Steering, reach: Mapping[str, Reach]
) -> list[Steered]:
    """The z of each reply, with its demand."""
    return [
        steer(
            steering,
            run.space,
            run.prior,
            run.profiles[pair.speaker],
            conversation=pair.dialogue,
            turn=number,
            seed=run.config.seed,
            reach=reach.__getitem__,
        )
        for number, pair in enumerate(pairs)
    ]


def written(
    run: Run, pairs: list[Pair], cells: Sequence[list[Steered]], candidates: int
) -> tuple[list[list[Accepted]], float]:
    """The replies of each cell, and the seconds that all took. A reply that several cells ask for
    in the same words, with the same demand, is written once: draws are keyed, so it is the same.
    """
    variant = run.trained_variant(DEFAULT_VARIANT)
    conditions, decoder = run.conditions(variant), run.with_adapter(variant)

    def task(number: int, steered: Steered) -> Task:
        pair = pairs[number]
        request = decoder.prompter.request(
            run.dialogues[pair.dialogue],
            pair,
            conditions.line(pair, pair.speaker, steered.persona),
            key=f"{pair.pair_id}|{number}",
            set_off=steered.set_off(lambda persona: conditions.line(pair, pair.speaker, persona)),
        )
        return Task(request, pair, steered.demands)

    tasks = [[task(number, steered) for number, steered in enumerate(z)] for z in cells]
    single = {_asked_for(one): one for of_cell in tasks for one in of_cell}
    started = time.perf_counter()
    accepted = write_accepted(
        decoder.engine,
        list(single.values()),
        Judge(lambda: run.encoder, run.space),
        run.dialogues,
        run.generation,
        candidates=candidates,
        seed=run.config.seed,
    )
    seconds = time.perf_counter() - started
    found = dict(zip(single, accepted, strict=True))
    return [[found[_asked_for(one)] for one in of_cell] for of_cell in tasks], seconds


def _asked_for(task: Task) -> Hashable:
    """What tells a reply that is asked for from every other."""
    return task.request, tuple(task.demands.items())


def delivered(
    run: Run,
    pairs: list[Pair],
    name: str,
    value: str | None,
    z: list[Steered],
    found: list[Accepted],
) -> dict[str, Any]:
    """How often the value stands in the replies."""
    shows = reader(run.space.by_name[name].reader).shows
    values = [value or str(run.profiles[pair.speaker].persona().value(name)) for pair in pairs]
    hits = [shows(v, one.completion.text) for v, one in zip(values, found, strict=True)]
    rate, n = sum(hits) / len(hits), len(hits)
    pushed = [max(one.strengths.values(), default=0.0) for one in z]
    return {
        "delivered": round(rate, 4),
        "error": round(math.sqrt(rate * (1 - rate) / n), 4),
        "n": n,
        "met": round(sum(len(a.met) for a in found) / n, 4),
        "written": round(sum(a.written for a in found) / n, 3),
        "strength": round(max(pushed), 3),
    }


def seconds_of_one(run: Run, pairs: list[Pair], candidates: int, number: int = 12) -> float:
    """The seconds that one reply takes by itself, its demand never met: all candidates are
    written. The median.
    """
    steering = steering_of("emoji", "🦩", 1.0, max(2, candidates))
    times: list[float] = []
    for pair in pairs[:number]:
        z = asked(run, [pair], steering, {})
        times.append(written(run, [pair], [z], candidates)[1])
    return sorted(times)[len(times) // 2]


def main() -> None:
    """Prints one line of JSON for each cell; ``seconds`` is of all rates of a dimension."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--replies", type=int, default=600)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--dimension", nargs="+", choices=list(ASKED), default=list(ASKED))
    parser.add_argument("--rate", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--strength", type=float, help="by default as the rate needs, if at all")
    parser.add_argument("--cost", action="store_true", help="only how long one reply takes")
    args = parser.parse_args()
    run = Run.open(args.run)
    if args.cost:
        pairs = run.benchmarked(12)
        for candidates in (1, 4, 16, 1, 4, 16):
            cost = {
                "candidates": candidates,
                "seconds": round(seconds_of_one(run, pairs, candidates), 3),
            }
            print(json.dumps(cost), flush=True)
        return
    reach = reaches(run, run.trained_variant(DEFAULT_VARIANT))
    for name in args.dimension:
        value = ASKED[name]
        able = [
            pair
            for pair in run.benchmarked(4 * args.replies)
            if value or run.profiles[pair.speaker].persona().value(name)
        ]
        able = able[: max(1, args.replies // EACH)]
        pairs = [able[at // EACH % len(able)] for at in range(args.replies)]
        for candidates in args.candidates:
            steerings = [
                steering_of(name, value, rate, candidates, args.strength) for rate in args.rate
            ]
            cells = [asked(run, pairs, steering, reach) for steering in steerings]
            found, seconds = written(run, pairs, cells, candidates)
            for rate, z, replies in zip(args.rate, cells, found, strict=True):
                row = {"dimension": name, "value": value, "candidates": candidates, "asked": rate}
                row |= delivered(run, pairs, name, value, z, replies)
                row |= {"seconds": round(seconds, 1)}
                print(json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
