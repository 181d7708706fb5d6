"""The BYU Chit-Chat corpus (PyPI ``chitchat-dataset``, MIT): two people chat freely after a prompt.

Turns come as lists of messages. Only two-party dialogues of at least `MIN_TURNS` turns are taken;
the others are no defects of the file and are not counted as malformed.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

from vvae.core.dialogue import Dialogue, Message, Turn
from vvae.core.errors import DataError

__all__ = ["read_corpus"]

MIN_TURNS = 4


def read_corpus() -> Iterator[Dialogue]:
    """Yield the dialogues of the installed package, in file order.

    Raises:
        DataError: the package is not installed.
    """
    spec = importlib.util.find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise DataError(
            "the BYU corpus is not installed", where="data.path", fix="pip install chitchat-dataset"
        )
    data = json.loads((Path(spec.origin).parent / "dataset.json").read_text("utf-8"))
    for name, record in data.items():
        senders = {message["sender"] for turn in record["messages"] for message in turn}
        if len(senders) != 2 or len(record["messages"]) < MIN_TURNS:
            continue
        turns = tuple(
            Turn(i, turn[0]["sender"], tuple(Message(m["text"], time=m["timestamp"]) for m in turn))
            for i, turn in enumerate(record["messages"])
        )
        prompt = record.get("prompt")
        yield Dialogue(name, turns, (("prompt", prompt),) if prompt else ())
