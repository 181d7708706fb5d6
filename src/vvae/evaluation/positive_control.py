"""The positive control: a synthetic corpus in which z -> x is known, so that it is known what a
trained decoder must do.

Small talk made on the fly. z has one dimension; its value, a word without a meaning or a form of
writing, stands in the reply or does not. A *cell* is one such corpus with one way to train on it.
P, the probability that the word stands in a reply when z names it, follows from how it was made:

    S0  z always tells: the word stands in every reply                    1
    S1  z tells in a share r of the replies, nulls are filled with s      r / (r + (1 - r) s)
    S2  S1, each speaker with a word p = 1/8 of all draws are of;
        the speaker is named in the context                               r / (r + (1 - r) s p)
        nulls filled from the speaker's own word                          r / (r + (1 - r) s)
    S3  z tells the form of the reply, not a word                         1
    S4  S1 with a share e of the values read as another one       (1 - e) r / (r + (1 - r) s)

P is measured on held-out contexts by teacher forcing (`vvae.metrics.teacher_forcing`); in S3 it is
that of the form that z names against the other one. It is kept against *sightings*, the training
replies so far beside which z told. A cell that does not come to where it must says that the road
from z to the reply is broken, or that the training was too short.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from hashlib import blake2b
from itertools import accumulate
from itertools import count as numbers
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from vvae.config import RunConfig
from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.core.files import to_json, write_json, write_text
from vvae.core.random import index_below, uniform
from vvae.core.reporting import Progress, Reporter
from vvae.corpus.pairs import PairsConfig, make_pairs, side
from vvae.decoder.conditions import Conditions
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Branch, Decoder
from vvae.decoder.train import Step, TrainConfig, plan, train
from vvae.decoder.variants import Variant
from vvae.evaluation.study import POSITIVE_CONTROL
from vvae.inference.prompts import PROMPT_VERSION, persona_line
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import count
from vvae.latent.profile import build_profiles
from vvae.latent.sampling import FillFrom, Misreading, SamplingConfig, predicted_rate
from vvae.latent.space import LatentSpace
from vvae.metrics.teacher_forcing import phrase_probability, reply_losses
from vvae.report.pages import build_positive_control

__all__ = ["CELLS", "Cell", "CellResult", "Known", "Point", "run_cell", "run_cells"]


WORDS = ("blick", "dax", "wug", "fep", "toma", "zorp", "kiva", "plim")
"""Words without a meaning, which no reply has by itself."""
NAMES = ("Mira", "Jonas", "Aiko", "Tariq", "Elena", "Bo", "Priya", "Luis")
ASKED = (
    "did you {verb} the {thing} {time}?",
    "so what about the {thing}, will you {verb} it {time}?",
    "i could not {verb} the {thing} {time}, and you?",
    "everybody wants to {verb} the {thing} {time}",
)
ANSWERED = (
    "{first}, i think the {thing} was {kind} {time}",
    "{first} i liked the {thing}",
    "{first}, not {time}, maybe later with {whom}",
    "{first}, {whom} told me that it is {kind}",
)
PARTS = {
    "verb": ("see", "try", "find", "bring", "get", "use", "fix", "buy"),
    "thing": ("film", "soup", "bike", "book", "lamp", "park", "train", "garden", "song", "map"),
    "time": ("today", "last night", "on sunday", "this week", "in the morning", "after work"),
    "first": ("yes", "no", "well", "sure", "not really", "of course"),
    "kind": ("nice", "too long", "small", "quite old", "better than before", "a bit cold"),
    "whom": ("my sister", "a friend", "the neighbour", "somebody at work"),
}
CONTEXTS = 48
"""Held-out contexts of a measurement."""
POINTS = 8
"""Measurements along a training."""


class Cell(BaseModel):
    """A synthetic corpus and a way to train on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: Literal["word", "speaker", "form"] = "word"
    """What z names: a word; a word that is one speaker's own; a form of writing."""
    r: float = Field(1.0, gt=0, le=1)
    """Share of the replies in which z tells."""
    s: float = Field(0.0, ge=0, le=1)
    """Probability that a null is filled."""
    fill: FillFrom = "prior"
    misread: float = Field(0.0, ge=0, le=1)
    """Share of the values that are read as another one."""
    pairs: int = 800

    @property
    def expected(self) -> float:
        """Return P that a converged decoder comes to (in the module's words)."""
        drawn = 1 / len(WORDS) if self.about == "speaker" and self.fill == "prior" else 1.0
        return (1 - self.misread) * predicted_rate(self.r, self.s * drawn)

    @property
    def marginal(self) -> float:
        """Return P of one that cannot tell from the context who speaks."""
        return (1 - self.misread) * predicted_rate(self.r, self.s)

    @property
    def variant(self) -> Variant:
        """Return the variant that is trained."""
        return Variant(
            name="SP+FT" if self.s else "P+FT",
            z="sampled" if self.s else "observed",
            s=self.s or None,
            fill=self.fill,
            error=Misreading(kind="other", rate=self.misread) if self.misread else None,
        )


CELLS = (
    Cell(name="S0"),
    *(
        Cell(name=f"S1 r={r} s={s}", r=r, s=s, pairs=3200)
        for r in (0.1, 0.3, 0.6)
        for s in (0.0, 0.5, 1.0)
    ),
    Cell(name="S2", about="speaker", r=0.3, s=1.0, pairs=3200),
    Cell(name="S2 own fills", about="speaker", r=0.3, s=1.0, fill="speaker", pairs=3200),
    Cell(name="S3", about="form"),
    Cell(name="S4", r=0.3, s=0.5, misread=0.3, pairs=3200),
)


class Point(TypedDict):
    """A measurement along a training."""

    pairs: int
    sightings: int
    p: float
    se: float
    """Over contexts."""
    other: float
    """P of a word that z does not name, beside one that it does; of the other form in S3."""


class CellResult(TypedDict):
    """What a cell came to."""

    key: str
    cell: dict[str, Any]
    expected: float
    marginal: float
    points: list[Point]


class Known:
    """A synthetic corpus of a cell, with z known.

    Example:
        >>> known = Known(Cell(name="S0", pairs=20))
        >>> pair = known.corpus.pairs[0]
        >>> known.corpus.posteriors[pair.pair_id].value("word") == pair.response.split()[-1]
        True
    """

    def __init__(self, cell: Cell, seed: int = 0, contexts: int = CONTEXTS) -> None:
        self.cell, self._seed, self._held = cell, seed, contexts
        labels = {"loud": ["SO NICE!!!"], "calm": ["so nice"]} if cell.about == "form" else None
        dimension = {
            "scope": "turn",
            "reader": "prototype" if labels else "catchphrase",
            "description": "what the reply shows",
            "labels": labels,
        }
        self.name = "manner" if labels else "word"
        self.space = LatentSpace.from_dict({"axes": {"control": {self.name: dimension}}})
        self.plain: dict[str, str] = {}
        """Dialogue -> its reply without what z names."""
        self._values: dict[str, str] = {}

    @cached_property
    def corpus(self) -> EncodedCorpus:
        """Return the corpus: enough dialogues of two turns that the cell's pairs are for training,
        the others held out.
        """
        dialogues: dict[str, Dialogue] = {}
        told: dict[str, Persona] = {}
        sides: Counter[str] = Counter()
        for n in numbers():
            if sides["train"] >= self.cell.pairs and sides["heldout"] >= self._held:
                break
            dialogue, value = self._dialogue(f"d{n}")
            dialogues[dialogue.id] = dialogue
            told[dialogue.id] = Persona({self.name: Slot(value, "observed")} if value else {})
            sides[side(dialogue.id, PairsConfig().heldout, 0)] += 1
        pairs = make_pairs(dialogues.values())
        posteriors = {pair.pair_id: told[pair.dialogue] for pair in pairs}
        seen = [posteriors[pair.pair_id] for pair in pairs if pair.split == "train"]
        prior = count(seen, self.space, encoder="known", corpus=self.cell.name)
        profiles = build_profiles(pairs, posteriors, self.space)
        return EncodedCorpus(dialogues, pairs, posteriors, prior, profiles, self.space)

    def _dialogue(self, name: str) -> tuple[Dialogue, str | None]:
        cell = self.cell

        def choose(what: str, among: Sequence[str]) -> str:
            return among[index_below(len(among), "control", self._seed, name, what)]

        parts = {part: choose(part, among) for part, among in PARTS.items()}
        asked, reply = (choose(str(w[0]), w).format(**parts) for w in (ASKED, ANSWERED))
        who = choose("who", NAMES)
        if cell.about == "speaker":
            asked = f"{who}, {asked}"
        told = uniform("told", self._seed, name) < cell.r
        values = self.space.by_name[self.name].labels or WORDS
        value = choose("value", tuple(values))
        if cell.about == "speaker":
            value = WORDS[NAMES.index(who)]
        self.plain[name], self._values[name] = reply, value
        turns = (
            Turn(0, "Ana", (Message(asked),)),
            Turn(1, who, (Message(self.shown(reply, value) if told else reply),)),
        )
        return Dialogue(name, turns), value if told else None

    def shown(self, reply: str, value: str) -> str:
        """Return a reply as it is when z is the value."""
        if self.cell.about == "form":
            return f"{reply.upper()}!!!" if value == "loud" else reply
        return f"{reply} {value}"

    @cached_property
    def contexts(self) -> list[tuple[Pair, str]]:
        """Return held-out pairs, each with its reply without what z names, and the value that z
        shall name: the speaker's own where speakers have one.
        """
        held = [pair for pair in self.corpus.pairs if pair.split == "heldout"][: self._held]
        return [
            (replace(pair, response=self.plain[pair.dialogue]), self._values[pair.dialogue])
            for pair in held
        ]

    def shows(self, value: str) -> str | None:
        """Return the line that says z."""
        return persona_line(Persona({self.name: Slot(value, "observed")}), self.space)

    def other(self, value: str) -> str:
        """Return another value, the next one."""
        values = tuple(self.space.by_name[self.name].labels or WORDS)
        return values[(values.index(value) + 1) % len(values)]


def _measure(decoder: Decoder, known: Known) -> tuple[list[float], list[float]]:
    """P of what z names, and of what it does not name, in each context."""
    contexts, dialogues = known.contexts, known.corpus.dialogues
    if known.cell.about == "form":
        own = _share_of_form(decoder, known)
        return own, [1 - p for p in own]
    asked = {
        pair.pair_id: [
            (Branch("own", known.shows(value)), value),
            (Branch("other", known.shows(value)), known.other(value)),
        ]
        for pair, value in contexts
    }
    found = phrase_probability(decoder, dialogues, [pair for pair, _ in contexts], asked)
    own, other = (
        [found[f"{pair.pair_id}|{which}"] for pair, _ in contexts] for which in ("own", "other")
    )
    return own, other


def _share_of_form(decoder: Decoder, known: Known) -> list[float]:
    """The probability of the reply in the form that z names, in that of both forms."""
    contexts, dialogues = known.contexts, known.corpus.dialogues
    branches = {pair.pair_id: [Branch("z", known.shows(value))] for pair, value in contexts}
    named = [replace(p, response=known.shown(p.response, v)) for p, v in contexts]
    unnamed = [replace(p, response=known.shown(p.response, known.other(v))) for p, v in contexts]
    own, other = (reply_losses(decoder, dialogues, w, branches) for w in (named, unnamed))
    return [1 / (1 + math.exp(min(own[key][0] - other[key][0], 700.0))) for key in own]


def run_cell(
    cell: Cell,
    decoder: Decoder,
    config: TrainConfig,
    *,
    seed: int = 0,
    points: int = POINTS,
    contexts: int = CONTEXTS,
    progress: Progress | None = None,
) -> CellResult:
    """Train a fresh adapter on a cell's corpus and return what it came to.

    Args:
        config: its pairs are the cell's.
        points: measurements, each after twice as many steps as the one before; the last at the end.
        contexts: held-out ones that P is measured in.
    """
    config = _alone(cell, config)
    known = Known(cell, seed, contexts)
    corpus = known.corpus
    steps = plan(corpus.pairs, config, seed=seed)
    conditions = Conditions(cell.variant, lambda: corpus, SamplingConfig(), seed=seed)
    seen = [*accumulate(sum(map(len, step.windows)) for step in steps)]
    told = [*accumulate(_told(step, corpus) for step in steps)]
    at = {math.ceil(len(steps) / 2**k) for k in range(points)}
    found: list[Point] = []

    def measure(done: int) -> None:
        if done in at:
            own, other = _measure(decoder, known)
            found.append(
                Point(
                    pairs=seen[done - 1],
                    sightings=told[done - 1],
                    p=round(fmean(own), 4),
                    se=round(stdev(own) / math.sqrt(len(own)), 4),
                    other=round(fmean(other), 4),
                )
            )

    with TemporaryDirectory(prefix="vvae-") as folder:
        build = partial(conditions.training_tree, decoder)
        train(
            decoder,
            steps,
            build,
            config,
            Path(folder),
            seed=seed,
            description={"cell": cell.name},
            progress=progress,
            each_step=measure,
        )
    return CellResult(
        key=_key(cell, config, decoder, seed),
        cell=cell.model_dump(mode="json"),
        expected=round(cell.expected, 4),
        marginal=round(cell.marginal, 4),
        points=found,
    )


def _alone(cell: Cell, config: TrainConfig) -> TrainConfig:
    """The settings by which a cell is trained: whole, once, and by nothing else's measure."""
    return config.model_copy(
        update={
            "pairs": cell.pairs,
            "passes": 1,
            "draws_per_pair": 1,
            "patience": None,
            "tracker": None,
            "checkpoint_every": 1 << 30,
        }
    )


def _told(step: Step, corpus: EncodedCorpus) -> int:
    """The replies of a step beside which z was read."""
    return sum(
        len(corpus.posteriors[pair.pair_id]) > 0 for window in step.windows for pair in window
    )


def _key(cell: Cell, config: TrainConfig, decoder: Decoder, seed: int) -> str:
    """What a cell's result depends on, but for the code."""
    made_of = [cell, config, decoder.config, PROMPT_VERSION, seed]
    return blake2b(to_json(made_of).encode(), digest_size=8).hexdigest()


def run_cells(
    config: RunConfig, *, cells: Sequence[Cell] = CELLS, reporter: Reporter
) -> dict[str, CellResult]:
    """Run the cells that are not done yet and write `studies/positive-control/` in the run folder.

    Of the config its model, the options of its training and its seed are used, and nothing of its
    data.

    Returns:
        Name of a cell -> what it came to.
    """
    folder = Path(config.run) / "studies" / POSITIVE_CONTROL
    kept: dict[str, CellResult] = {}
    if (path := folder / "cells.json").is_file():
        kept = json.loads(path.read_text("utf-8"))["cells"]
    with reporter.task(f"loading {config.decoder.model}"):
        decoder = load_decoder(config.decoder)
    results: dict[str, CellResult] = {}
    for cell in cells:
        key = _key(cell, _alone(cell, config.train), decoder, config.seed)
        if cell.name in kept and kept[cell.name]["key"] == key:
            results[cell.name] = kept[cell.name]
            continue
        with reporter.task(f"training {cell.name}") as tick:
            results[cell.name] = run_cell(
                cell, decoder, config.train, seed=config.seed, progress=tick
            )
        write_json(path, {"model": config.decoder.model, "cells": {**kept, **results}})
    page = build_positive_control(results, config.decoder.model, CONTEXTS)
    write_text(folder / "report.html", page)
    return results
