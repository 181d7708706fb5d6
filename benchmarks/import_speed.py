"""How fast an export comes in, and in how much memory: a made-up chat of four people, read and
brought in.

python -m benchmarks.import_speed --format whatsapp --gigabytes 2
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vvae.core.random import index_below
from vvae.corpus.formats import find, read
from vvae.corpus.importing import Intake, bring_in, survey

PEOPLE = ("Ana", "Ben María", "Cleo R", "Dan")
SILENCES = (3, 10, 20, 30, 60, 120, 300, 30_000)
WORDS = [
    "the",
    "a",
    "and",
    "to",
    "you",
    "i",
    "it",
    "that",
    "was",
    "we",
    "have",
    "of",
    "is",
    "for",
    "on",
    "me",
    "my",
    "so",
    "do",
    "what",
    "not",
    "just",
    "can",
    "with",
    "be",
    "all",
    "lol",
    "haha",
    "yeah",
    "okay",
    "tomorrow",
    "dinner",
    "work",
    "home",
    "movie",
    "really",
    "think",
    "going",
    "want",
    "time",
    "good",
    "love",
    "see",
    "later",
    "thanks",
    "maybe",
    "music",
    "school",
    "friend",
]


def messages() -> Iterator[tuple[int, str, str]]:
    """(Unix seconds, speaker, text) without end; one in twenty has an emoji, one in two hundred a
    phone number.
    """
    at, number = 1_262_304_000, 0
    while True:
        draw = index_below(1 << 62, "message", number)
        number += 1
        at += SILENCES[draw % 8]
        words = [WORDS[(draw >> (6 + 5 * i)) % len(WORDS)] for i in range(3 + draw % 9)] * (
            1 + draw % 3
        )
        extra = " 😂" if draw % 20 == 0 else f" call 6{draw % 10**8:08d}" if draw % 200 == 1 else ""
        yield at, PEOPLE[(draw >> 3) % 4], " ".join(words) + extra


def write(path: Path, form: str, size: int) -> None:
    """An export of about so many bytes."""
    written = 0
    with path.open("w", encoding="utf-8") as out:
        if form == "telegram":
            out.write('{"name": "Ben", "type": "private_group", "id": 7, "messages": [\n')
        for number, (at, name, text) in enumerate(messages()):
            clock = time.gmtime(at)
            if form == "whatsapp":
                line = f"{time.strftime('%d/%m/%Y, %H:%M', clock)} - {name}: {text}\n"
            else:
                date = time.strftime("%Y-%m-%dT%H:%M:%S", clock)
                who = {"from": name, "from_id": f"user{PEOPLE.index(name)}", "text": text}
                row = {
                    "id": number,
                    "type": "message",
                    "date": date,
                    "date_unixtime": str(at),
                    **who,
                    "text_entities": [],
                }
                line = ("" if number == 0 else ",\n") + json.dumps(row, ensure_ascii=False)
            out.write(line)
            written += len(line)
            if written >= size:
                break
        if form == "telegram":
            out.write("]}")


def measure(path: Path, folder: Path) -> dict[str, float]:
    """Messages a second of reading alone and of the whole import, and the peak of memory."""
    started = time.perf_counter()
    found = find(path)
    n = sum(1 for _ in read(found))
    reading = time.perf_counter() - started
    options = Intake()
    counted = survey(found, options)
    begun = time.perf_counter()
    summary = bring_in(found, folder, options, counted=counted)
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    whole = ended - started - reading
    return {
        "megabytes": path.stat().st_size >> 20,
        "messages": n,
        "reading_per_s": round(n / reading),
        "import_per_s": round(n / whole),
        "second_pass_per_s": round(n / (ended - begun)),
        "peak_mb": peak,
        "dialogues": summary["dialogues"],
    }


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=("whatsapp", "telegram"), default="whatsapp")
    parser.add_argument("--gigabytes", type=float, default=0.05)
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("chat.txt" if args.format == "whatsapp" else "result.json")
        write(path, args.format, int(args.gigabytes * 2**30))
        command = [
            sys.executable,
            "-m",
            "benchmarks.import_speed",
            "--measure",
            str(path),
            f"{folder}/chats",
        ]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
