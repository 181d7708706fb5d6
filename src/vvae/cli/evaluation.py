"""Experiments on a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vvae.cli.app import app, example
from vvae.cli.options import (
    DEFAULT_VARIANT,
    ConfigPath,
    EndpointCost,
    EndpointKey,
    EndpointModel,
    EndpointPrice,
    EndpointUrl,
    RayOrLocal,
    RunPath,
    any_run,
    endpoint_of,
    open_config,
    open_run,
)
from vvae.core.errors import ConfigError
from vvae.latent.limits import MOST_CANDIDATES, STRONGEST

if TYPE_CHECKING:
    from vvae.inference.endpoint.settings import EndpointConfig

__all__ = ["judge_study"]

DialogScoring = Literal["chat", "base"]


def _known_study(name: str) -> str:
    """Check the name before a missing config is complained about: the error lists the studies."""
    from vvae.evaluation.study import POSITIVE_CONTROL, load_study

    if name != POSITIVE_CONTROL:
        load_study(name)
    return name


@app.command(epilog=example("vvae study ablation mine.yaml"))
def study(
    name: Annotated[
        str,
        typer.Argument(
            callback=_known_study,
            help="A study's name (variants, positive-control, ...) or a YAML file of one.",
        ),
    ],
    config: ConfigPath,
    endpoint: EndpointUrl = None,
    model: EndpointModel = None,
    key_env: EndpointKey = "OPENAI_API_KEY",
    max_cost: EndpointCost = None,
    price: EndpointPrice = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Train nothing: say how well each claim would be known at this size."
        ),
    ] = False,
    engine: Annotated[
        RayOrLocal,
        typer.Option(help="local: one variant after the other; ray: each a task of a cluster."),
    ] = "local",
) -> None:
    """Run a named experiment: variants, seeds, claims, verdicts."""
    from vvae.evaluation.study import POSITIVE_CONTROL

    if name == POSITIVE_CONTROL:
        if endpoint:
            fix = "leave out --endpoint"
            raise ConfigError("a positive control trains, and prompts nobody", fix=fix)
        if plan:
            fix = "leave out --plan"
            raise ConfigError("a positive control has no claims to plan", fix=fix)
        if engine == "ray":
            fix = "leave out --engine"
            raise ConfigError("a positive control is made in one process", fix=fix)
        control_training(config)
        return
    if plan:
        if endpoint or engine == "ray":
            fix = "leave out --endpoint and --engine"
            raise ConfigError("a plan asks nobody and trains nothing", fix=fix)
        plan_claims(name, config)
        return
    called = endpoint_of(endpoint, model, key_env, max_cost, price)
    judge_study(name, config, called, on_ray=engine == "ray")


def judge_study(
    name: str,
    config: Path,
    endpoint: EndpointConfig | None,
    *,
    candidates: int = 1,
    on_ray: bool = False,
) -> None:
    """Run a study and print its verdicts."""
    from vvae.evaluation.study import load_study, run_study
    from vvae.report.terminal import print_claims

    study, opened = load_study(name), open_config(config)
    report = run_study(
        name,
        study,
        opened.config,
        reporter=opened.reporter,
        endpoint=endpoint,
        candidates=candidates,
        on_ray=on_ray,
    )
    print_claims(report)
    typer.echo(str(opened.path(f"studies/{report['folder']}/report.html")))


def plan_claims(name: str, config: Path) -> None:
    """Print how well each claim of a study would be known."""
    from vvae.evaluation.planning import plan_study
    from vvae.evaluation.study import load_study
    from vvae.report.terminal import print_study_plan

    study, opened = load_study(name), open_config(config)
    print_study_plan(study.title, plan_study(name, study, opened.config, reporter=opened.reporter))


def control_training(config: Path) -> None:
    """Run the positive control and print what its cells came to."""
    from vvae.evaluation.positive_control import run_cells
    from vvae.evaluation.study import POSITIVE_CONTROL
    from vvae.report.terminal import print_positive_control

    opened = open_config(config)
    cells = run_cells(opened.config, reporter=opened.reporter)
    print_positive_control(cells, opened.config.decoder.model)
    typer.echo(str(opened.path(f"studies/{POSITIVE_CONTROL}/report.html")))


@app.command(epilog=example("vvae control runs/demo --contexts 32"))
def control(
    run: RunPath,
    variant: Annotated[str, typer.Option(help="Trained variant to ask.")] = DEFAULT_VARIANT,
    contexts: Annotated[
        int, typer.Option(min=4, help="Conversations in each of which every value is tried.")
    ] = 100,
    dimension: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Dimension to set (give it again for more); all by default."
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            min=0.0, max=STRONGEST, help="Push each value by so much beyond what training does."
        ),
    ] = 0.0,
    candidates: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_CANDIDATES,
            help="Write up to so many replies and take the first that shows it.",
        ),
    ] = 1,
    calibrate: Annotated[
        bool,
        typer.Option(
            help="Measure training alone and strengths 1, 2 and 3, for a server to know how far "
            "each knob turns."
        ),
    ] = False,
) -> None:
    """Set one dimension of z and see whether it comes back.

    The rest of z is kept and the replies are read again: does the value stand in them, and what
    else moves?
    """
    from vvae.evaluation.controllability import STRENGTHS, TRAINED, Way
    from vvae.evaluation.controllability import control as measure
    from vvae.report.terminal import print_control

    if calibrate and (strength or candidates > 1):
        raise ConfigError(
            "it measures strengths of its own", where="--calibrate", fix="leave out the other"
        )
    opened = open_run(run)
    trained = opened.trained_variant(variant)
    ways = [TRAINED, *map(Way, STRENGTHS)] if calibrate else [Way(strength, candidates)]
    for way in ways:
        print_control(measure(opened, trained, contexts, dimensions=dimension, way=way))
        typer.echo(str(opened.path(way.folder(trained)) / "report.html"))


@app.command(epilog=example("vvae score runs/chats replies.txt --speaker Ana"))
def score(
    run: RunPath,
    file: Annotated[
        Path | None,
        typer.Argument(help="Replies, one a line; without it the run's variants are scored."),
    ] = None,
    speaker: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose own replies they are held against.")
    ] = None,
) -> None:
    """Ask how like a person's own replies a text is.

    First it is seen whether that person's own held-out replies can be told from others'.
    """
    from vvae.evaluation.likeness import PeopleLikeness, likeness_of_variants
    from vvae.report.terminal import print_likeness, print_variant_likeness

    opened = open_run(run)
    if file is None:
        if speaker:
            raise ConfigError("no file to score", where="--speaker", fix="give one, a reply a line")
        print_variant_likeness(likeness_of_variants(opened), opened.folder)
        return
    if speaker is None:
        raise ConfigError("whose?", where=str(file), fix="give --speaker NAME")
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot be read ({type(error).__name__})"
        fix = "give a text file in UTF-8, one reply a line"
        raise ConfigError(what, where=str(file), fix=fix) from None
    texts = [line.strip() for line in lines if line.strip()]
    print_likeness(*PeopleLikeness(opened).of(speaker, texts))


@app.command(epilog=example("vvae turing runs/demo --items 40"))
def turing(
    run: RunPath,
    answers: Annotated[
        list[Path] | None, typer.Argument(help="Files of answers that judges saved, to be scored.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Variant whose replies are shown (give it again for more); all by default.",
        ),
    ] = None,
    items: Annotated[
        int, typer.Option(min=1, help="Pairs of replies that judges see of each variant.")
    ] = 20,
) -> None:
    """Ask people which of two replies a person wrote.

    Makes the page on which they say so, or scores their answers.
    """
    from vvae.evaluation.blind_test import make_page, score_answers
    from vvae.report.terminal import print_turing

    opened = open_run(run)
    if answers:
        print_turing(score_answers(opened, answers))
    else:
        typer.echo(str(make_page(opened, variant or [], items)))


@app.command(epilog=example("vvae privacy runs/demo --canaries 0"))
def privacy(
    run: RunPath,
    variant: Annotated[str, typer.Option(help="Trained variant to probe.")] = DEFAULT_VARIANT,
    canaries: Annotated[
        int,
        typer.Option(
            min=0,
            help="Secrets to plant in an extra training, which takes minutes; 0 leaves it out.",
        ),
    ] = 8,
) -> None:
    """Probe an adapter: what has it kept of people's words?

    Does it repeat its training replies, does it know them, can planted secrets be got out?
    """
    from vvae.evaluation.memorisation import probe
    from vvae.report.terminal_chats import print_memorisation

    opened = open_run(run)
    probes = probe(opened, opened.trained_variant(variant), canaries)
    print_memorisation(probes)
    typer.echo(str(opened.path(f"privacy/{variant}/report.html")))


@app.command(epilog=example("vvae dialogbench DialogBench/data --run runs/demo --limit 50"))
def dialogbench(
    data: Annotated[
        Path, typer.Argument(help="Folder with the tasks' .jsonl files (docs/dialogbench.md).")
    ],
    run: Annotated[Path | None, typer.Option(help="Run whose model answers.")] = None,
    variant: Annotated[
        str | None, typer.Option(help="Trained variant that answers; the base model by default.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Config whose model answers, in place of a run's; the small model by default."
        ),
    ] = None,
    scoring: Annotated[
        DialogScoring,
        typer.Option(
            help="chat: the model writes a letter; base: the likeliest option is its answer."
        ),
    ] = "chat",
    permute: Annotated[
        bool,
        typer.Option("--permute", help="Ask each question with its options in every rotation."),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Ask only so many questions of each task.")
    ] = None,
    endpoint: EndpointUrl = None,
    model: EndpointModel = None,
    key_env: EndpointKey = "OPENAI_API_KEY",
    max_cost: EndpointCost = None,
    price: EndpointPrice = None,
    out: Annotated[Path | None, typer.Option(help="File to write the scores to, as JSON.")] = None,
) -> None:
    """Ask a model DialogBench's questions, from a copy of it."""
    from vvae.core.files import write_json
    from vvae.metrics.dialogbench import (
        answer_with,
        answer_with_endpoint,
        read_items,
        rotated,
        scores,
    )
    from vvae.report.terminal import print_dialogbench

    opened = any_run(run, config)
    items = read_items(data, limit=limit, seed=opened.config.seed)
    questions = [question for item in items for question in (rotated(item) if permute else [item])]
    if called := endpoint_of(endpoint, model, key_env, max_cost, price):
        if scoring == "base":
            fix = "leave out --scoring base"
            raise ConfigError("an endpoint tells no likelihoods", where="--scoring", fix=fix)
        folder = opened.ledger if run or config else Path("vvae-ledger.sqlite")
        with opened.reporter.task("asking") as tick:
            answered = answer_with_endpoint(called, questions, folder, progress=tick)
    else:
        decoder = (
            opened.with_adapter(opened.trained_variant(variant)) if variant else opened.decoder
        )
        with opened.reporter.task("asking") as tick:
            answered = answer_with(decoder, questions, scoring, progress=tick)
    result = scores(answered)
    print_dialogbench(result)
    if out:
        write_json(out, result)


@app.command(epilog=example("vvae collect runs/demo --shared 20 --port 8090"))
def collect(
    run: RunPath,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder in which the annotators' files are kept.")
    ] = Path("collected"),
    shared: Annotated[
        int, typer.Option(min=0, help="Human replies that every annotator labels.")
    ] = 10,
    contexts: Annotated[
        int, typer.Option(min=0, help="Conversations to which each annotator writes a reply.")
    ] = 30,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the page, on this machine alone.")
    ] = 8090,
    export: Annotated[
        Path | None, typer.Option(help="Serve nothing: write what is finished to this folder.")
    ] = None,
) -> None:
    """Serve a page on which people write and label replies.

    It is served on this machine alone.
    """
    from vvae.evaluation.annotation import Collection
    from vvae.evaluation.annotation import export as write

    collection = Collection(open_run(run), out, shared=shared, contexts=contexts)
    if export:
        numbers = write(collection, export)
        typer.echo(
            f"{numbers['replies']:,} replies written, {numbers['labelled']:,} labelled, in {export}"
        )
        return
    from vvae.serving.http.routes_annotation import serve_collection

    typer.echo(f"http://127.0.0.1:{port}/  (annotators' files: {out}; Ctrl-C ends it)")
    serve_collection(collection, port)
