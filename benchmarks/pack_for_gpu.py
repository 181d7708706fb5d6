"""Packs what a machine with a GPU needs, and nothing of the chats' machinery, into one file.

    python -m benchmarks.pack_for_gpu --python 3.12 --out vvae-gpu.tar.gz              # for gpu.py
    python -m benchmarks.pack_for_gpu configs/learn.yaml --python 3.12 --out vvae-gpu.tar.gz

On that machine, which has torch, transformers and peft:

    tar xzf vvae-gpu.tar.gz
    PYTHONPATH=src:site python -m benchmarks.gpu --out gpu.jsonl
    PYTHONPATH=src:site python -m benchmarks.learn_on_gpu BASE_MODEL_FOLDER --out learned

With a config its chats are read, encoded and counted here; then every training tree of each variant
is written as token ids, and so are the trees on which they are measured (the likelihood of people's
replies, and their catchphrase tried at each place of them) and the prompts of the replies they are
to write. The file holds people's chat: it goes where the run folder may go.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.learning_curve import DIMENSION, evaluation_pairs, human_counts
from vvae.config import load_config
from vvae.core.console import ConsoleReporter
from vvae.corpus.pairs import learned_pairs
from vvae.decoder.model import Branch
from vvae.decoder.phrases import with_tries
from vvae.decoder.train import plan
from vvae.decoder.trees import Tree
from vvae.decoder.variants import Variant
from vvae.metrics.bootstrap import rate
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

ROOT = Path(__file__).parent.parent
CARRIED = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "emoji")
"""What vvae's training imports besides torch, transformers and peft."""
SCRIPTS = ("__init__", "attention_speed", "gpu", "learn_on_gpu")


def wheels(python: str, into: Path) -> None:
    """Unpack the packages that are carried, for a version of Python on Linux."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["pip", "download", "--quiet", "--no-deps", "--dest", folder]
        command += ["--only-binary=:all:", "--platform", "manylinux2014_x86_64"]
        command += ["--python-version", python, "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*command, *CARRIED], check=True)
        for wheel in Path(folder).glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(into)


def tree_row(tree: Tree) -> list[Any]:
    """A tree as lists."""
    return [[node.key, node.tokens, node.parent, node.cut, node.supervised] for node in tree.nodes]


def training_rows(run: Run, variant: Variant) -> list[list[dict[str, Any]]]:
    """The steps of a variant's training: its windows as trees, with what is seen in them."""
    config = run.config
    pairs = learned_pairs(run.valid_pairs, config.pairs)
    build = partial(run.conditions(variant).training_tree, run.decoder)
    return [
        [
            {
                "tree": tree_row(build(window, step.draw)),
                "pairs": len(window),
                "sightings": sum(
                    run.posteriors[pair.pair_id].value(DIMENSION) is not None for pair in window
                ),
            }
            for window in step.windows
        ]
        for step in plan(pairs, config.train, seed=config.seed + variant.seed)
    ]


def measured_rows(run: Run, variant: Variant, number: int) -> dict[str, Any]:
    """What a variant is measured on: held-out replies, phrases tried in them, prompts."""
    conditions, decoder = run.conditions(variant), run.decoder
    losses, tries, prompts = [], [], []
    for pair, other in evaluation_pairs(run, number):
        own = Branch("true", conditions.test_line(pair, pair.speaker))
        swapped = Branch("swapped", conditions.test_line(pair, other))
        posterior = Branch("posterior", conditions.training_line(pair, 0))
        ways = {pair.pair_id: [own, swapped, posterior, Branch("none", None)]}
        dialogue, phrase = run.dialogues[pair.dialogue], _phrase(run, pair.speaker)
        losses.append(tree_row(decoder.tree(dialogue, [pair], ways)))
        tried = with_tries(
            decoder, decoder.tree(dialogue, [pair], {pair.pair_id: [own, swapped]}), [phrase] * 2
        )
        tries.append([tree_row(tried.tree), *tried[1:]])
        prompts.append(
            {
                "speaker": pair.speaker,
                "phrase": phrase,
                "key": pair.pair_id,
                "prompt": decoder.prompter.request(dialogue, pair, own.line).prompt,
            }
        )
    return {"losses": losses, "tries": tries, "prompts": prompts}


def _phrase(run: Run, speaker: str) -> str:
    return str(run.profiles[speaker].persona().value(DIMENSION)).casefold()


def experiment(config: Path, number: int) -> dict[str, Any]:
    """Everything that `learn_on_gpu.py` needs of a run."""
    run = Run(load_config(config), reporter=ConsoleReporter(Console(stderr=True)))
    run_stages(run, until="profiles")
    people = human_counts(run, {speaker: _phrase(run, speaker) for speaker in run.speakers})
    return {
        "train": run.config.train.model_dump(mode="json"),
        "lora": run.config.decoder.lora.model_dump(mode="json"),
        "seed": run.config.seed,
        "max_new_tokens": run.generation.max_new_tokens,
        "people": rate(people),
        "variants": {
            variant.name: {
                "seed": run.config.seed + variant.seed,
                "steps": training_rows(run, variant),
                **measured_rows(run, variant, number),
            }
            for variant in run.variants
            if variant.trained
        },
    }


def archive(out: Path, python: str, packed: dict[str, Any] | None) -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(out, "w:gz") as tar:
        site = Path(folder) / "site"
        wheels(python, site)
        tar.add(site, "site")
        for path in _sources():
            tar.add(path, str(path.relative_to(ROOT)))
        if packed is not None:
            learn = Path(folder) / "learn.json.gz"
            with gzip.open(learn, "wt", encoding="utf-8", compresslevel=6) as file:
                json.dump(packed, file, separators=(",", ":"))
            tar.add(learn, "learn.json.gz")


def _sources() -> Iterable[Path]:
    yield from (ROOT / "benchmarks" / f"{name}.py" for name in SCRIPTS)
    package: Sequence[Path] = sorted((ROOT / "src" / "vvae").rglob("*"))
    yield from (path for path in package if path.is_file() and "__pycache__" not in path.parts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, nargs="?", help="pack the training of this run too")
    parser.add_argument(
        "--python", default="3.12", help="the version of Python on the other machine"
    )
    parser.add_argument("--replies", type=int, default=200, help="held-out replies measured on")
    parser.add_argument("--out", type=Path, default=Path("vvae-gpu.tar.gz"))
    arguments = parser.parse_args()
    packed = experiment(arguments.config, arguments.replies) if arguments.config else None
    archive(arguments.out, arguments.python, packed)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
