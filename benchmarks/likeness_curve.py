"""How much chat does one person's adapter need? Likeness against the number of their replies.

    python -m benchmarks.likeness_curve RUN --most 2 --further 8

RUN is a folder that is filled (dialogues and pairs of the BYU corpus alone; no z is read). People:
those with the most training replies, and further ones with some hundreds. Ways to speak like them:

    base         the base model as it is
    few-shot     the base model, shown four of the person's replies
    common       an adapter trained on everybody else
    own          an adapter trained on N replies of the person alone
    common, own  the common adapter, trained on by these N replies

Each is asked, on the same held-out contexts of the person: which of four replies of about the same
length is theirs, by the likelihood per token (the other three are other people's, to other
messages), and by the likelihood against the base model's; and what it writes itself is compared
with their own replies (`vvae.metrics.likeness`). Rows are appended to RUN/likeness_curve.jsonl; a
second start does what is not there yet.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.study_figures import COLOURS
from vvae.config import RunConfig
from vvae.core.console import ConsoleReporter
from vvae.core.dialogue import Pair
from vvae.core.random import shuffled
from vvae.corpus.pairs import PairsConfig
from vvae.decoder.conditions import training_examples
from vvae.decoder.model import Branch
from vvae.decoder.train import TrainConfig, plan, train
from vvae.decoder.trees import Tree
from vvae.inference.prompts import few_shot_lines
from vvae.latent.persona import Persona
from vvae.metrics.likeness import Likeness
from vvae.metrics.teacher_forcing import reply_losses
from vvae.pipeline.run import Run

SIZES = (100, 400, 1600)
BETWEEN = (350, 1400)
"""Training replies of the further people."""
COMMON = 1600
"""Training replies of the common adapter."""
CONTEXTS, OPTIONS = 100, 4
LIKENESS_REPLIES = 400
"""Training replies of each other person that the judge of likeness learns from, at the most."""


def passes(replies: int) -> int:
    """How often few replies are gone over: 800 are seen, but none more than four times."""
    return max(1, min(4, 800 // replies))


def near_in_length(pair: Pair, others: Sequence[Pair]) -> list[Pair]:
    """Some of other people's pairs, those whose reply is nearest to a pair's in words first."""
    length = len(pair.response.split())
    drawn = shuffled(others, "others", pair.pair_id)[:200]
    return sorted(drawn, key=lambda other: abs(len(other.response.split()) - length))


def filled(folder: str) -> Run:
    """The run of a folder, with dialogues and pairs of the BYU corpus."""
    config = RunConfig(run=folder, pairs=PairsConfig(max_train_replies=20_000))
    run = Run(config, reporter=ConsoleReporter(Console(stderr=True)))
    run.make(until="pairs")
    return run


class Curve:
    """The people, what they are asked, and what was measured so far."""

    def __init__(self, run: Run, most: int, further: int) -> None:
        self.run, self.out = run, run.path("likeness_curve.jsonl")
        sides: dict[str, dict[str, list[Pair]]] = {"train": {}, "heldout": {}}
        for pair in run.pairs:
            sides[pair.split].setdefault(pair.speaker, []).append(pair)
        self.training, heldout = sides["train"], sides["heldout"]
        able = [s for s in self.training if len(heldout.get(s, ())) >= 40]
        ranked = sorted(able, key=lambda s: (-len(self.training[s]), s))
        low, high = BETWEEN
        some = [s for s in ranked[most:] if low <= len(self.training[s]) <= high]
        self.most, self.further = ranked[:most], shuffled(some, "likeness curve")[:further]
        self.heldout = {s: shuffled(heldout[s], "contexts", s)[:CONTEXTS] for s in able}
        self.options = {s: self._options(s) for s in (*self.most, *self.further)}
        self.judge = Likeness(
            {
                s: [p.response for p in shuffled(self.training[s], "judge", s)][:LIKENESS_REPLIES]
                for s in able
                if len(self.training[s]) >= 40
            },
            {s: [p.response for p in self.heldout[s]] for s in able},
        )
        self._base: dict[str, np.ndarray] = {}

    def _options(self, speaker: str) -> list[list[Pair]]:
        """Of each held-out pair: the own reply, and three of others to the same message, as long
        as it as far as there are.
        """
        others = [p for s, of in self.heldout.items() if s != speaker for p in of]
        result = []
        for pair in self.heldout[speaker]:
            near = near_in_length(pair, others)[: OPTIONS - 1]
            texts = [pair.response, *(other.response for other in near)]
            result.append(
                [
                    replace(pair, response=t, pair_id=f"{pair.pair_id}#{i}")
                    for i, t in enumerate(texts)
                ]
            )
        return result

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What was measured so far."""
        return [json.loads(line) for line in self.out.open()] if self.out.is_file() else []

    def tree(self, window: Sequence[Pair], draw: int) -> Tree:
        """The training tree of some pairs without any z."""
        nothing = {pair.pair_id: [Branch("0", None)] for pair in window}
        return self.run.decoder.tree(self.run.dialogues[window[0].dialogue], window, nothing)

    def trained(self, name: str, pairs: Sequence[Pair], size: int, start: Path | None) -> Path:
        """The folder of an adapter, trained if it is not there."""
        config = TrainConfig(pairs=size, passes=passes(size))
        folder = self.run.path(f"likeness_curve/{name}")
        if not (folder / "vvae.json").is_file():
            with self.run.reporter.task(f"training {name}") as tick:
                train(
                    self.run.decoder,
                    plan(pairs, config, seed=self.run.config.seed),
                    self.tree,
                    config,
                    folder,
                    seed=self.run.config.seed,
                    description={},
                    start=start,
                    progress=tick,
                )
        return folder

    def likelihoods(self, speaker: str, line: str | None) -> np.ndarray:
        """Mean nats a token of each option, shape (contexts, OPTIONS), negative."""
        asked = [option for options in self.options[speaker] for option in options]
        branches = {option.pair_id: [Branch("0", line)] for option in asked}
        losses = reply_losses(self.run.decoder, self.run.dialogues, asked, branches)
        each = [losses[f"{option.pair_id}|0"] for option in asked]
        return -np.asarray([nats / tokens for nats, tokens in each]).reshape(-1, OPTIONS)

    def score_base(self, speaker: str) -> None:
        """Measure the base model's likelihoods, which others are compared with; it is in use."""
        self._base[speaker] = self.likelihoods(speaker, None)

    def measure(self, speaker: str, way: str, size: int, line: str | None = None) -> None:
        """Measure the decoder as it stands and write it down."""
        run = self.run
        with run.reporter.task(f"measuring {way} {size} of {speaker}"):
            found = self.likelihoods(speaker, line)
            picked = {"picked": found.argmax(1) == 0}
            if way == "base":
                self._base[speaker] = found
            else:
                picked["picked_against_base"] = (found - self._base[speaker]).argmax(1) == 0
            requests = [
                run.decoder.prompter.request(run.dialogues[p.dialogue], p, line)
                for p in self.heldout[speaker]
            ]
            written = run.decoder.engine.complete(requests, run.generation, seed=run.config.seed)
        texts = [one.text for one in written]
        worth = self.judge.worth(speaker)
        together = self.judge.of(speaker, texts[:20])
        row = {
            "speaker": speaker,
            "way": way,
            "replies": size,
            "contexts": len(found),
            "loss": round(float(-found[:, 0].mean()), 4),
            **{name: round(float(hits.mean()), 4) for name, hits in picked.items()},
            "beaten": round(self.judge.beaten(speaker, texts), 4),
            "others_beaten": worth.auc,
            "twenty_among_own": together.among_own,
            "words": round(float(np.mean([len(text.split()) for text in texts])), 2),
            "human_words": round(
                float(np.mean([len(p.response.split()) for p in self.heldout[speaker]])), 2
            ),
        }
        with self.out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
        run.reporter.say(json.dumps(row))

    def make(self) -> None:
        """Measure every cell that was not measured yet, the most telling first."""
        run = self.run
        people = [*self.most, *self.further]
        left_out = set(people)
        everybody_else = [p for p in run.pairs if p.speaker not in left_out]
        common = self.trained("common", everybody_else, COMMON, None)
        known = {(row["speaker"], row["way"], row["replies"]) for row in self.rows}

        def missing(speaker: str, *ways: tuple[str, int]) -> bool:
            return any((speaker, way, size) not in known for way, size in ways)

        for speaker in people:
            ways = [(way, size) for size in self.sizes(speaker) for way in ("own", "common, own")]
            if not missing(speaker, ("base", 0), ("few-shot", 4), ("common", 0), *ways):
                continue
            run.decoder.drop_adapter()
            if missing(speaker, ("base", 0)):
                self.measure(speaker, "base", 0)
            else:
                self.score_base(speaker)
            if missing(speaker, ("few-shot", 4)):
                examples = training_examples(run.pairs, speaker, seed=run.config.seed)
                line = few_shot_lines(Persona(), run.space, examples)
                self.measure(speaker, "few-shot", 4, line)
            if missing(speaker, ("common", 0)):
                run.decoder.load_adapter(common)
                self.measure(speaker, "common", 0)
        cells = [(size, speaker) for speaker in people for size in self.sizes(speaker)]
        for size, speaker in sorted(cells, key=lambda cell: (cell[0], people.index(cell[1]))):
            for way, start in (("own", None), ("common, own", common)):
                if missing(speaker, (way, size)):
                    name = f"{way.replace(', ', '-')}-{people.index(speaker)}-{size}"
                    folder = self.trained(name, self.training[speaker], size, start)
                    run.decoder.load_adapter(folder)
                    self.measure(speaker, way, size)

    def sizes(self, speaker: str) -> tuple[int, ...]:
        """The numbers of a person's replies that are tried."""
        return SIZES if speaker in self.most else (len(self.training[speaker]),)


def anonymous(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with people called A, B, ... in the order in which they were measured."""
    names = list(dict.fromkeys(row["speaker"] for row in rows))
    return [{**row, "speaker": chr(ord("A") + names.index(row["speaker"]))} for row in rows]


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Likeness, the reply picked and the loss by the number of a person's replies."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"svg.hashsalt": "vvae", "font.size": 10})
    panels = (
        ("beaten", 100, "own reply is more like them, %"),
        ("picked", 100, "own reply picked among four, %"),
        ("loss", 1, "loss of own replies, nats a token"),
    )
    people = list(dict.fromkeys(row["speaker"] for row in rows))
    styles = dict(zip(people, ("-", "--", ":"), strict=False))
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8))
    for axis, (key, factor, title) in zip(axes, panels, strict=True):
        for person in people:
            of = {(row["way"], row["replies"]): row for row in rows if row["speaker"] == person}
            for way, colour in (("own", COLOURS["model"]), ("common, own", COLOURS["human"])):
                points = sorted((n, row[key]) for (w, n), row in of.items() if w == way)
                first = [of["base" if way == "own" else "common", 0][key]]
                x = [30, *(n for n, _ in points)]
                y = [factor * value for value in (*first, *(value for _, value in points))]
                label = f"{person}, {'own adapter' if way == 'own' else 'common, then own'}"
                axis.plot(x, y, styles[person], color=colour, marker="o", ms=4, label=label)
            if key == "beaten":
                others = 100 * of["base", 0]["others_beaten"]
                axis.axhline(others, color=COLOURS["soft"], ls=styles[person], lw=1)
        if key != "loss":
            axis.axhline(50 if key == "beaten" else 25, color=COLOURS["ink"], ls=":", lw=0.8)
        axis.set_xscale("log")
        sizes = sorted({row["replies"] for row in rows if row["way"] == "own"})
        axis.set_xticks([30, *sizes], ["none", *map(str, sizes)])
        axis.minorticks_off()
        axis.set_xlabel("replies of the person trained on")
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 0.08))
    figure.tight_layout()
    figure.savefig(path, facecolor="white", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--most", type=int, default=2)
    parser.add_argument("--further", type=int, default=8)
    parser.add_argument("--plot", type=Path, help="only draw what was measured, into this folder")
    args = parser.parse_args()
    if args.plot:
        lines = (Path(args.run) / "likeness_curve.jsonl").read_text("utf-8").splitlines()
        rows = anonymous([json.loads(line) for line in lines])
        text = "\n".join(map(json.dumps, rows))
        (args.plot / "likeness-curve.jsonl").write_text(text + "\n", "utf-8")
        plot(rows, args.plot / "likeness-curve.svg")
        return
    Curve(filled(args.run), args.most, args.further).make()


if __name__ == "__main__":
    main()
