"""Questions asked of an encoded run: what z is like, how far an encoder can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vvae.core.dialogue import Pair
from vvae.core.errors import DataError
from vvae.core.files import write_json, write_text
from vvae.core.random import shuffled
from vvae.core.text import words
from vvae.corpus.pairs import learned_pairs
from vvae.decoder.variants import Variant
from vvae.encoders.base import Encoder
from vvae.latent.persona import Persona
from vvae.metrics.audit.information import (
    information,
    information_of_axes,
    redrawn,
)
from vvae.metrics.audit.labels import read_labelled
from vvae.metrics.audit.scores import against_labels, agreement
from vvae.metrics.groups import populations
from vvae.metrics.latent_analysis import Analysis, analyze
from vvae.pipeline.run import Run
from vvae.pipeline.stages.measuring import replies_of

__all__ = ["analyze_z", "audit_agreement", "audit_information", "audit_labels"]


def analyze_z(run: Run, groups: Mapping[str, str] | None = None) -> Analysis:
    """Write analysis.json and analysis.html of an encoded run; return what analysis.json holds.

    Args:
        groups: speaker -> one of two groups, to be compared.
    """
    from vvae.report.pages import build_analysis

    pairs = learned_pairs(run.valid_pairs, run.config.pairs)
    train = [pair for pair in pairs if pair.split == "train"]
    with run.reporter.task("analysing z"):
        analysis = analyze(
            train, run.posteriors, run.dialogues, run.prior, run.space, seed=run.config.seed
        )
    if groups:
        with run.reporter.task("comparing groups"):
            replies = {
                v.name: replies_of(run, v)
                for v in run.variants
                if run.path(f"replies/{v.name}.parquet").exists()
            }
            analysis["populations"] = populations(
                run.valid_pairs, run.posteriors, run.space, groups, replies, seed=run.config.seed
            )
    write_json(run.path("analysis.json"), analysis)
    write_text(run.path("analysis.html"), build_analysis(analysis, run.space, str(run.folder)))
    return analysis


def audit_labels(run: Run, mapping: Path, *, fit: bool) -> dict[str, Any]:
    """Return the scores of an encoder against labelled data.

    Args:
        fit: fit the encoder of the config on that data (its labels are not looked at), in place of
            the run's own.
    """
    labelled = read_labelled(mapping, run.space, window_tokens=run.config.pairs.window_tokens)
    config = run.config.encoder
    if fit:
        with run.reporter.task("fitting the encoder") as tick:
            encoder: Encoder = config.fit(
                labelled.pairs, run.space, topics={}, ledger=run.ledger, progress=tick
            )
    else:
        encoder = run.encoder
    with run.reporter.task(f"reading {labelled.name}") as tick:
        encodings = list(encoder.encode(labelled.pairs, labelled.dialogues, progress=tick))
    personas = {e.pair_id: e.persona for e in encodings if e.status == "ok"}
    dialogue_of = {pair.pair_id: pair.dialogue for pair in labelled.pairs}
    return {
        "kind": "labels",
        "name": labelled.name,
        "encoder": encoder.id,
        "utterances": len(labelled.pairs),
        "unread": len(labelled.pairs) - len(personas),
        "left_out": dict(labelled.left_out),
        "dimensions": against_labels(
            personas,
            labelled.gold,
            run.space,
            dialogue_of,
            words_of={pair.pair_id: len(words(pair.response)) for pair in labelled.pairs},
            seed=run.config.seed,
        ),
    }


def audit_agreement(run: Run, other: Run) -> dict[str, Any]:
    """Return the scores of two runs' encoders against each other, on the replies that both read.

    Raises:
        DataError: they share none.
    """
    if not set(run.posteriors) & set(other.posteriors):
        fix = "give two runs on the same chats"
        raise DataError("the runs share no reply", where=f"{run.folder}, {other.folder}", fix=fix)
    dialogue_of = {pair.pair_id: pair.dialogue for pair in run.pairs}
    return {
        "kind": "agreement",
        "name": f"{run.folder.name} and {other.folder.name}",
        "encoder": run.encoder.id,
        "other": other.encoder.id,
        "dimensions": agreement(
            run.posteriors, other.posteriors, run.space, dialogue_of, seed=run.config.seed
        ),
    }


def audit_information(run: Run, replies: int, variant: Variant | None = None) -> dict[str, Any]:
    """Return how much each dimension of z can tell, measured with the base model that is told z, or
    how much of it a trained variant uses.

    Args:
        replies: held-out replies with a value, of each dimension at most.
        variant: whose adapter is asked, with z as it stands in its training; the base model where
            None.

    Raises:
        DataError: no held-out reply of a learned speaker has been read.
    """
    from vvae.decoder.model import Branch
    from vvae.inference.prompts import PersonaLine, prompted_line
    from vvae.metrics.teacher_forcing import reply_losses

    seed, space, prior = run.config.seed, run.space, run.prior
    held = [
        pair
        for pair in learned_pairs(run.valid_pairs, run.config.pairs)
        if pair.split != "train" and pair.pair_id in run.posteriors
    ]
    if not held:
        fix = "run 'vvae encode' first, on a corpus with held-out replies"
        raise DataError("no held-out reply has been read", where=str(run.folder), fix=fix)
    order = shuffled(held, "information", seed, name=[pair.pair_id for pair in held])
    axes = {axis: tuple(d.name for d in space.dimensions if d.axis == axis) for axis in space.axes}
    parts = {**{name: (name,) for name in space.names}, **{f"{a} axis": n for a, n in axes.items()}}
    chosen: dict[str, list[str]] = {part: [] for part in parts}
    for pair in order:
        for part, names in parts.items():
            any_read = any(run.posteriors[pair.pair_id][name] for name in names)
            if any_read and len(chosen[part]) < replies:
                chosen[part].append(pair.pair_id)
    conditions = run.conditions(variant) if variant else None

    def shown(pair: Pair, persona: Persona) -> PersonaLine:
        if conditions is None:
            return prompted_line(persona, space)
        return conditions.line(pair, pair.speaker, persona)

    branches: dict[str, list[Branch]] = {}
    changed = Counter[str]()
    by_id = {pair.pair_id: pair for pair in held}
    for part, pair_ids in chosen.items():
        for pair_id in pair_ids:
            pair, read = by_id[pair_id], run.posteriors[pair_id]
            filled = conditions.training_persona(pair, 0) if conditions else None
            # What was read stands there, dropout or not: the other value is held against it.
            persona = read if filled is None else filled.with_slots(read.slots)
            other = persona
            for name in parts[part]:
                if read[name]:
                    other = redrawn(other, name, prior, key=pair_id, seed=seed)
            changed[part] += any(other.value(n) != persona.value(n) for n in parts[part])
            asked = branches.setdefault(pair_id, [Branch("own", shown(pair, persona))])
            asked.append(Branch(part, shown(pair, other)))
    pairs = [pair for pair in order if pair.pair_id in branches]
    if variant is None:
        run.decoder.drop_adapter()
    else:
        run.with_adapter(variant)
    with run.reporter.task("likelihood of held-out replies") as tick:
        losses = reply_losses(run.decoder, run.dialogues, pairs, branches, progress=tick)
    gains = {
        part: {
            pair_id: losses[f"{pair_id}|{part}"][0] - losses[f"{pair_id}|own"][0]
            for pair_id in pair_ids
        }
        for part, pair_ids in chosen.items()
    }
    return {
        "kind": "information",
        "name": f"what {variant.name} makes of z" if variant else "what z can tell",
        "encoder": run.encoder.id,
        "model": run.config.decoder.model,
        "variant": variant.name if variant else None,
        "replies": len(held),
        "dimensions": information(
            prior, gains, changed, held, run.posteriors, run.learned_profiles, seed=seed
        ),
        "axes": information_of_axes(
            {axis: gains[f"{axis} axis"] for axis in axes}, held, run.posteriors, axes, seed=seed
        ),
    }
