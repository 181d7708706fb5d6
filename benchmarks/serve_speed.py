"""What serving adds to an engine: the same prompts through `vvae serve` and straight into an engine
of the same kind.

python -m benchmarks.serve_speed RUN --engine llama.cpp

Both are alive, one works at a time, and they take turns. The last line is the median time to the
first text, served less straight, in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from tests.support.served import Served, serving

from benchmarks.serve_load import WORDS
from vvae.config import load_config
from vvae.inference.engine import GenerationConfig
from vvae.inference.tokenizer import Prompter
from vvae.metrics.bootstrap import interval
from vvae.pipeline.run import Run
from vvae.serving.http.streaming import LiveEngine
from vvae.serving.http.worker import build
from vvae.serving.http.worker_settings import WorkerSettings
from vvae.serving.session import reply_request, turn_of

ADAPTER = "SP+FT"


class Both:
    """The two ways to a reply."""

    def __init__(
        self,
        run: Run,
        served: Served,
        prompter: Prompter,
        engine: LiveEngine,
        turns: int,
        tokens: int,
    ) -> None:
        self._run, self._served, self._prompter, self._engine = run, served, prompter, engine
        self._turns, self._tokens = turns, tokens
        self._speaker = run.profile(None).speaker
        self._nothing = dict.fromkeys(run.space.names)

    def texts(self, number: int) -> list[str]:
        """A conversation that nobody has had."""
        rng = random.Random(number)
        return [" ".join(rng.choices(WORDS, k=8)) for _ in range(self._turns)]

    async def straight(self, number: int) -> tuple[float, float, int]:
        """Seconds to the first text, to the end, and tokens."""
        turns = [
            turn_of(i, ("you", self._speaker)[i % 2], text)
            for i, text in enumerate(self.texts(number))
        ]
        window = self._run.config.pairs.window_tokens
        request = reply_request(
            self._prompter, turns, self._speaker, None, window_tokens=window, key=str(number)
        )
        config = GenerationConfig(max_new_tokens=self._tokens)
        started, first, tokens = time.perf_counter(), 0.0, 0
        async for piece in self._engine.stream(request, ADAPTER, config, seed=number):
            if piece.text and not first:
                first = time.perf_counter() - started
            tokens = piece.tokens or tokens
        return first, time.perf_counter() - started, tokens

    async def close(self) -> None:
        """Closes the engine."""
        await self._engine.close()

    async def served(self, session: aiohttp.ClientSession, number: int) -> tuple[float, float, int]:
        """The same, over HTTP."""
        roles = ("user", "assistant")
        messages = [
            {"role": roles[i % 2], "content": text} for i, text in enumerate(self.texts(number))
        ]
        body: dict[str, Any] = {
            "model": ADAPTER,
            "messages": messages,
            "persona": self._nothing,
            "stream": True,
        }
        body |= {
            "max_tokens": self._tokens,
            "seed": number,
            "stream_options": {"include_usage": True},
        }
        started, first, tokens = time.perf_counter(), 0.0, 0
        async with session.post(f"{self._served.url}/v1/chat/completions", json=body) as answer:
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                if not first and event["choices"] and event["choices"][0]["delta"].get("content"):
                    first = time.perf_counter() - started
                tokens = event.get("usage", {}).get("completion_tokens", tokens)
        return first, time.perf_counter() - started, tokens


async def compare(both: Both, rounds: int, batches: int, at_once: int) -> dict[str, Any]:
    """First one by one, then several at once; the two ways take turns and go first in turn."""
    firsts: list[tuple[float, float]] = []
    speeds: list[tuple[float, float]] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        ways = (both.straight, lambda number: both.served(session, number))
        for number in range(-3, rounds):
            took = [0.0, 0.0]
            for way in (0, 1) if number % 2 else (1, 0):
                took[way] = (await ways[way](number))[0]
            if number >= 0 and all(took):
                firsts.append((took[0], took[1]))
        for batch in range(batches):
            rate = [0.0, 0.0]
            for way in (0, 1) if batch % 2 else (1, 0):
                started = time.perf_counter()
                numbers = range(10_000 + batch * 100, 10_000 + batch * 100 + 4 * at_once)
                gate = asyncio.Semaphore(at_once)

                async def one(number: int, way: int = way, gate: asyncio.Semaphore = gate) -> int:
                    async with gate:
                        return (await ways[way](number))[2]

                tokens = sum(await asyncio.gather(*(one(number) for number in numbers)))
                rate[way] = tokens / (time.perf_counter() - started)
            speeds.append((rate[0], rate[1]))
    await both.close()
    ratios = [served / straight for straight, served in speeds]
    differences = 1000 * np.asarray([served - straight for straight, served in firsts])
    resamples = np.random.default_rng(0).choice(differences, (2000, len(differences)))
    low, high = interval(np.median(resamples, axis=1))
    return {
        "rounds": len(firsts),
        "straight_first_ms_p50": round(1000 * statistics.median(a for a, _ in firsts), 2),
        "served_first_ms_p50": round(1000 * statistics.median(b for _, b in firsts), 2),
        "batches": len(speeds),
        "straight_tokens_per_s": round(statistics.median(a for a, _ in speeds), 1),
        "served_tokens_per_s": round(statistics.median(b for _, b in speeds), 1),
        "throughput_ratio_p50": round(statistics.median(ratios), 3),
        "throughput_ratios": [round(ratio, 3) for ratio in ratios],
        "overhead_ms_interval": [round(low, 2), round(high, 2)],
        "overhead_ms": round(float(np.median(differences)), 2),
    }


def main() -> None:
    """Prints what was found; `overhead_ms X` last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--engine", default="llama.cpp", choices=["llama.cpp", "transformers"])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--batches", type=int, default=6, help="for the throughput")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--turns", type=int, default=7, help="of a conversation, an odd number")
    parser.add_argument("--tokens", type=int, default=24)
    given = parser.parse_args()
    run = Run(load_config(given.run / "config.yaml").model_copy(update={"run": str(given.run)}))
    settings = WorkerSettings(
        run=str(given.run), adapters=(ADAPTER,), engine=given.engine, slots=given.at_once
    )
    options = ("--engine", given.engine, "--variant", ADAPTER, "--slots", str(given.at_once))
    with serving(given.run, *options) as served:
        prompter, engine, keep = build(run, settings)
        both = Both(run, served, prompter, engine, given.turns, given.tokens)
        found = asyncio.run(compare(both, given.rounds, given.batches, given.at_once))
        del keep
    print(json.dumps({"engine": given.engine} | found))
    print(f"overhead_ms {found['overhead_ms']}")


if __name__ == "__main__":
    main()
