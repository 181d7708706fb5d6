"""The trained head of the dimension tone, made again from its data, with its card.

    python -m benchmarks.train_head --goemotions DIR --cped valid_split.csv --topicalchat DIR

goemotions    train.tsv, dev.tsv, labels.txt (Demszky et al. 2020, Apache-2.0). A tenth of train is
              held out by comment and looked at once, at the end; dev is for choices
cped          valid_split.csv (Chen et al. 2022, Apache-2.0), halved by dialogue as in
              `audit_data.py`: the test half is looked at once, at the end
topicalchat   valid_freq.json, valid_rare.json (Gopalakrishnan et al. 2019, CDLA-Sharing-1.0): the
              writers' own sentiments, for a test alone

Where a comment has an emotion that no tone stands for, naming any tone there counts as wrong.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.audit_data import TONES, TOPICAL_CHAT, comments, cped, topicalchat
from vvae.core.random import uniform
from vvae.encoders.embedder import Embedder
from vvae.encoders.rules.heads import SCALE

CPED = {
    "happy": "excited",
    "grateful": "grateful",
    "anger": "annoyed",
    "disgust": "annoyed",
    "sadness": "sad",
    "depress": "sad",
    "fear": "worried",
    "worried": "worried",
    "astonished": "surprised",
    "neutral": None,
}
"""The other emotions (relaxed, other positive and negative ones) are left out."""
LABELS = tuple(TONES)
BATCH = 256
UNITS = {"spaced": 64, "unspaced": 32}
STEPS = {"spaced": 2400, "unspaced": 600}
PRECISION = {"spaced": (0.75, 0.65, 0.55), "unspaced": (0.55, 0.50, 0.45)}
"""What a label's readings must reach where its threshold is chosen: the first that it can. A label
that reaches none is not named.
"""
FLOOR = 0.3
"""No threshold is lower: what is hardly likely in one kind of text is noise in another."""
LEAST = {"spaced": 0.50, "unspaced": 0.45}
"""Held out, a label whose readings are right less often is switched off."""
SEEN = 20
"""Readings that a threshold must rest on, and utterances that a label must have to be learnt."""

Floats = NDArray[np.float32]


class Labelled:
    """Texts with the tones that are right for each, shape (n, labels), and what they are of."""

    def __init__(self, rows: list[tuple[str, set[str], str]]) -> None:
        self.texts = [text for text, _, _ in rows]
        self.gold = np.asarray([[float(t in right) for t in LABELS] for _, right, _ in rows], "f4")
        self.groups = [group for _, _, group in rows]

    def part(self, chosen: list[bool]) -> Labelled:
        """Return the rows that are chosen."""
        rows = zip(self.texts, self.gold, self.groups, chosen, strict=True)
        return Labelled(
            [(t, {x for x, y in zip(LABELS, g, strict=True) if y}, k) for t, g, k, c in rows if c]
        )


def goemotions(folder: Path, split: str) -> Labelled:
    """Return a split; the group of a comment is itself."""
    rows = comments(folder / f"{split}.tsv")
    return Labelled([(r["text"], {*r["label"]} - {"none"}, r["dialogue"]) for r in rows])


def mapped(rows: Iterable[dict[str, Any]], tones: Mapping[str, str | None]) -> Labelled:
    """Return the rows whose label is mapped; the group is the dialogue."""
    return Labelled(
        [
            (row["text"], {tone} if (tone := tones[row["label"]]) else set(), row["dialogue"])
            for row in rows
            if row["label"] in tones
        ]
    )


def learn(
    sets: list[tuple[Floats, Floats, list[int]]], script: str, seed: int = 0
) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    """Return the two layers, learnt on all sets at once, each with the labels that it knows."""
    torch.manual_seed(seed)
    units, steps = UNITS[script], STEPS[script]
    hidden, output = torch.nn.Linear(512, units), torch.nn.Linear(units, len(LABELS))
    parameters = [*hidden.parameters(), *output.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    for _ in range(steps):
        loss = torch.zeros(())
        for vectors, gold, known in sets:
            rows = torch.randint(0, len(vectors), (BATCH,)).numpy()
            active = torch.relu(hidden(SCALE * torch.from_numpy(vectors[rows])))
            logits = output(torch.nn.functional.dropout(active, 0.3))
            right = torch.from_numpy(gold[rows])
            loss = loss + loss_of(logits[:, known], right[:, known])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return hidden, output


def likely(
    layers: tuple[torch.nn.Linear, torch.nn.Linear],
    vectors: Floats,
    labels: Sequence[int] = range(len(LABELS)),
) -> Floats:
    """Return the probabilities of some labels, 0 for the others, shape (n, labels)."""
    hidden, output = layers
    with torch.no_grad():
        units = torch.relu(hidden(SCALE * torch.from_numpy(vectors)))
        found: Floats = torch.sigmoid(output(units)).numpy()
    return np.where(np.isin(np.arange(len(LABELS)), labels), found, 0).astype(np.float32)


def threshold(sure: Floats, hits: NDArray[np.bool_], precisions: Sequence[float]) -> float | None:
    """Return the smallest probability from which on the readings are right often enough."""
    order = np.argsort(-sure)
    share = np.cumsum(hits[order]) / np.arange(1, len(order) + 1)
    for precision in precisions:
        good = [i for i in range(SEEN - 1, len(order)) if share[i] >= precision]
        if good:
            return max(round(float(sure[order[good[-1]]]), 4), FLOOR)
    return None


def at_coverage(probabilities: Floats, gold: Floats, coverage: float) -> float:
    """Return the precision of the most confident readings, so many of all."""
    best = probabilities.argmax(1)
    order = np.argsort(-probabilities.max(1))[: int(coverage * len(best))]
    return float(gold[order, best[order]].mean())


def balanced(probabilities: Floats, gold: Floats, coverage: float) -> tuple[float, float]:
    """Return the precision of the most confident readings where every right answer (null is one)
    has the same weight, and that of the best constant answer.
    """
    right = np.where(gold.any(1), gold.argmax(1), gold.shape[1])
    weight = (1 / np.maximum(np.bincount(right, minlength=gold.shape[1] + 1), 1))[right]
    best = probabilities.argmax(1)
    order = np.argsort(-probabilities.max(1))[: int(coverage * len(best))]
    hits = gold[order, best[order]] * weight[order]
    constant = max((gold[:, k] * weight).sum() / weight.sum() for k in range(gold.shape[1]))
    return float(hits.sum() / weight[order].sum()), float(constant)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("goemotions", "cped", "topicalchat"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    default = Path(__file__).parents[1] / "src/vvae/encoders/rules/weights"
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    embedder = Embedder()

    train = goemotions(arguments.goemotions, "train")
    held = [uniform("heads", comment) < 0.1 for comment in train.groups]
    learnt, unseen = train.part([not h for h in held]), train.part(held)
    chinese = mapped(cped(arguments.cped), CPED)
    first = [uniform("audit", dialogue) < 0.5 for dialogue in chinese.groups]
    zh_dev, zh_test = chinese.part(first), chinese.part([not f for f in first])
    known = [k for k in range(len(LABELS)) if zh_dev.gold[:, k].sum() >= SEEN]
    everything = list(range(len(LABELS)))
    choices = {
        "spaced": goemotions(arguments.goemotions, "dev"),
        "unspaced": zh_dev,
    }
    tests = {"spaced": unseen, "unspaced": zh_test}

    english = (embedder.matrix(learnt.texts), learnt.gold, everything)
    vectors = embedder.matrix(zh_dev.texts)
    layers = {"spaced": learn([english], "spaced")}

    def on_chinese(part: NDArray[np.bool_]) -> tuple[torch.nn.Linear, torch.nn.Linear]:
        return learn([english, (vectors[part], zh_dev.gold[part], known)], "unspaced")

    layers["unspaced"] = on_chinese(np.ones(len(vectors), bool))
    chosen = {"spaced": likely(layers["spaced"], embedder.matrix(choices["spaced"].texts))}
    # The Chinese half is learnt from: its thresholds come from halves that were not.
    fold = np.asarray([uniform("fold", dialogue) < 0.5 for dialogue in zh_dev.groups])
    chosen["unspaced"] = np.zeros((len(vectors), len(LABELS)), "f4")
    for part in (fold, ~fold):
        chosen["unspaced"][~part] = likely(on_chinese(part), vectors[~part], known)

    card: dict[str, Any] = {
        "name": "tone",
        "about": (
            "How a reply sounds, by one hidden layer over multilingual sentence embeddings "
            "(Universal Sentence Encoder, multilingual v3)."
        ),
        "learnt from": {
            "GoEmotions (Demszky et al. 2020; Apache-2.0)": (
                f"{len(learnt.texts):,} comments, train but a tenth"
            ),
            "CPED (Chen et al. 2022; Apache-2.0)": (
                f"{len(zh_dev.texts):,} utterances, half of valid; scripts without spaces alone"
            ),
        },
        "thresholds": {
            script: f"the first precision that a label reaches on {where}: {PRECISION[script]}"
            for script, where in (("spaced", "GoEmotions dev"), ("unspaced", "CPED, by halves"))
        },
        "made by": "benchmarks/train_head.py",
        "labels": {},
        "held out": {},
    }
    learnt_labels = {"spaced": everything, "unspaced": known}
    for index, label in enumerate(LABELS):
        card["labels"][label] = {}
        for script, data in choices.items():
            if index in learnt_labels[script]:
                found = chosen[script]
                named = found.argmax(1) == index
                hits = data.gold[named, index] > 0
                level = threshold(found[named, index], hits, PRECISION[script])
                card["labels"][label][script] = {"threshold": level}
    for script, data in tests.items():
        found = likely(layers[script], embedder.matrix(data.texts), learnt_labels[script])
        best, sure = found.argmax(1), found.max(1)
        all_named, all_hits = 0, 0.0
        for index, label in enumerate(LABELS):
            entry = card["labels"][label].get(script)
            if entry is None or entry["threshold"] is None:
                continue  # not learnt, or too seldom right where its threshold was to be chosen
            named = (best == index) & (sure >= entry["threshold"])
            hits = float(data.gold[named, index].sum())
            entry |= {
                "named": int(named.sum()),
                "precision": round(hits / max(int(named.sum()), 1), 3),
                "recall": round(hits / max(float(data.gold[:, index].sum()), 1.0), 3),
            }
            if entry["precision"] < LEAST[script]:
                entry |= {"threshold": None, "switched off at": entry["threshold"]}
                continue
            all_named, all_hits = all_named + int(named.sum()), all_hits + hits
        card["held out"][script] = {
            "texts": len(data.texts),
            "named": all_named,
            "coverage": round(all_named / len(data.texts), 3),
            "precision": round(all_hits / max(all_named, 1), 3),
            "precision at coverage": {
                f"{c:.2f}": round(at_coverage(found, data.gold, c), 3)
                for c in (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
            },
        }
    files = [arguments.topicalchat / f"{name}.json" for name in ("valid_freq", "valid_rare")]
    other = mapped((row for file in files for row in topicalchat(file)), TOPICAL_CHAT)
    sentiments = sorted({LABELS.index(tone) for tone in TOPICAL_CHAT.values() if tone})
    found = likely(layers["spaced"], embedder.matrix(other.texts), sentiments)
    got, constant = balanced(found, other.gold, 0.15)
    card["held out"]["Topical-Chat"] = {
        "texts": len(other.texts),
        "balanced precision at coverage 0.15": round(got, 3),
        "of the best constant answer": round(constant, 3),
        "precision at coverage 0.15": round(at_coverage(found, other.gold, 0.15), 3),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for script, pair in layers.items():
        for name, layer in zip(("hidden", "output"), pair, strict=True):
            weights = torch.cat([layer.weight.T, layer.bias[None]]).detach().numpy()
            arrays[f"{script}_{name}"] = weights.astype(np.float16)
    np.savez_compressed(arguments.out / "tone.npz", allow_pickle=False, **arrays)
    text = json.dumps(card, ensure_ascii=False, indent=2) + "\n"
    (arguments.out / "tone.json").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
