"""Does SP+FT approach the rate that r predicts? Teacher-forced measures along training, for several
s.

    python benchmarks/learning_curve.py configs/learning-curve.yaml --pairs 2400 \
        --marks 0 300 600 1200 1800 2400

For each trained variant of the config, one training run; at each mark (training pairs seen), on the
same held-out replies: the likelihood of the human reply under the true, a swapped and no profile,
and the probability that the speaker's catchphrase stands in the reply, under the true and a swapped
profile. Rows are appended to `<run>/learning_curve.jsonl`; a second start goes on from the last
checkpoint. With --count N the trained adapters also write N of these replies, at temperature 1 and
with the usual truncation, and what they say is counted (`<run>/learning_curve_counts.jsonl`).
--wording and --place train and measure with another form of the z block. With --plot only the
figure is drawn, from the rows measured so far.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from rich.console import Console

from vvae.config import load_config
from vvae.core.console import ConsoleReporter
from vvae.core.dialogue import Pair
from vvae.corpus.pairs import benchmark_pairs
from vvae.decoder.conditions import Conditions
from vvae.decoder.model import Branch, Decoder, per_token
from vvae.decoder.train import TrainConfig, plan, train
from vvae.decoder.variants import Variant
from vvae.inference.prompts import PersonaLine
from vvae.latent.persona import Persona
from vvae.latent.sampling import predicted_rate
from vvae.metrics.bootstrap import Counts, Hit, bootstrap, interval, rate, tabulate
from vvae.metrics.human_chat import swapped_profile
from vvae.metrics.metric import shows
from vvae.metrics.teacher_forcing import phrase_probability, reply_losses
from vvae.metrics.text import spoken_length
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

DIMENSION = "catchphrase"
FIRST_RATE = 5e-4
"""The learning rate by default when rows were first measured: they are found by what differs."""


def sentences(block: str) -> str:
    """The z block in plain sentences: `Your tone is tender. Your catchphrase is oh wow.`"""
    return " ".join(f"Your {name} is {value}." for name, value in traits(block))


def alone(block: str) -> str | None:
    """The z block with nothing but the catchphrase."""
    return next(
        (f"[persona] {name}: {value}" for name, value in traits(block) if name == DIMENSION), None
    )


def traits(block: str) -> list[tuple[str, str]]:
    """(dimension, value) of a z block; a semicolon inside a value would split it."""
    return [
        (name, value)
        for name, _, value in (t.partition(": ") for t in block[len("[persona] ") :].split("; "))
    ]


WORDINGS: dict[str, Callable[[str], str | None]] = {
    "persona": str,
    "sentences": sentences,
    "alone": alone,
}


class Reworded(Conditions):
    """Conditions whose persona lines read differently."""

    wording = "persona"

    def line(self, pair: Pair, speaker: str, persona: Persona | None) -> PersonaLine:
        """Return the persona line, reworded."""
        line = super().line(pair, speaker, persona)
        return WORDINGS[self.wording](line) if isinstance(line, str) else line


class RewordedRun(Run):
    """A run whose persona lines read differently, or stand at the end of the last user message."""

    wording, place = "persona", "own"

    @cached_property
    def decoder(self) -> Decoder:
        """The base model, with the place of z as chosen."""
        decoder = super().decoder
        if self.place == "user":
            frame = decoder.prompter.frame
            decoder.prompter.frame = replace(
                frame, late_system=False, before_z="\n\n", after_z=frame.generation
            )
        return decoder

    def _new_conditions(self, variant: Variant) -> Conditions:
        reworded = Reworded(
            variant, lambda: self.corpus, self.config.sampling, seed=self.config.seed
        )
        reworded.wording = self.wording
        return reworded


def evaluation_pairs(run: Run, number: int) -> list[tuple[Pair, str]]:
    """Held-out pairs of speakers who have a catchphrase, each with the speaker whose profile is
    swapped in.
    """
    speakers = [s for s in run.speakers if run.profiles[s].persona().value(DIMENSION)]
    pairs = benchmark_pairs(run.pairs, speakers, total=number, per_speaker=15, seed=run.config.seed)
    others = [(pair, swapped_profile(pair, speakers, run.profiles, DIMENSION)) for pair in pairs]
    return [(pair, other) for pair, other in others if other is not None]


def measure(run: Run, variant: Variant, chosen: Sequence[tuple[Pair, str]]) -> dict[str, Any]:
    """All measures of the decoder as it stands."""
    asked: dict[str, list[Branch]] = {}
    phrases: dict[str, list[tuple[Branch, str]]] = {}
    for pair, other in chosen:
        true = Branch("true", run.conditions(variant).test_line(pair, pair.speaker))
        swapped = Branch("swapped", run.conditions(variant).test_line(pair, other))
        posterior = Branch("posterior", run.conditions(variant).training_line(pair, 0))
        asked[pair.pair_id] = [true, swapped, posterior, Branch("none", None)]
        phrase = str(run.profiles[pair.speaker].persona().value(DIMENSION))
        phrases[pair.pair_id] = [(true, phrase), (swapped, phrase)]
    pairs = [pair for pair, _ in chosen]
    losses = reply_losses(run.decoder, run.dialogues, pairs, asked)
    said = phrase_probability(run.decoder, run.dialogues, pairs, phrases)
    found: dict[str, Any] = {"n": len(pairs)}
    for name in ("true", "swapped", "posterior", "none"):
        rows = [losses[f"{pair.pair_id}|{name}"] for pair in pairs]
        found[f"loss_{name}"] = round(per_token(rows), 4)
    for name in ("true", "swapped"):
        values = np.array([said[f"{pair.pair_id}|{name}"] for pair in pairs])
        found[f"p_{name}"] = round(float(values.mean()), 4)
        found[f"p_{name}_se"] = round(float(values.std(ddof=1) / len(values) ** 0.5), 4)
    return found


def curve(
    run: RewordedRun,
    variant: Variant,
    marks: Sequence[int],
    chosen: Sequence[tuple[Pair, str]],
    out: Path,
) -> Path:
    """Trains one variant and measures it at the marks not measured yet; returns the folder of its
    adapter.
    """
    config = run.config.train
    steps = plan(run.pairs, config, seed=run.config.seed)
    seen = list(accumulate(sum(len(window) for window in step.windows) for step in steps))
    at: dict[int, list[int]] = {}
    for mark in filter(None, marks):
        at.setdefault(
            next((i + 1 for i, total in enumerate(seen) if total >= mark), len(steps)), []
        ).append(mark)
    models = (config, run.config.decoder, variant)
    form = [] if (run.wording, run.place) == ("persona", "own") else [run.wording, run.place]
    settings = json.dumps([*(_changed_settings(model) for model in models), len(chosen), *form])
    made = blake2b(settings.encode(), digest_size=4).hexdigest()
    known = {(row["variant"], row["mark"]) for row in read([out]) if row["settings"] == made}
    decoder = run.decoder
    chosen_s = run.config.sampling.probability(DIMENSION) if variant.s is None else variant.s

    shape = {"learning_rate": config.learning_rate, "wording": run.wording, "place": run.place}

    def record(mark: int, pairs: int) -> None:
        if (variant.name, mark) in known:
            return
        with run.reporter.task(f"measuring {variant.name} after {pairs} pairs"):
            found = measure(run, variant, chosen)
        s = chosen_s if variant.z == "sampled" else 0.0
        row = {
            "variant": variant.name,
            "s": s,
            "mark": mark,
            "pairs": pairs,
            "settings": made,
            **shape,
            **found,
        }
        with out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
        run.reporter.say(json.dumps(row))
        decoder.model.train()

    def each_step(done: int) -> None:
        for mark in at.get(done, ()):
            record(mark, seen[done - 1])

    if 0 in marks:
        decoder.drop_adapter()
        record(0, 0)
    folder = run.path(f"learning_curve/{variant.name}-{made}")
    if (folder / "vvae.json").is_file():
        return folder
    with run.reporter.task(f"training {variant.name}") as tick:
        tick_: Callable[..., None] = tick
        train(
            decoder,
            steps,
            partial(run.conditions(variant).training_tree, run.decoder),
            config,
            folder,
            seed=run.config.seed,
            description={},
            progress=tick_,
            each_step=each_step,
        )
    return folder


def _changed_settings(model: BaseModel) -> dict[str, Any]:
    """The settings that are not at their defaults, those of the rate at the time of the first
    rows.
    """
    changed = model.model_dump(exclude_defaults=True)
    if isinstance(model, TrainConfig):
        changed.pop("learning_rate", None)
        if model.learning_rate != FIRST_RATE:
            changed = {"learning_rate": model.learning_rate, **changed}
    return changed


def count(run: Run, variant: Variant, adapter: Path, chosen: Sequence[Pair], out: Path) -> None:
    """Replies under the own profile, at temperature 1 and with the usual truncation: how many hold
    the catchphrase.
    """
    decoder = run.decoder
    known = {(row["adapter"], row["temperature"], row["n"]) for row in read([out])}
    decoder.load_adapter(adapter)
    phrases = {
        pair.speaker: str(run.profiles[pair.speaker].persona().value(DIMENSION)) for pair in chosen
    }
    human = human_counts(run, phrases)
    requests = [
        decoder.prompter.request(
            run.dialogues[p.dialogue], p, run.conditions(variant).test_line(p, p.speaker)
        )
        for p in chosen
    ]
    for temperature, top_p in ((1.0, 1.0), (0.8, 0.95)):
        if (adapter.name, temperature, len(chosen)) in known:
            continue
        setting = run.generation.model_copy(update={"temperature": temperature, "top_p": top_p})
        with run.reporter.task(f"writing replies: {variant.name} at {temperature}/{top_p}") as tick:
            written = decoder.engine.complete(
                requests, setting, seed=run.config.seed, progress=tick
            )
        table = tabulate(
            Hit(p.speaker, p.dialogue, shows("CP", phrases[p.speaker], c.text))
            for p, c in zip(chosen, written, strict=True)
        )
        samples = bootstrap({"model": table, "human": human}, seed=run.config.seed)
        found = {
            "variant": variant.name,
            "adapter": adapter.name,
            "temperature": temperature,
            "top_p": top_p,
            "n": len(chosen),
            "hits": sum(hits for dialogues in table.values() for hits, _ in dialogues.values()),
            "rate": round(rate(table), 4),
            "interval": [round(x, 4) for x in interval(samples["model"])],
            "human": round(rate(human), 4),
            "deviation_interval": [
                round(x, 4) for x in interval(samples["model"] - samples["human"])
            ],
            "words": round(spoken_length([c.text for c in written]), 1),
            "human_words": round(spoken_length([p.response for p in chosen]), 1),
            "cut": sum(c.finish_reason == "length" for c in written),
        }
        with out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(found) + "\n")
        run.reporter.say(json.dumps(found))


def human_counts(run: Run, phrases: Mapping[str, str]) -> Counts:
    """CP of the speakers' own held-out replies, as counts."""
    held = [p for p in run.pairs if p.split == "heldout" and p.speaker in phrases]
    return tabulate(
        Hit(p.speaker, p.dialogue, shows("CP", phrases[p.speaker], p.response)) for p in held
    )


def read(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows of result files, those that exist."""
    return [
        json.loads(line)
        for file in files
        if file.is_file()
        for line in file.read_text("utf-8").splitlines()
    ]


def plot(rows: Sequence[Mapping[str, Any]], target: float, r: float, path: Path) -> None:
    """P(catchphrase) under the true and a swapped profile against training pairs, and what z is
    worth in nats.

    Runs measured at one mark only are in the tables, not in the figure.
    """
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    runs = list(dict.fromkeys((row["variant"], row["settings"]) for row in rows))
    curves = [[row for row in rows if (row["variant"], row["settings"]) == run] for run in runs]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2))
    colours = plt.get_cmap("tab10")
    for index, own in enumerate(curve for curve in curves if len(curve) > 1):
        name, colour = own[0]["variant"], colours(index)
        x = [row["pairs"] * (1 + 0.012 * index) for row in own]  # side by side
        for key, style in (("true", "-o"), ("swapped", ":s")):
            y = [100 * row[f"p_{key}"] for row in own]
            error = [196 * row[f"p_{key}_se"] for row in own]
            left.errorbar(
                x,
                y,
                error,
                fmt=style,
                color=colour,
                ms=4,
                lw=1.2,
                capsize=2,
                label=f"{name}, {key} profile",
            )
        if own[-1]["s"] > 0:
            left.axhline(100 * predicted_rate(r, own[-1]["s"]), color=colour, lw=0.8, ls="--")
        gain = [row["loss_swapped"] - row["loss_true"] for row in own]
        right.plot(x, gain, "-o", color=colour, ms=4, lw=1.2, label=name)
    left.axhline(100 * target, color="black", lw=1.4)
    left.set_ylabel("P(own catchphrase in the reply), %")
    left.set_title(
        "black: people; dashed: predicted from r (P+FT: 100 %); 0: base model", fontsize=9
    )
    right.axhline(0, color="gray", lw=0.8)
    right.set_ylabel("gain of the own profile over another, nats/token")
    left.set_ylim(0, 1.5 * left.get_ylim()[1])
    for axis in (left, right):
        axis.set_xlabel("training pairs")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--marks", type=int, nargs="+", default=[0, 300, 600, 1200, 1800, 2400])
    parser.add_argument(
        "--pairs", type=int, help="training pairs; train.pairs of the config by default"
    )
    parser.add_argument("--replies", type=int, default=60, help="held-out replies measured on")
    parser.add_argument(
        "--count", type=int, default=0, help="replies written by each trained adapter and counted"
    )
    parser.add_argument(
        "--wording", choices=WORDINGS, default="persona", help="how the z block reads"
    )
    parser.add_argument(
        "--place", choices=("own", "user"), default="own", help="where the z block stands"
    )
    parser.add_argument("--only", nargs="+", help="only these variants")
    parser.add_argument(
        "--plot", type=Path, help="draw the rows measured so far into this SVG file and stop"
    )
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    if arguments.pairs:
        config = config.model_copy(
            update={"train": config.train.model_copy(update={"pairs": arguments.pairs})}
        )
    run = RewordedRun(config, reporter=ConsoleReporter(Console()))
    run.wording, run.place = arguments.wording, arguments.place
    run_stages(run, until="profiles")
    out = run.path("learning_curve.jsonl")
    if arguments.plot:
        values = {s: run.profiles[s].persona().value(DIMENSION) for s in run.speakers}
        human = human_counts(run, {s: value for s, value in values.items() if value})
        plot(read([out]), rate(human), run.prior[DIMENSION].rate, arguments.plot)
        return
    chosen = evaluation_pairs(run, arguments.replies)
    for variant in run.variants:
        if variant.trained and (not arguments.only or variant.name in arguments.only):
            adapter = curve(run, variant, arguments.marks, chosen, out)
            if arguments.count:
                counted = [pair for pair, _ in evaluation_pairs(run, arguments.count)]
                count(run, variant, adapter, counted, run.path("learning_curve_counts.jsonl"))


if __name__ == "__main__":
    main()
