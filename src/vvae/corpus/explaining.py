"""What an export was read as, with samples: speech, what is no text, what nobody said."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from vvae.core.reporting import Progress
from vvae.corpus.formats import (
    Hints,
    Malformed,
    RecognisedFile,
    Record,
    Sent,
    Skipped,
    read,
)

__all__ = ["Reading", "readings"]

SAMPLES, WIDTH = 3, 70
EACH = 2000


@dataclass
class Reading:
    """How often something was read in a format, how often it may be something else, samples."""

    format: str
    what: str
    n: int = 0
    doubtful: int = 0
    samples: list[str] = field(default_factory=list)
    """As the export shows them, cut to 70 characters; those that may be something else first."""


def readings(
    files: Sequence[RecognisedFile], hints: Hints, tick: Progress = lambda *_: None
) -> list[Reading]:
    """Return what the messages and lines of an export were read as, the most frequent first.

    Raises:
        DataError: a file cannot be read.
    """
    found: dict[tuple[str, str], Reading] = {}
    doubts: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for number, (format, record) in enumerate(read(files, hints), start=1):
        if number % EACH == 0:
            tick(number, 0)
        told = _told(record)
        if told is None:
            continue
        what, shown, doubt = told
        key = format, what
        reading = found.setdefault(key, Reading(format, what))
        reading.n += 1
        reading.doubtful += doubt
        samples = doubts[key] if doubt else reading.samples
        sample = " ".join(shown.split())[:WIDTH]
        if sample and len(samples) < SAMPLES and sample not in samples:
            samples.append(sample)
    for key, reading in found.items():
        reading.samples = [*doubts[key], *reading.samples][:SAMPLES]
    order = Counter({key: reading.n for key, reading in found.items()})
    return [found[key] for key, _ in order.most_common()]


def _told(record: Record) -> tuple[str, str, bool] | None:
    """(what it was read as, what the export shows, whether it may be something else)."""
    if isinstance(record, Sent):
        message = record.message
        kind = message.kind or "text"
        what = "speech" if kind == "text" else f"{kind} with words" if message.text else kind
        return what, record.shown or message.text, record.doubt
    if isinstance(record, Skipped):
        return f"left out: {record.reason}", record.shown, record.doubt
    if isinstance(record, Malformed):
        return f"malformed: {record.reason}", record.where, False
    return None
