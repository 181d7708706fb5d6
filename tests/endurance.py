"""What the language-model encoder must endure, as functions of how much: tests do a little, a
script does all.

python -m tests.endurance        faults, kills, 8 processes on a ledger for a minute
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.endpoint_server import Scripted, serving
from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.corpus.pairs import PairsConfig, pairs_with_account
from vvae.encoders.llm.encoder import LLMConfig, LLMEncoder
from vvae.inference.endpoint.ledger import Ledger
from vvae.latent.space import load_space

TEXTS = (
    "what did you eat",
    "i like hiking a lot",
    "oh my gosh, no",
    "fair enough",
    "see you 😂",
    "你好呀",
    "hm",
)


def conversations(pairs: int, extra: Sequence[str] = ()) -> list[Dialogue]:
    """Dialogues of eleven turns, ten pairs each, all texts different;
    `extra` are said by the way.
    """
    texts = [*TEXTS, *extra]
    return [
        Dialogue(
            f"d{n}",
            tuple(
                Turn(i, "ab"[i % 2], (Message(f"{texts[(7 * n + i) % len(texts)]} {n}.{i}"),))
                for i in range(11)
            ),
        )
        for n in range(-(-pairs // 10))
    ]


def write_chats(path: Path, pairs: int) -> Path:
    """The conversations as a file that users have."""
    rows = (
        {
            "id": d.id,
            "messages": [{"role": "user", "name": t.speaker, "content": t.text} for t in d.turns],
        }
        for d in conversations(pairs)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def write_config(path: Path, chats: Path, **settings: Any) -> Path:
    """A config in which few dialogues are enough."""
    enough = {"min_train_dialogues": 1, "min_heldout_replies": 1}
    path.write_text(
        json.dumps({"data": {"path": str(chats)}, "pairs": enough, **settings}), "utf-8"
    )
    return path


def encoder_at(
    url: str, folder: Path, dialogues: Sequence[Dialogue], **settings: Any
) -> tuple[LLMEncoder, list[Pair]]:
    """An encoder fitted on the pairs of some dialogues, and the pairs."""
    pairs, _ = pairs_with_account(dialogues, PairsConfig(), seed=0)
    config = LLMConfig(**{"kind": "llm", "base_url": url, "model": "stub", **settings})
    return LLMEncoder.fit(
        pairs, load_space(), config, ledger=folder / "ledger.sqlite"
    ).probe(), pairs


def faults(folder: Path, pairs: int, share: float = 0.3) -> dict[str, Any]:
    """Encodes against a server that fails in every way; what came of pairs,
    attempts and requests.
    """
    script = Scripted(share)
    with serving(script) as url:
        dialogues = conversations(pairs)
        settings = {"timeout": 1.0, "backoff": 0.02, "attempts": 8, "concurrency": 32}
        encoder, asked = encoder_at(url, folder, dialogues, **settings)
        encodings = list(encoder.encode(asked, {d.id: d for d in dialogues}))
    with Ledger(folder / "ledger.sqlite") as ledger:
        outcomes = ledger.outcomes()
    return {
        "pairs": len(asked),
        "typed": dict(
            Counter(f"{e.status}: {e.reason}" if e.reason else e.status for e in encodings)
        ),
        "injected": dict(script.faulted),
        "attempts": outcomes.total(),
        "requests": script.asked.total(),
        "answered_twice": sum(n > 1 for n in script.answered.values()),
    }


def kills(
    folder: Path, pairs: int, times: int, *, concurrency: int = 8, seed: int = 0
) -> dict[str, Any]:
    """Kills `vvae encode` at random points, resumes it each time, and compares with a run that
    nobody touched.
    """
    source = write_chats(folder / "chats.jsonl", pairs)
    script = Scripted()
    script.pause = 0.02
    with serving(script) as url:
        encoder = {"kind": "llm", "base_url": url, "model": "stub", "concurrency": concurrency}

        def command(name: str) -> list[str]:
            config = write_config(
                folder / f"{name}.yaml", source, run=str(folder / name), encoder=encoder
            )
            return [sys.executable, "-m", "vvae.cli", "encode", str(config)]

        subprocess.run(command("whole"), check=True, capture_output=True)
        needed = script.asked.total()
        script.asked.clear()
        dice, killed, share = random.Random(seed), 0, needed // (times + 1)
        while killed < times:
            before = script.asked.total()
            process = subprocess.Popen(
                command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            wanted = before + dice.randint(1, max(1, share))
            while script.asked.total() < wanted and process.poll() is None:
                time.sleep(0.002)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        subprocess.run(command("killed"), check=True, capture_output=True)
    same = all(
        (folder / "whole" / name).read_bytes() == (folder / "killed" / name).read_bytes()
        for name in ("encodings.parquet", "encoder.json")
    )
    return {
        "calls": needed,
        "killed": killed,
        "equal": same,
        "repeated": script.asked.total() - needed,
        "most_repeated_of_a_kill": concurrency,
    }


_WRITER = """
import asyncio, sys, time
from pathlib import Path
from vvae.inference.endpoint.ledger import Answer, Ledger

async def work(ledger, name, end):
    n = 0
    while time.monotonic() < end:
        attempt = await ledger.begin(f"{name}-{n}", "account")
        await ledger.end(attempt, f"{name}-{n}", "ok", Answer("x", "stop", 1, 1))
        n += 1
    return n

async def all_of(ledger, name, seconds):
    end = time.monotonic() + seconds
    return sum(await asyncio.gather(*(work(ledger, f"{name}-{i}", end) for i in range(4))))

with Ledger(Path(sys.argv[1])) as ledger:
    print(asyncio.run(all_of(ledger, sys.argv[2], float(sys.argv[3]))))
"""


def shared_ledger(folder: Path, seconds: float, processes: int = 8) -> dict[str, Any]:
    """Processes that write into one ledger as fast as they can."""
    path = folder / "ledger.sqlite"
    commands = [
        [sys.executable, "-c", _WRITER, str(path), str(i), str(seconds)] for i in range(processes)
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers: list[subprocess.Popen[str]] = [subprocess.Popen(c, **pipes) for c in commands]  # type: ignore[call-overload]
    said = [writer.communicate(timeout=seconds + 120) for writer in writers]
    with Ledger(path) as ledger:
        attempts = ledger.spent("account").attempts
    failed = [
        err.strip().splitlines()[-1]
        for writer, (_, err) in zip(writers, said, strict=True)
        if writer.returncode
    ]
    return {
        "written": sum(int(out or 0) for out, _ in said),
        "attempts": attempts,
        "failed": failed,
    }


if __name__ == "__main__":
    import tempfile

    for work, amount in ((faults, (2000,)), (kills, (1000, 20)), (shared_ledger, (60.0,))):
        with tempfile.TemporaryDirectory() as scratch:
            print(work.__name__, *amount, json.dumps(work(Path(scratch), *amount)), flush=True)
