"""Trained heads: labels of a closed dimension by probability, from a reply's sentence embedding.

A head is one hidden layer over the embedding and one logistic output for each label (a reply may
have several), learnt from labelled chat whose licence allows it: one for scripts with spaces
between words (English), one for those without (Chinese). It comes with the package, as
numbers without code (`weights/NAME.npz`), beside a card that says from what it was learnt and how
often it is right (`weights/NAME.json`). How to make it again: `benchmarks.train_head`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vvae.core.errors import ConfigError, choose_from
from vvae.core.text import is_unspaced

__all__ = ["Head", "Script", "load_head", "script_of"]

Array = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]
Script = Literal["spaced", "unspaced"]
SCRIPTS: tuple[Script, ...] = ("spaced", "unspaced")

SCALE = 8.0
"""Embeddings have unit length in 512 dimensions; the layers were learnt on numbers of size one."""


def script_of(text: str) -> Script:
    """Return which of a head's two kinds of script a text is written in."""
    return "unspaced" if is_unspaced(text) else "spaced"


@dataclass(frozen=True)
class Head:
    """A head with its card."""

    labels: tuple[str, ...]
    layers: Mapping[Script, tuple[Array, Array]]
    """Of each kind of script the hidden layer, shape (512 + 1, units), and the output, shape
    (units + 1, labels); the last row of each is the bias."""
    card: dict[str, Any]

    @cached_property
    def thresholds(self) -> Mapping[Script, Mapping[str, float]]:
        """Return what a label's probability must reach, for the labels that a head has learnt in a
        kind of script; infinite where the label was too seldom right to be named.
        """
        return {
            script: {
                label: np.inf if entry[script]["threshold"] is None else entry[script]["threshold"]
                for label, entry in self.card["labels"].items()
                if script in entry
            }
            for script in SCRIPTS
        }

    def probabilities(self, vectors: Array, script: Script) -> Probabilities:
        """Return the probability of each label.

        Args:
            vectors: sentence embeddings of unit length, shape (n, 512).
            script: of the texts.

        Returns:
            Shape (n, labels), each between 0 and 1; they need not add up to one. A label that was
            not learnt in this kind of script has 0.
        """
        hidden, output = self.layers[script]
        units = np.maximum(SCALE * vectors @ hidden[:-1] + hidden[-1], 0)
        logits = (units @ output[:-1] + output[-1]).astype(np.float64)
        learnt = np.asarray([label in self.thresholds[script] for label in self.labels])
        return np.where(learnt, 1 / (1 + np.exp(-logits)), 0.0)

    def _by_script(
        self, texts: Sequence[str], vectors: Array
    ) -> tuple[Probabilities, Probabilities]:
        """Return the probabilities of texts of any script, and what each must reach."""
        found, needed = np.zeros((2, len(texts), len(self.labels)))
        for script in SCRIPTS:
            rows = [row for row, text in enumerate(texts) if script_of(text) == script]
            if rows:
                found[rows] = self.probabilities(vectors[rows], script)
                needed[rows] = [self.thresholds[script].get(k, np.inf) for k in self.labels]
        return found, needed

    def heard(self, texts: Sequence[str], vectors: Array) -> Probabilities:
        """Return the probabilities of texts of any script, shape (len(texts), labels); of a label
        that is switched off 0.
        """
        found, needed = self._by_script(texts, vectors)
        return np.where(np.isfinite(needed), found, 0.0)

    def read(self, texts: Sequence[str], vectors: Array) -> list[tuple[str, float] | None]:
        """Return the likeliest label of each text with its probability, or None where it does not
        reach the label's threshold.
        """
        found, needed = self._by_script(texts, vectors)
        return [
            (self.labels[best], float(p[best])) if p[best] >= least[best] else None
            for best, p, least in zip(found.argmax(1), found, needed, strict=True)
        ]


@lru_cache(maxsize=8)
def load_head(name: str) -> Head:
    """Return a head of the package.

    Raises:
        ConfigError: there is none of that name.
    """
    folder = resources.files("vvae.encoders.rules").joinpath("weights")
    names = sorted(f.name.removesuffix(".npz") for f in folder.iterdir() if f.name.endswith(".npz"))
    if name not in names:
        raise ConfigError(f"no trained head {name!r}", fix=choose_from(name, names))
    card = json.loads(folder.joinpath(f"{name}.json").read_text("utf-8"))
    with folder.joinpath(f"{name}.npz").open("rb") as file, np.load(file) as arrays:
        layers = {
            script: (
                arrays[f"{script}_hidden"].astype(np.float32),
                arrays[f"{script}_output"].astype(np.float32),
            )
            for script in SCRIPTS
        }
    return Head(tuple(card["labels"]), layers, card)
