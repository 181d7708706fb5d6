"""Questions asked of an encoded run: what z is like, how far an encoder can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vvae.core.errors import DataError
from vvae.core.files import write_json, write_text
from vvae.corpus.pairs import learned_pairs
from vvae.encoders.base import Encoder
from vvae.metrics.audit.labels import read_labelled
from vvae.metrics.audit.scores import against_labels, agreement
from vvae.metrics.groups import populations
from vvae.metrics.latent_analysis import Analysis, analyze
from vvae.pipeline.run import Run
from vvae.pipeline.stages.measuring import replies_of

__all__ = ["analyze_z", "audit_agreement", "audit_labels"]


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
            personas, labelled.gold, run.space, dialogue_of, seed=run.config.seed
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
