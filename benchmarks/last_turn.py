"""Does a form follow what is set, or what the person wrote last?

python -m benchmarks.last_turn RUN [--dimension case]

Of the replies of `vvae control RUN` to contexts in which the person has spoken before: how many are
in the form of that person's last turn, and how many in the form that was set. Beside it, of the
training replies: how much of the entropy of the form that turn tells (mutual information of the
counts, in nats, not corrected for their number).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vvae.core.dialogue import Dialogue, Pair
from vvae.decoder.variants import DEFAULT_VARIANT
from vvae.latent.prior import DimensionPrior
from vvae.latent.readers import reader
from vvae.latent.space import Dimension
from vvae.metrics.audit.information import entropy
from vvae.metrics.tables import read_replies
from vvae.pipeline.run import Run


def last_turn(dialogue: Dialogue, pair: Pair) -> str | None:
    """The text of the person's last turn before a reply."""
    own = [turn for turn in dialogue.turns if turn.id < pair.turn and turn.speaker == pair.speaker]
    return own[-1].text if own else None


def form_of(dimension: Dimension, text: str) -> str:
    """The value of a form that a text has."""
    shows = reader(dimension.reader).shows
    return next((value for value in dimension.labels or () if shows(value, text)), "")


def told(rows: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """(mutual information of two columns, entropy of the second), in nats.

    >>> [round(x, 3) for x in told([("a", "x"), ("b", "y")])], told([("a", "x"), ("a", "x")])
    ([0.693, 0.693], (0.0, 0.0))
    """
    first, second, both = (
        entropy(DimensionPrior(Counter(column), nulls=0))
        for column in ((a for a, _ in rows), (b for _, b in rows), (f"{a}|{b}" for a, b in rows))
    )
    return first + second - both, second


def controlled(run: Run, dimension: Dimension, folder: Path) -> dict[str, int]:
    """How many replies are as that turn, and as what was set."""
    pairs = {pair.pair_id: pair for pair in run.valid_pairs}
    found = Counter[str]()
    for reply in read_replies(folder / f"{dimension.name}.parquet"):
        pair = pairs[reply.pair_id.rpartition("|")[0]]
        before = last_turn(run.dialogues[pair.dialogue], pair)
        value = reply.persona.value(dimension.name) if reply.persona else None
        if before is not None and value is not None:
            form = form_of(dimension, reply.reply)
            found["replies"] += 1
            found["as_last_turn"] += form == form_of(dimension, before)
            found["as_set"] += form == value
    return dict(found)


def main() -> None:
    """Prints a line of JSON for each dimension of form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--dimension", nargs="*", default=[])
    args = parser.parse_args()
    run = Run.open(args.run)
    folder = run.path(f"control/{DEFAULT_VARIANT}")
    training = [
        (before, pair.response)
        for pair in run.valid_pairs
        if pair.split == "train"
        and (before := last_turn(run.dialogues[pair.dialogue], pair)) is not None
    ]
    for dimension in run.space.dimensions:
        if not reader(dimension.reader).exact or dimension.name not in (
            args.dimension or run.space.names
        ):
            continue
        forms = [(form_of(dimension, a), form_of(dimension, b)) for a, b in training]
        information, entropy = told(forms)
        row: dict[str, object] = {"dimension": dimension.name, "training": len(forms)}
        row |= {"entropy": round(entropy, 3), "told": round(information, 3)}
        if (folder / f"{dimension.name}.parquet").is_file():
            row |= controlled(run, dimension, folder)
        print(json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
