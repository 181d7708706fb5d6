"""A stage: from files of the run folder to files of the run folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from vvae.core.files import digest
from vvae.pipeline.run import Run

__all__ = ["GROUPS", "Stage"]

GROUPS = (
    "dialogues",
    "pairs",
    "encode",
    "prior",
    "profiles",
    "train",
    "replies",
    "losses",
    "bench",
    "report",
)
"""The groups of stages in order; a command runs all up to its own."""


@dataclass(frozen=True)
class Stage:
    """A stage: what it reads, what its result depends on, what it writes, and how.

    Each is declared beside the function that does its work (`vvae.pipeline.stages`).
    """

    name: str
    group: str
    """The command it belongs to: one of `GROUPS`, or another for stages outside the pipeline."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: Mapping[str, Any]
    """By name, for whoever reads; the key is made of the values in their order."""
    work: Callable[[Run], None]
    resumes: bool = False
    """Whether unfinished outputs of the same inputs and settings are used."""

    def key(self, run: Run) -> str:
        """Return a hash of the content of the inputs and of the settings."""
        content = {name: digest(run.path(name)) for name in self.inputs}
        values = list(self.settings.values())
        settings = json.dumps(values, default=lambda model: model.model_dump(mode="json"))
        hashed = json.dumps([self.name, content, settings]).encode()
        return blake2b(hashed, digest_size=16).hexdigest()
