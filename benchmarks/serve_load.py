"""A served run under load: more clients than it takes, connections that never finish their request,
an hour of talk.

python -m benchmarks.serve_load RUN crowd --clients 200 --queue 64
python -m benchmarks.serve_load RUN loris --connections 500 --seconds 60
python -m benchmarks.serve_load RUN soak --seconds 1200
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
import psutil
from tests.support.served import Served, serving

WORDS = (
    "hi",
    "how",
    "was",
    "your day",
    "the film",
    "music",
    "school",
    "dinner",
    "tomorrow",
    "really",
    "lol",
    "okay",
)


def body(model: str, number: int, tokens: int) -> dict[str, Any]:
    """A request of a conversation of its own."""
    rng = random.Random(number)
    turns = [
        " ".join(rng.choices(WORDS, k=rng.randint(2, 12))) for _ in range(2 * rng.randint(0, 4) + 1)
    ]
    messages = [
        {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)
    ]
    persona = {"hobby": f"hobby {number}", "topic": rng.choice(["auto", "sample"])}
    return {
        "model": model,
        "messages": messages,
        "persona": persona,
        "max_tokens": tokens,
        "stream": number % 2 == 0,
    }


async def ask(
    session: aiohttp.ClientSession, served: Served, number: int, tokens: int
) -> tuple[int, float]:
    """Status and seconds of a request."""
    started = time.monotonic()
    url, asked = f"{served.url}/v1/chat/completions", body(served.model, number, tokens)
    async with session.post(url, json=asked) as answer:
        await answer.read()
        return answer.status, time.monotonic() - started


async def crowd(served: Served, clients: int, tokens: int) -> dict[str, Any]:
    """All at once."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        found = await asyncio.gather(
            *(ask(session, served, number, tokens) for number in range(clients))
        )
    rejected = sorted(seconds for status, seconds in found if status == 429)
    done = [seconds for status, seconds in found if status == 200]
    return {
        "clients": clients,
        "completed": len(done),
        "rejected": len(rejected),
        "other": sorted({status for status, _ in found} - {200, 429}),
        "rejected_p50_ms": round(1000 * statistics.median(rejected), 1) if rejected else None,
        "rejected_p99_ms": round(1000 * rejected[int(0.99 * (len(rejected) - 1))], 1)
        if rejected
        else None,
        "completed_slowest_s": round(max(done), 1) if done else None,
    }


async def loris(served: Served, connections: int, seconds: float) -> dict[str, Any]:
    """Connections that send a header's byte a second; meanwhile somebody asks for replies."""

    async def slow() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
                while time.monotonic() < end:
                    writer.write(b"a")
                    await writer.drain()
                    await asyncio.sleep(1)
                writer.close()
            except OSError:
                await asyncio.sleep(0.5)

    attack = [asyncio.create_task(slow()) for _ in range(connections)]
    await asyncio.sleep(2)
    statuses, waits = list[int](), list[float]()
    most = 0
    async with aiohttp.ClientSession() as session:
        end = time.monotonic() + seconds - 4
        while time.monotonic() < end:
            most = max(most, len(psutil.Process(served.process.pid).net_connections()))
            status, took = await ask(session, served, len(waits), 8)
            statuses.append(status)
            waits.append(took)
            await asyncio.sleep(0.5)
    await asyncio.gather(*attack)
    return {
        "connections": connections,
        "seconds": seconds,
        "open_at_most": most,
        "asked": len(waits),
        "answered": statuses.count(200),
        "median_s": round(statistics.median(waits), 3),
        "slowest_s": round(max(waits), 3),
    }


async def soak(served: Served, seconds: float, clients: int, tokens: int) -> dict[str, Any]:
    """Talk without end, some of it broken off; memory of server, engine and reader every ten
    seconds.
    """
    end = time.monotonic() + seconds
    numbers = iter(range(1 << 30))
    asked: dict[int, int] = {}
    memory: list[list[float]] = []

    async def client(session: aiohttp.ClientSession) -> None:
        while time.monotonic() < end:
            number = next(numbers)
            try:
                limit = 0.3 if number % 7 == 0 else 120
                status, _ = await asyncio.wait_for(ask(session, served, number, tokens), limit)
            except TimeoutError:
                status = 0
            asked[status] = asked.get(status, 0) + 1

    async def watch() -> None:
        await asyncio.sleep(10)  # until somebody has asked for auto
        processes = psutil.Process(served.process.pid), served.engine, served.reader
        while time.monotonic() < end:
            await asyncio.sleep(10)
            rss = [process.memory_info().rss for process in processes]
            memory.append([end - time.monotonic(), *rss])

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(watch(), *(client(session) for _ in range(clients)))
    warm = [row for row in memory if seconds - row[0] > 0.15 * seconds]
    fifth = max(1, len(warm) // 5)
    growth = {
        name: round(
            100
            * (
                statistics.mean(r[i] for r in warm[-fifth:])
                / statistics.mean(r[i] for r in warm[:fifth])
                - 1
            ),
            2,
        )
        for i, name in enumerate(("server_growth_%", "engine_growth_%", "reader_growth_%"), 1)
    }
    last = {
        f"{name}_mb": round(memory[-1][i] / 2**20)
        for i, name in enumerate(("server", "engine", "reader"), 1)
    }
    return {
        "seconds": seconds,
        "asked_by_status": asked,
        **growth,
        **last,
        "outstanding": served.figures["vvae_outstanding"],
        "restarts": served.figures["vvae_engine_restarts"],
    }


def main() -> None:
    """Prints what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("what", choices=["crowd", "loris", "soak"])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--variant", default="SP+FT")
    given = parser.parse_args()
    options = (
        "--slots",
        str(given.slots),
        "--queue",
        str(given.queue),
        "--engine",
        given.engine,
        "--variant",
        given.variant,
    )
    with serving(given.run, *options) as served:
        served.model = given.variant
        if given.what == "crowd":
            found = asyncio.run(crowd(served, given.clients, given.tokens))
        elif given.what == "loris":
            found = asyncio.run(loris(served, given.connections, given.seconds))
        else:
            found = asyncio.run(soak(served, given.seconds, min(given.clients, 8), given.tokens))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
