"""What was said of the encoder's readings (`Review`), put into effect.

The corrected readings take the place of `encodings.parquet`, and prior and profiles are counted
anew, as the next `vvae run` would; the encoder's own stay in `encodings.unreviewed.parquet`, so
that a verdict that is taken back is taken back here, too. Adapters stay as they are, and are served
with the new prior and profiles; `vvae train` trains them again, since what they learnt from has
changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from vvae.core.files import atomic_path, digest, locked, write_json
from vvae.latent.persona import Persona, Slot
from vvae.latent.prior import Prior
from vvae.latent.profile import Profile
from vvae.latent.tables import Encoding, read_encodings, write_encodings
from vvae.pipeline.artifacts import CORRECTED, CORRECTIONS, UNREVIEWED, VERDICTS
from vvae.pipeline.run import Run
from vvae.pipeline.stages.corpus import count_prior, profile_speakers

__all__ = ["Changes", "apply_corrections"]


class Changes(NamedTuple):
    """What has changed."""

    readings: int
    """Values that are other than the encoder read them."""
    rates: Mapping[str, tuple[float, float]]
    """Dimension -> its observation rate before and after, where it is another."""
    people: list[dict[str, Any]]
    """Speaker, dimension, and the value of the profile before and after, where it is another."""


def apply_corrections(run: Run) -> Changes:
    """Put the verdicts of a run's review into effect; return what has changed.

    Raises:
        DataError: the run has no prior or profiles yet.
    """
    path, unreviewed = run.path("encodings.parquet"), run.path(UNREVIEWED)
    with locked(run.path(VERDICTS)):
        verdicts = _read(run.path(VERDICTS))
        earlier = run.corrected
        before, profiles = run.prior, run.profiles
        if not earlier:  # nothing was corrected yet, or the encoder has read since
            with atomic_path(unreviewed) as copy:
                shutil.copyfile(path, copy)
        changed = 0

        def corrected() -> Iterator[Encoding]:
            nonlocal changed
            for encoding in read_encodings(unreviewed):
                persona = _corrected(encoding.persona, verdicts.get(encoding.pair_id, {}))
                names = {name for name, _ in (*persona, *encoding.persona)}
                changed += sum(persona.value(n) != encoding.persona.value(n) for n in names)
                yield replace(encoding, persona=persona)

        with atomic_path(path) as new:
            write_encodings(new, corrected(), run.space)
            # First what says whose files these are, then they: a kill in between loses nothing.
            known = {
                "encodings": [*earlier.get("encodings", ()), digest(new)],
                "priors": [*earlier.get("priors", ()), digest(run.path("prior.json"))],
            }
            write_json(run.path(CORRECTIONS), {k: list(dict.fromkeys(v)) for k, v in known.items()})
        run.rewritten(CORRECTED)
        count_prior(run)
        profile_speakers(run)
        run.rewritten(CORRECTED)
    return Changes(changed, _rates(before, run.prior), list(_people(profiles, run.profiles)))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found


def _corrected(persona: Persona, said: Mapping[str, Mapping[str, str]]) -> Persona:
    """A reading with what a person says of its values."""
    for name, entry in said.items():
        if entry["verdict"] == "null":
            persona = persona.without(name)
        elif entry["verdict"] == "corrected":
            persona = persona.with_slots({name: Slot(entry["value"], "observed")})
    return persona


def _rates(before: Prior, after: Prior) -> dict[str, tuple[float, float]]:
    rates = {
        name: (round(before[name].rate, 6), round(after[name].rate, 6)) for name in after.dimensions
    }
    return {name: pair for name, pair in rates.items() if pair[0] != pair[1]}


def _people(
    before: Mapping[str, Profile], after: Mapping[str, Profile]
) -> Iterator[dict[str, Any]]:
    for speaker in sorted({*before, *after}):
        old, new = (of[speaker].persona() if speaker in of else Persona() for of in (before, after))
        for name in dict.fromkeys(name for name, _ in (*old, *new)):
            if old.value(name) != new.value(name):
                values = {"before": old.value(name), "after": new.value(name)}
                yield {"speaker": speaker, "dimension": name, **values}
