"""Coverage-guided fuzzing of the importers (pip install 'vvae[fuzz]'): whatever a file holds comes
out as records or as one error.

python -m tests.fuzz whatsapp -max_total_time=300 -timeout=10 -rss_limit_mb=1024

A format's name, or ``archive`` for the zip around it; the further arguments are libFuzzer's. An
exception outside the project's error tree, an input that takes longer than the timeout, or memory
past the limit is a finding.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["vvae.corpus.formats"]):
    from vvae.corpus.formats import Hints, RecognisedFile, Sent, find, formats, read
    from vvae.corpus.formats.files import files_of

    formats()  # imports the module of each

from tests.support.exports import EXPORTERS, Line
from vvae.core.errors import DataError

SEEDS = [
    Line("Ana", 1_700_000_000, "hello: ünder"),
    Line("Ben", 1_700_000_060, "你好 😂"),
    Line("Ana", 1_700_090_000, "x"),
]
FILES = {
    "whatsapp": ("_chat.txt",),
    "telegram": ("result.json",),
    "discord": ("dm.json",),
    "slack": ("general/2024-01-01.json", "users.json", "dms.json"),
    "meta": ("inbox/ben/message_1.json", "inbox/ben/message_2.json"),
    "chatlab": ("wechat.jsonl",),
    "convokit": ("corpus/utterances.jsonl",),
    "table": ("chat.csv",),
    "openai": ("chat.jsonl",),
    "sharegpt": ("share.jsonl",),
    "alpaca": ("alpaca.json",),
    "qq": ("x/manifest.json", "x/chunks/c1.jsonl"),
    "weflow": ("b.json",),
    "imessage": ("chat.db",),
    "signal": ("Ben/main.jsonl",),
    "telegram_html": ("chat/messages2.html", "chat/messages.html"),
    "assistants": ("conversations.json",),
    "sillytavern": ("Vera.jsonl",),
    "sms": ("sms-2024.xml",),
    "line": ("[LINE] Ben.txt",),
    "kakaotalk": ("KakaoTalk.txt",),
    "google_chat": ("DM g/messages.json",),
    "element": ("export.json",),
    "meta_html": ("inbox/ben/message_1.html",),
}
SEPARATOR = b"\xff\x00\xff"


def read_bytes(name: str, folder: Path, data: bytes) -> None:
    """Everything in files of these bytes."""
    if name == "archive":
        path = folder / "export.zip"
        path.write_bytes(data)
        for _, record in read(find(path)):
            assert record is not None
        return
    for file, part in zip(FILES[name], data.split(SEPARATOR), strict=False):
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(part)
    found = [RecognisedFile(file, name, "asked for") for file in files_of(folder)]
    for one in found:
        formats()[name].recognise(one.file)
    for _, record in read(found, Hints(dates="day-first") if len(data) % 2 else Hints()):
        if isinstance(record, Sent):
            record.message.text.encode("utf-8")
            record.person.name.encode("utf-8")


def seeds(name: str, folder: Path) -> None:
    """Exports to begin with."""
    for title, (format, write) in EXPORTERS.items():
        with tempfile.TemporaryDirectory() as made:
            path = write(Path(made), SEEDS)
            inside = (
                [p for p in sorted(path.rglob("*"), reverse=True) if p.is_file()]
                if path.is_dir()
                else [path]
            )
            if name == "archive":
                import zipfile

                with zipfile.ZipFile(folder / f"{title}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                    for file in inside:
                        archive.write(file, file.relative_to(made))
            elif format == name:
                (folder / title).write_bytes(SEPARATOR.join(p.read_bytes() for p in inside))


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**20,
    1e300,
    "",
    "x",
    [],
    {},
    [[]],
    "2024-13-45",
    "1700000000",
    "\ud800",
    {"a": None},
    0,
)


def json_mutator(data: bytes, largest: int, seed: int) -> bytes:
    """Half of the time something inside a JSON document becomes something else, which bytes alone
    hardly ever do.
    """
    rng = random.Random(seed)
    parts = data.split(SEPARATOR)
    place = rng.randrange(len(parts))
    lines = parts[place].split(b"\n") if rng.random() < 0.5 else [parts[place]]
    line = rng.randrange(len(lines))
    try:
        document = json.loads(lines[line])
    except (ValueError, RecursionError):
        document = None
    if rng.random() < 0.5 or not isinstance(document, dict | list):
        return bytes(atheris.Mutate(data, largest))
    node: Any = document
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
            node = node[key]
            continue
        if rng.random() < 0.2:
            del node[key]
        else:
            node[key] = rng.choice(ODD)
        break
    lines[line] = json.dumps(document).encode()
    parts[place] = b"\n".join(lines)
    return SEPARATOR.join(parts)[:largest]


def main() -> None:
    """Fuzzes one format until libFuzzer stops."""
    name = sys.argv.pop(1)
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    seeds(name, corpus)

    def one(data: bytes) -> None:
        with tempfile.TemporaryDirectory(
            dir="/dev/shm" if Path("/dev/shm").is_dir() else None
        ) as folder:
            try:
                read_bytes(name, Path(folder), data)
            except DataError as error:
                if "\n" in str(error):
                    raise AssertionError("an error of more than one line") from error

    json_seeds = any(path.read_bytes().lstrip()[:1] in (b"{", b"[") for path in corpus.iterdir())
    mutator = {"custom_mutator": json_mutator} if json_seeds else {}
    atheris.Setup([*sys.argv, str(corpus)], one, **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
