"""Dialogues from wherever they lie ready: a folder of `vvae import`, JSONL, the BYU corpus."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vvae.core.dialogue import Dialogue
from vvae.corpus.formats import Imported, load
from vvae.corpus.importing import DIALOGUES
from vvae.corpus.tables import StoredDialogues

__all__ = ["load_dialogues", "load_with_account"]


def load_with_account(
    path: str, *, format: str = "auto", malformed_limit: float = 0.01
) -> Imported:
    """Return the dialogues of a source, and its malformed records by reason.

    Args:
        path: a folder of `vvae import`, a JSONL file, or ``byu`` for the installed corpus.
        format: ``auto``, ``openai``, ``sharegpt`` or ``byu``.
        malformed_limit: the largest share of malformed records that is let pass.

    Raises:
        DataError: the source cannot be read, is empty, or has too many malformed records.
    """
    if (table := Path(path) / DIALOGUES).is_file() and format == "auto":
        return Imported(StoredDialogues(table).values(), Counter())
    return load(path, format=format, malformed_limit=malformed_limit)


def load_dialogues(path: str | Path, *, format: str = "auto") -> list[Dialogue]:
    """Return dialogues that are ready: of a folder of `vvae import`, a JSONL file, or ``byu``.

    Args:
        path: the folder or file; each line of a JSONL file is a dialogue, as OpenAI messages with
            names or as ShareGPT conversations.
        format: ``auto``, ``openai`` or ``sharegpt``.

    Raises:
        DataError: the source cannot be read, is empty, or has too many malformed records.

    Example:
        >>> dialogues = load_dialogues("chats.jsonl")  # doctest: +SKIP
        >>> dialogues[0].turns[0].text  # doctest: +SKIP
        'hi, how was the film?'
    """
    return list(load_with_account(str(path), format=format).dialogues)
