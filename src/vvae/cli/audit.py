"""How far an encoder can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vvae.cli.app import audit_app, example
from vvae.cli.options import RunPath, any_run, open_run

__all__: list[str] = []


@audit_app.command("labels", epilog=example("vvae audit labels mapping.yaml --run runs/demo"))
def audit_labels(
    mapping: Annotated[
        Path,
        typer.Argument(help="YAML file that says which column of the data is which dimension."),
    ],
    run: Annotated[
        Path | None,
        typer.Option(help="Run whose encoder is scored; its report will show the scores."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Config whose encoder is fitted on the data and scored.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the scores to, as JSON.")] = None,
) -> None:
    """Score an encoder against labelled data.

    Without --run or --config it is the default encoder, fitted on the data.
    """
    from vvae.pipeline.stages.analysis import audit_labels as audit

    opened = any_run(run, config)
    scores = audit(opened, mapping, fit=run is None)
    _keep(scores, opened.path(f"audit/{mapping.stem}.json") if run else None, out)


@audit_app.command("annotators", epilog=example("vvae audit annotators collected"))
def audit_annotators(
    collected: Annotated[
        Path, typer.Argument(help="Folder of the annotators' files ('vvae collect' makes it).")
    ],
    run: Annotated[
        Path | None,
        typer.Option(help="Run that they were collected with: it has their latent space."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the scores to, as JSON.")] = None,
) -> None:
    """Compare annotators with each other.

    Gives Cohen's kappa by dimension, and how often they kept what was filled in.
    """
    from vvae.core.files import write_json
    from vvae.evaluation.annotation import annotator_agreement, read_works
    from vvae.latent.space import load_space
    from vvae.report.terminal import print_annotators

    space = open_run(run).space if run else load_space()
    scores = annotator_agreement(read_works(collected), space)
    print_annotators(scores)
    if out:
        write_json(out, scores)


@audit_app.command("agreement", epilog=example("vvae audit agreement runs/demo runs/llm"))
def audit_agreement(
    run: RunPath,
    other: Annotated[Path, typer.Argument(help="Another run on the same chats.")],
    out: Annotated[Path | None, typer.Option(help="File to write the scores to, as JSON.")] = None,
) -> None:
    """Compare the encoders of two runs.

    Gives Cohen's kappa and the confusion of values, by dimension.
    """
    from vvae.pipeline.stages.analysis import audit_agreement as audit

    opened = open_run(run)
    _keep(audit(opened, open_run(other)), opened.path(f"audit/with-{other.name}.json"), out)


@audit_app.command("information", epilog=example("vvae audit information runs/demo"))
def audit_information(
    run: RunPath,
    replies: Annotated[
        int, typer.Option(min=10, help="Held-out replies with a value, of each dimension at most.")
    ] = 100,
    variant: Annotated[
        str | None,
        typer.Option(help="Trained variant to ask what it makes of z, in place of the base model."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the scores to, as JSON.")] = None,
) -> None:
    """Ask how much each dimension of z can tell a decoder, before anything is trained, or how much
    of it a trained one uses.

    The model is told z, and z with one value drawn anew: what is the difference worth?
    """
    from vvae.pipeline.stages.analysis import audit_information as audit

    opened = open_run(run)
    if not opened.path("profiles.parquet").exists():
        opened.make(until="profiles")
    asked = opened.trained_variant(variant) if variant else None
    file = f"information-{variant}" if variant else "information"
    _keep(audit(opened, replies, asked), opened.path(f"audit/{file}.json"), out)


def _keep(scores: dict[str, Any], *paths: Path | None) -> None:

    from vvae.core.files import write_json
    from vvae.report.terminal import print_audit

    print_audit(scores)
    for path in filter(None, paths):
        write_json(path, scores)
        typer.echo(str(path))
