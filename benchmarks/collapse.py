"""What do the benchmark's figures say of models that one knows?

Bodies of replies made from people's own, each with a known fault, are measured as a variant's are.

    python -m benchmarks.collapse CONFIG --out docs/figures

    the people again      their own held-out replies to other messages
    without the phrase    their own replies, the speaker's phrase taken out: z never shows
    always the phrase     their own replies, each with the phrase in front: z always shows
    at the right rate     others' replies, the phrase in front of a share r_s of them: nothing of
                          the person but a phrase, as often as the person has it
    somebody else         others' replies as they are
    one reply for all     "ok then", the phrase in front of a share r_s

Writes collapse.json: of each figure people's value, and each body's deviation with its interval.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vvae.config import load_config
from vvae.core.console import ConsoleReporter
from vvae.core.dialogue import Pair
from vvae.core.files import write_json
from vvae.core.random import index_below, shuffled, uniform
from vvae.core.text import find_phrase
from vvae.evaluation.study import habit_rows, heldout_replies, tables_of
from vvae.metrics.claims import summarize
from vvae.metrics.habits import compare
from vvae.metrics.likeness import Likeness, within
from vvae.metrics.metric import WrittenReply
from vvae.pipeline.run import Run

EACH = 15
"""Replies of a speaker in a body."""
Text = Callable[[Pair], str]


class Bodies:
    """The bodies of replies, each to the same messages of the same people."""

    def __init__(self, run: Run) -> None:
        self.phrases = {
            speaker: str(value)
            for speaker in run.speakers
            if (value := run.profiles[speaker].persona().value("catchphrase"))
        }
        training: dict[str, list[str]] = defaultdict(list)
        heldout: dict[str, list[Pair]] = defaultdict(list)
        for pair in run.valid_pairs:
            if pair.speaker in self.phrases and pair.split == "train":
                training[pair.speaker].append(pair.response)
            elif pair.speaker in self.phrases:
                heldout[pair.speaker].append(pair)
        self.rates = {
            speaker: sum(find_phrase(phrase, text) is not None for text in training[speaker])
            / len(training[speaker])
            for speaker, phrase in self.phrases.items()
        }
        self.training = training
        self.heldout = {s: shuffled(of, "collapse", s) for s, of in heldout.items()}
        self.pairs = [pair for of in self.heldout.values() for pair in of[:EACH]]
        self.others = [pair for of in self.heldout.values() for pair in of[EACH:]]

    def spliced(self, pair: Pair, text: str, rate: float) -> str:
        """A text with the speaker's phrase in front of it, in a share of them."""
        put = uniform("splice", pair.pair_id) < rate
        return f"{self.phrases[pair.speaker]} {text}" if put else text

    def foreign(self, pair: Pair, *, without: bool = False) -> str:
        """A reply of somebody else, to another message; `without` the speaker's phrase."""
        able = [other for other in self.others if other.speaker != pair.speaker]
        if without:
            phrase = self.phrases[pair.speaker]
            able = [other for other in able if not find_phrase(phrase, other.response)]
        return able[index_below(len(able), "foreign", pair.pair_id)].response

    def again(self, pair: Pair) -> str:
        """Another held-out reply of the same person."""
        of = self.heldout[pair.speaker][:EACH]
        return of[of.index(pair) - 1].response

    def without(self, pair: Pair) -> str:
        """The reply without the speaker's phrase."""
        pattern = re.escape(self.phrases[pair.speaker]).replace(r"\ ", r"\s+")
        return re.sub(pattern, "", pair.response, flags=re.IGNORECASE).strip()

    @property
    def made(self) -> Mapping[str, Text]:
        """Name -> what stands in place of a reply."""
        return {
            "the people again": self.again,
            "without the phrase": self.without,
            "always the phrase": lambda p: self.spliced(p, self.without(p), 1.0),
            "at the right rate": lambda p: self.spliced(
                p, self.foreign(p, without=True), self.rates[p.speaker]
            ),
            "somebody else": self.foreign,
            "one reply for all": lambda p: self.spliced(p, "ok then", self.rates[p.speaker]),
        }


def measured(run: Run, bodies: Bodies) -> dict[str, Any]:
    """Figure -> people's value, and each body's with its deviation."""
    written = {
        name: [WrittenReply(pair, pair.speaker, text(pair)) for pair in bodies.pairs]
        for name, text in bodies.made.items()
    }
    people = [reply for reply in heldout_replies(run) if reply.profile in bodies.phrases]
    options: dict[str, Any] = {"resamples": 2000, "seed": run.config.seed}
    rows = habit_rows("human", 0, run, None, people)
    for name, replies in written.items():
        rows += habit_rows(name, 0, run, None, replies)
    rates = summarize(tables_of([row for row in rows if row.measure == "CP"]), **options)["CP"]
    found: dict[str, Any] = {"n": len(bodies.pairs), "speakers": len(bodies.phrases)}
    found["figures"] = {
        "CP": {
            "people": rates["human"]["estimate"],
            **{
                name: [rates[name][key] for key in ("deviation", "deviation_low", "deviation_high")]
                for name in written
            },
        }
    }
    figures = compare(run.corpus, list(bodies.phrases), written, **options)
    for name, figure in figures.items():
        found["figures"][name] = {
            "title": figure.title,
            "people": figure.human.value,
            **{body: [one.deviation, one.low, one.high] for body, one in figure.variants.items()},
        }
    found["figures"]["likeness"] = likeness(bodies, written)
    return found


def likeness(bodies: Bodies, written: Mapping[str, Sequence[WrittenReply]]) -> dict[str, Any]:
    """How often a person's own reply is more like them than one of a body, above one half."""
    judge = Likeness(
        bodies.training,
        {s: [pair.response for pair in of[EACH:]] for s, of in bodies.heldout.items()},
    )
    able = [s for s, of in bodies.heldout.items() if len(of) > EACH]
    result: dict[str, Any] = {"title": "own reply is more like them, over one half", "people": 0.5}
    for name, replies in written.items():
        texts: dict[str, list[str]] = defaultdict(list)
        for reply in replies:
            texts[reply.profile].append(reply.text)
        shares = [judge.beaten(speaker, texts[speaker]) - 0.5 for speaker in able]
        low, high = within(shares)
        result[name] = [round(sum(shares) / len(shares), 4), round(low, 4), round(high, 4)]
    return result


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    run = Run(load_config(args.config), reporter=ConsoleReporter(Console(stderr=True)))
    run.make(until="profiles")
    found = measured(run, Bodies(run))
    write_json(args.out / "collapse.json", found)
    for name, of in found["figures"].items():
        print(name, {k: v for k, v in of.items() if k != "title"})


if __name__ == "__main__":
    main()
