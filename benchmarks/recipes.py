"""Which recipe lets z be read after the fewest replies? A sweep, measured against sightings.

    python -m benchmarks.recipes benchmarks/recipes.yaml --out recipes.jsonl
    python -m benchmarks.recipes benchmarks/recipes.yaml --out recipes.jsonl --plot recipes.svg

The file holds a run's config under `run` and the recipes by name: a variant, and what is changed of
the config's `train` and `decoder.lora`; `speakers: listed` trains on the replies of those who have
a catchphrase alone. At each mark (training pairs seen) a row says what was seen (pairs, and
sightings: replies in which the catchphrase was read) and, on the same held-out replies, the
likelihood of the human reply under the own, a swapped and no profile and under the posterior z, and
P(own catchphrase) under the own and a swapped profile. What stands in --out is not done again.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmarks.learning_curve import DIMENSION, evaluation_pairs, human_counts, measure, read
from vvae.config import RunConfig
from vvae.core.console import ConsoleReporter
from vvae.corpus.pairs import learned_pairs
from vvae.decoder.train import plan, train
from vvae.decoder.variants import Variant, resolve
from vvae.metrics.bootstrap import rate
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages


def changed(config: RunConfig, recipe: Mapping[str, Any]) -> RunConfig:
    """The run's config as a recipe changes it."""
    settings = config.model_dump(mode="json")
    settings["train"] |= recipe.get("train", {})
    settings["decoder"]["lora"] |= recipe.get("lora", {})
    return RunConfig.model_validate(settings)


def variant_of(recipe: Mapping[str, Any]) -> Variant:
    """The variant that a recipe trains."""
    known = resolve([recipe["variant"]])[0]
    return Variant.model_validate({**known.model_dump(), **recipe.get("but", {})})


def learn(run: Run, name: str, recipe: Mapping[str, Any], replies: int, out: Path) -> None:
    """Train one recipe and append a row at each of its marks."""
    config, variant = changed(run.config, recipe).train, variant_of(recipe)
    pairs = learned_pairs(run.valid_pairs, run.config.pairs)
    if recipe.get("speakers") == "listed":
        pairs = [pair for pair in pairs if pair.speaker in set(run.speakers)]
    steps, chosen = plan(pairs, config, seed=run.config.seed), evaluation_pairs(run, replies)
    marks = sorted(recipe["marks"])
    seen = {"pairs": 0, "sightings": 0}
    watch = {"since": time.perf_counter(), "spent": 0.0}

    def each_step(done: int) -> None:
        for window in steps[done - 1].windows:
            seen["pairs"] += len(window)
            posteriors = (run.posteriors[pair.pair_id] for pair in window)
            seen["sightings"] += sum(z.value(DIMENSION) is not None for z in posteriors)
        if not marks or (seen["pairs"] < marks[0] and done < len(steps)):
            return
        marks.pop(0)
        watch["spent"] += time.perf_counter() - watch["since"]
        row = {"recipe": name, **recipe, **seen, "seconds": round(watch["spent"])}
        row |= measure(run, variant, chosen)
        with out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
        run.reporter.say(json.dumps(row))
        run.decoder.model.train()
        watch["since"] = time.perf_counter()

    with run.reporter.task(f"training {name}") as tick:
        train(
            run.decoder,
            steps,
            partial(run.conditions(variant).training_tree, run.decoder),
            config.model_copy(update={"checkpoint_every": len(steps)}),
            run.path("recipes") / re.sub(r"\W+", "-", name),
            seed=run.config.seed,
            description={},
            progress=tick,
            each_step=each_step,
        )


def plot(rows: Sequence[Mapping[str, Any]], people: float, path: Path) -> None:
    """P(own phrase), and what the own profile is worth, against sightings."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
    colours = plt.get_cmap("tab10")
    for number, name in enumerate(dict.fromkeys(row["recipe"] for row in rows)):
        own = [row for row in rows if row["recipe"] == name]
        x = [row["sightings"] for row in own]
        colour = colours(number)
        for way, style in (("true", "-o"), ("swapped", ":")):
            y = [100 * row[f"p_{way}"] for row in own]
            left.plot(x, y, style, color=colour, ms=4, lw=1.3, label=name if way == "true" else "")
        error = [196 * row["p_true_se"] for row in own]
        left.errorbar(
            x,
            [100 * row["p_true"] for row in own],
            error,
            fmt="none",
            ecolor=colour,
            lw=0.8,
            capsize=2,
        )
        gain = [1000 * (row["loss_swapped"] - row["loss_true"]) for row in own]
        right.plot(x, gain, "-o", color=colour, ms=4, lw=1.3, label=name)
    left.axhline(100 * people, color="black", lw=1.4)
    left.set_ylabel("P(own catchphrase in the reply), %")
    left.set_title("solid: own profile; dotted: another's; black: people", fontsize=9)
    right.axhline(0, color="gray", lw=0.8)
    right.set_ylabel("loss, another's less own profile, nats/1,000 tokens")
    for axis in (left, right):
        axis.set_xlabel("sightings (training replies that show a catchphrase)")
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        frameon=False,
        fontsize=8,
        loc="upper center",
        ncols=2,
        bbox_to_anchor=(0.5, 0.02),
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", type=Path)
    parser.add_argument("--out", type=Path, default=Path("recipes.jsonl"))
    parser.add_argument("--replies", type=int, default=80, help="held-out replies measured on")
    parser.add_argument("--only", nargs="+", help="only these recipes")
    parser.add_argument("--plot", type=Path, help="draw the rows there are and stop")
    arguments = parser.parse_args()
    asked = yaml.safe_load(arguments.recipes.read_text("utf-8"))
    config = RunConfig.model_validate(asked["run"])
    done = read([arguments.out])
    reporter = ConsoleReporter(Console())
    run = Run(config, reporter=reporter)
    run_stages(run, until="profiles")
    if arguments.plot:
        phrases = {s: str(run.profiles[s].persona().value(DIMENSION)) for s in run.speakers}
        plot(done, rate(human_counts(run, phrases)), arguments.plot)
        return
    for name, recipe in asked["recipes"].items():
        finished = {row["recipe"] for row in done if row["pairs"] >= max(recipe["marks"])}
        if name in finished or (arguments.only and name not in arguments.only):
            continue
        # An adapter's rank is the decoder's own setting: each recipe loads its base anew.
        learn(
            Run(changed(config, recipe), reporter=reporter),
            name,
            recipe,
            arguments.replies,
            arguments.out,
        )


if __name__ == "__main__":
    main()
