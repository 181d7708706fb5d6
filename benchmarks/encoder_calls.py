"""How fast the language-model encoder calls, and what it keeps in memory, against an endpoint that
answers at once.

    pip install openai
    python benchmarks/encoder_calls.py \
        --pairs 10000               calls/s beside bare aiohttp
    python benchmarks/encoder_calls.py --pairs 4000 \
        --latency 0.02    of an endpoint that takes so many seconds
    python benchmarks/encoder_calls.py --pairs 200000 \
        --memory        growth of memory over the pairs

The endpoint is a process of its own that reads a request and sends a fixed answer. The bare client
sends the same bodies, made beforehand, over as many connections and parses the answers; `openai` is
the official client, its retries off, on a tenth of the calls. Ours builds the questions and keeps
the ledger; `pairs_per_s_written` counts validation and encodings.parquet too. The last line is
ratio_vs_bare, of medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import psutil

from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.core.random import index_below
from vvae.corpus.pairs import PairsConfig, pairs_with_account
from vvae.encoders.llm.encoder import LLMConfig, LLMEncoder
from vvae.latent.space import load_space
from vvae.latent.tables import write_encodings

TEXTS = (
    "what did you eat today",
    "i like hiking a lot",
    "oh my gosh, no way",
    "fair enough",
    "see you later 😂",
    "hm",
)
ANSWER = dict.fromkeys(load_space().names) | {"tone": "playful", "topic": "food"}


class Endpoint(asyncio.Protocol):
    """Reads requests by Content-Length and answers each with the same bytes."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        message = {"role": "assistant", "content": json.dumps(ANSWER)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = json.dumps(
            {"choices": [choice], "usage": {"prompt_tokens": 700, "completion_tokens": 60}}
        ).encode()
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
            f"{len(body)}\r\n\r\n"
        )
        self._answer, self._held = head.encode() + body, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A piece of a request came."""
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end].lower()
            start = head.index(b"content-length:") + 15
            whole = end + 4 + int(head[start:].split(b"\r\n", 1)[0])
            if len(self._held) < whole:
                return
            self._held = self._held[whole:]
            write = self._transport.write  # type: ignore[attr-defined]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, write, self._answer)
            else:
                write(self._answer)


async def serve(latency: float) -> None:
    """Serves for ever; says the port."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Endpoint(latency), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def conversations(pairs: int) -> tuple[dict[str, Dialogue], list[Pair]]:
    """Dialogues of 21 turns, 20 pairs each, all texts different."""

    def text(n: int, i: int) -> str:
        return (
            f"{TEXTS[index_below(len(TEXTS), n, i)]}, {TEXTS[index_below(len(TEXTS), i, n)]} "
            f"{n}.{i}"
        )

    dialogues = [
        Dialogue(f"d{n}", tuple(Turn(i, "ab"[i % 2], (Message(text(n, i)),)) for i in range(21)))
        for n in range(-(-pairs // 20))
    ]
    found, _ = pairs_with_account(
        dialogues, PairsConfig(window_tokens=10**6, max_train_replies=10**9), seed=0
    )
    return {d.id: d for d in dialogues}, found[:pairs]


async def bare(url: str, bodies: Sequence[bytes], concurrency: int) -> float:
    """Seconds a bare client takes for the same calls."""
    import aiohttp

    left = iter(bodies)

    async def work(session: aiohttp.ClientSession) -> None:
        for body in left:
            async with session.post(f"{url}/chat/completions", data=body, headers=head) as response:
                json.loads(await response.read())["choices"][0]["message"]["content"]

    head = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        started = time.perf_counter()
        await asyncio.gather(*(work(session) for _ in range(concurrency)))
        return time.perf_counter() - started


async def official(url: str, bodies: Sequence[bytes], concurrency: int) -> float:
    """Seconds the openai client takes for the same calls."""
    import openai

    left = iter(bodies)

    async def work(client: openai.AsyncOpenAI) -> None:
        for body in left:
            (await client.chat.completions.create(**json.loads(body))).choices[0].message.content  # noqa: B018

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        started = time.perf_counter()
        await asyncio.gather(*(work(client) for _ in range(concurrency)))
        return time.perf_counter() - started


def encoder_at(url: str, folder: Path, pairs: Sequence[Pair], concurrency: int) -> LLMEncoder:
    """A fitted encoder with a ledger of its own."""
    config = LLMConfig.model_validate(
        {"kind": "llm", "base_url": url, "model": "stub", "concurrency": concurrency}
    )
    ledger = folder / "ledger.sqlite"
    return LLMEncoder.fit(pairs[:2000], load_space(), config, ledger=ledger).probe()


def speed(url: str, pairs: int, concurrency: int) -> dict[str, float]:
    """One round: bare, then ours."""
    dialogues, asked = conversations(pairs)
    with tempfile.TemporaryDirectory() as scratch:
        encoder = encoder_at(url, Path(scratch), asked, concurrency)
        bodies = [data for _, data in encoder._calls(asked, dialogues)]
        alone = asyncio.run(bare(url, bodies, concurrency))
        tenth = bodies[:: 10 if len(bodies) > 1000 else 1]
        theirs = asyncio.run(official(url, tenth, concurrency)) * len(bodies) / len(tenth)
        del bodies
        started = time.perf_counter()
        encodings = encoder.encode(asked, dialogues)
        called = time.perf_counter() - started
        write_encodings(Path(scratch) / "encodings.parquet", encodings, encoder.space)
        whole = time.perf_counter() - started
    return {
        "bare_calls_per_s": round(pairs / alone),
        "openai_calls_per_s": round(pairs / theirs),
        "calls_per_s": round(pairs / called),
        "pairs_per_s_written": round(pairs / whole),
        "ratio": round(alone / called, 3),
    }


def memory(url: str, pairs: int, concurrency: int) -> dict[str, float]:
    """Growth of the resident set from the first twentieth of the calls to the written table,
    in MB.
    """
    dialogues, asked = conversations(pairs)
    process = psutil.Process()
    seen: list[tuple[int, float]] = []

    def tick(done: int, total: int) -> None:
        if done % (total // 20) == 0:
            seen.append((done, process.memory_info().rss / 2**20))

    with tempfile.TemporaryDirectory() as scratch:
        encoder = encoder_at(url, Path(scratch), asked, concurrency)
        before = process.memory_info().rss / 2**20
        encodings = encoder.encode(asked, dialogues, progress=tick)
        called = process.memory_info().rss / 2**20
        write_encodings(Path(scratch) / "encodings.parquet", encodings, encoder.space)
        written = process.memory_info().rss / 2**20
        size = (Path(scratch) / "ledger.sqlite").stat().st_size / 2**20
    return {
        "pairs": len(asked),
        "before_mb": round(before),
        "first_twentieth_mb": round(seen[0][1]),
        "all_called_mb": round(called),
        "written_mb": round(written),
        "growth_mb": round(max(called, written) - seen[0][1], 1),
        "ledger_mb": round(size),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument(
        "--latency", type=float, default=0.0, help="seconds the endpoint takes for an answer"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.latency))
        return
    command = [sys.executable, __file__, "--serve", "--latency", str(arguments.latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        try:
            rounds: list[Mapping[str, float]] = []
            for _ in range(1 if arguments.memory else arguments.rounds):
                work = memory if arguments.memory else speed
                rounds.append(work(url, arguments.pairs, arguments.concurrency))
                print(json.dumps(rounds[-1]), flush=True)
            if not arguments.memory:
                print(f"ratio_vs_bare {median(r['ratio'] for r in rounds):.2f}")
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
