"""Trains the variants of a packed run on a machine that has a GPU and nothing of the chats.

    PYTHONPATH=src:site python -m benchmarks.learn_on_gpu BASE_MODEL_FOLDER --out learned

`pack_for_gpu.py` says what is packed and how. At each of --marks (pairs seen) a row is appended to
`learned/curve.jsonl`: losses of people's replies under the own, a swapped and no profile and under
the posterior z, and P(own catchphrase) under the own and a swapped profile. At the end each variant
writes --write replies, and a row says how many hold the catchphrase that was shown. A second start
goes on from the last checkpoint. Adapters lie under `learned/` in PEFT's layout.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from vvae.core.dialogue import Pair
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Decoder, DecoderConfig, LoraConfig, per_token
from vvae.decoder.phrases import Tries
from vvae.decoder.train import Step, TrainConfig, train
from vvae.decoder.trees import Node, Tree
from vvae.inference.engine import GenerationConfig, Request
from vvae.latent.readers import reader
from vvae.metrics.teacher_forcing import said

WAYS = ("true", "swapped", "posterior", "none")


def tree_of(row: Sequence[Any]) -> Tree:
    """A tree from its lists."""
    return Tree(tuple(Node(key, tuple(ids), *rest) for key, ids, *rest in row))


def tries_of(row: Sequence[Any]) -> Tries:
    """Phrases tried in a tree."""
    tree, branches, spaced, places = row
    return Tries(tree_of(tree), tuple(branches), tuple(spaced), tuple(map(tuple, places)))


def steps_of(rows: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[list[Step], dict[str, Any]]:
    """The steps of a training, and the tree of each of their windows by its first pair's name."""
    trees: dict[str, Any] = {}
    steps = []
    for number, step in enumerate(rows):
        windows = []
        for place, window in enumerate(step):
            name = f"{number}.{place}"
            trees[name] = window["tree"]
            pair = Pair(name, name, 0, 0, "", (), "train", "")
            windows.append((pair,) * window["pairs"])
        steps.append(Step(tuple(windows), 0))
    return steps, trees


def measure(decoder: Decoder, packed: Mapping[str, Any]) -> dict[str, Any]:
    """All measures of the decoder as it stands."""
    losses = decoder.losses([tree_of(row) for row in packed["losses"]])
    phrases = said(decoder, [tries_of(row) for row in packed["tries"]])
    found: dict[str, Any] = {"n": len(packed["losses"])}
    for way in WAYS:
        rows = [row for key, row in losses.items() if key.endswith(f"|{way}")]
        found[f"loss_{way}"] = round(per_token(rows), 4)
    for way in WAYS[:2]:
        values = np.array([p for key, p in phrases.items() if key.endswith(f"|{way}")])
        found[f"p_{way}"] = round(float(values.mean()), 4)
        found[f"p_{way}_se"] = round(float(values.std(ddof=1) / len(values) ** 0.5), 4)
    return found


def count(
    decoder: Decoder, packed: Mapping[str, Any], number: int, tokens: int, seed: int
) -> dict[str, Any]:
    """How many of the replies that the decoder writes hold the catchphrase shown."""
    prompts = packed["prompts"][:number]
    requests = [Request(row["key"], tuple(row["prompt"])) for row in prompts]
    settings = GenerationConfig(temperature=1.0, top_p=1.0, max_new_tokens=tokens)
    settings = settings.model_copy(update={"batch_tokens": 65_536})
    start = time.perf_counter()
    written = decoder.engine.complete(requests, settings, seed=seed)
    spent = time.perf_counter() - start
    catchphrase = reader("catchphrase")  # as CP counts it
    hits = [
        catchphrase.shows(row["phrase"], c.text) for row, c in zip(prompts, written, strict=True)
    ]
    return {
        "written": len(hits),
        "hits": sum(map(bool, hits)),
        "words": round(sum(len(c.text.split()) for c in written) / len(written), 1),
        "tokens_per_s": round(sum(c.tokens for c in written) / spent),
    }


Note = Callable[..., None]


def learn(
    name: str,
    packed: Mapping[str, Any],
    decoder: Decoder,
    folder: Path,
    note: Note,
    *,
    asked: Sequence[int],
) -> None:
    """Train one variant, and measure it at the marks."""
    variant = packed["variants"][name]
    steps, trees = steps_of(variant["steps"])
    seen, sightings = (
        list(accumulate(sum(window[what] for window in step) for step in variant["steps"]))
        for what in ("pairs", "sightings")
    )
    last = len(seen) - 1
    marks = {last, *(next((i for i, n in enumerate(seen) if n >= mark), last) for mark in asked)}
    watch = {"since": time.perf_counter(), "spent": 0.0}

    def each_step(done: int) -> None:
        if done - 1 not in marks:
            return
        watch["spent"] += time.perf_counter() - watch["since"]
        where = {"pairs": seen[done - 1], "sightings": sightings[done - 1]}
        seconds = round(watch["spent"], 1)
        note(variant=name, **where, seconds=seconds, **measure(decoder, variant))
        decoder.model.train()
        watch["since"] = time.perf_counter()

    train(
        decoder,
        steps,
        lambda window, _: tree_of(trees[window[0].pair_id]),
        TrainConfig(**packed["train"]),
        folder,
        seed=variant["seed"],
        description={"variant": name},
        each_step=each_step,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of the base model")
    parser.add_argument("--packed", type=Path, default=Path("learn.json.gz"))
    parser.add_argument("--out", type=Path, default=Path("learned"))
    parser.add_argument("--marks", type=int, nargs="*", default=[1600, 3200, 6400, 12_800])
    parser.add_argument("--write", type=int, default=200)
    parser.add_argument("--only", nargs="+", help="only these variants")
    arguments = parser.parse_args()
    with gzip.open(arguments.packed, "rt", encoding="utf-8") as file:
        packed = json.load(file)
    arguments.out.mkdir(parents=True, exist_ok=True)
    decoder = load_decoder(DecoderConfig(model=arguments.model, lora=LoraConfig(**packed["lora"])))

    def note(**row: Any) -> None:
        print(json.dumps(row), flush=True)
        with (arguments.out / "curve.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")

    note(people=packed["people"], device=str(decoder.device), train=packed["train"])
    for name, variant in packed["variants"].items():
        folder = arguments.out / name
        if (arguments.only and name not in arguments.only) or (folder / "vvae.json").is_file():
            continue
        learn(name, packed, decoder, folder, note, asked=arguments.marks)
        if arguments.write:
            tokens = packed["max_new_tokens"]
            note(variant=name, **count(decoder, variant, arguments.write, tokens, packed["seed"]))


if __name__ == "__main__":
    main()
