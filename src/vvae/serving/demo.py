"""A persona to talk to within a minute, without training: the small model, told who it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

from vvae.config import DataConfig, RunConfig
from vvae.core.dialogue import Dialogue
from vvae.core.reporting import Reporter
from vvae.corpus.formats.byu import read_corpus
from vvae.corpus.importing import DIALOGUES
from vvae.corpus.pairs import PairsConfig
from vvae.corpus.privacy.names import Pseudonyms
from vvae.corpus.tables import write_dialogues
from vvae.pipeline.run import Run

__all__ = ["DEMO_VARIANT", "demo_run"]

DEMO_VARIANT = "few-shot"
MOST_DIALOGUES = 300
"""Of the corpus: what is read in half a minute."""


def demo_run(folder: Path, reporter: Reporter | None = None) -> Run:
    """Return a run over a part of the public corpus that can be talked to and is not trained: its
    people have profiles, and the base model is told one of them, with some of the person's replies.

    Raises:
        DataError: the corpus is not installed.
    """
    chats = folder / "chats"
    if not (chats / DIALOGUES).is_file():
        names = Pseudonyms()  # the corpus has ids, which nobody likes to talk to
        chosen = islice(read_corpus(), MOST_DIALOGUES)
        write_dialogues(chats / DIALOGUES, [_renamed(dialogue, names) for dialogue in chosen])
    config = RunConfig(
        run=str(folder),
        data=DataConfig(path=str(chats)),
        pairs=PairsConfig(min_train_dialogues=1, min_heldout_replies=1),
        variants=(DEMO_VARIANT,),
        notice="A demo of the chat: nothing was trained.",
    )
    return Run(config, reporter=reporter)


def _renamed(dialogue: Dialogue, names: Pseudonyms) -> Dialogue:
    turns = (replace(turn, speaker=names.of(turn.speaker)) for turn in dialogue.turns)
    return replace(dialogue, turns=tuple(turns))
