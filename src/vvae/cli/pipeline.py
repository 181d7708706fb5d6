"""The stages: one command for each, and one for all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vvae.cli.app import app, example, prior_app
from vvae.cli.options import (
    ConfigPath,
    EndpointCost,
    EndpointKey,
    EndpointModel,
    EndpointPrice,
    EndpointUrl,
    RayOrLocal,
    RequireConsent,
    RunPath,
    check_consent,
    endpoint_of,
    open_config,
    run_until,
)
from vvae.core.errors import ConfigError, DataError
from vvae.latent.limits import MOST_CANDIDATES

if TYPE_CHECKING:
    from vvae.pipeline.run import Run

__all__: list[str] = []


@app.command(epilog=example("vvae run mine.yaml"))
def run(config: ConfigPath, require_consent: RequireConsent = False) -> None:
    """Run everything: chats to report.

    Finished stages are skipped, stopped ones go on.
    """
    from vvae.report.terminal import print_results

    if require_consent:
        check_consent(config)
    opened = run_until(config, "pairs")
    if not opened.path("results.json").exists():
        _say_how_long(opened)
    opened.make()
    print_results(opened.path("results.json"), opened.path("report.html"))


def _say_how_long(run: Run) -> None:
    """Say how long the stages to come will take on this machine, after a short measurement."""
    from vvae.corpus.pairs import learned_pairs
    from vvae.decoder.distributed import is_first
    from vvae.evaluation.doctor import machine, work

    if not is_first():
        return
    there = machine()
    learned = learned_pairs(run.pairs, run.config.pairs)
    seconds = work(run, learned, there["gflops"])["seconds"]
    if seconds is None:
        return
    minutes = {what: f"{round(took / 60)}" for what, took in seconds.items()}
    parts = ", ".join(f"{what} {took}" for what, took in minutes.items() if what != "all")
    run.reporter.say(
        f"about {minutes['all']} minutes from here on this machine "
        f"({there['gflops']:,} GFLOP/s measured): {parts}"
    )


@app.command(epilog=example("vvae init mine.yaml --data chats"))
def init(
    path: Annotated[Path, typer.Argument(help="Config file to write.")] = Path("vvae.yaml"),
    data: Annotated[
        str,
        typer.Option(help="Chats to learn from: a folder of 'vvae import', a JSONL file, or byu."),
    ] = "byu",
) -> None:
    """Write a commented config."""
    from vvae.config import config_template
    from vvae.core.files import write_text
    from vvae.corpus.importing import speakers_to_learn

    if path.exists():
        raise ConfigError("the file exists", where=str(path), fix="give another name, or remove it")
    name = "byu" if data == "byu" else Path(data).stem
    write_text(path, config_template(data, f"runs/{name}", speakers_to_learn(Path(data))))
    typer.echo(f"{path} written; edit it, then: vvae run {path}")


@app.command(epilog=example("vvae encode mine.yaml --dry-run"))
def encode(
    config: ConfigPath,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take and cost, and ask no model.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read only the first so many replies.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="Read only so many replies, chosen at random but always the same."
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(min=0.0, help="Stop before the calls cost more than this (encoder.price)."),
    ] = None,
    engine: Annotated[
        RayOrLocal,
        typer.Option(help="Where it runs: on this machine, or on a Ray cluster (docs/scale.md)."),
    ] = "local",
    shards: Annotated[
        int, typer.Option(min=1, help="Parts into which --engine ray divides the work.")
    ] = 64,
) -> None:
    """Read z in every reply.

    With labelling functions, or with a language model (encoder.kind: llm).
    """
    from vvae.pipeline.runner import run_stages
    from vvae.pipeline.stages.corpus import plan_encoding
    from vvae.report.terminal import print_plan

    opened = open_config(config)
    if dry_run:
        # Before anything is limited: it leaves no trace in config.yaml.
        run_stages(opened, until="pairs")
    limits = {"limit": limit, "sample": sample, "max_cost": max_cost}
    chosen_limits = {name: value for name, value in limits.items() if value is not None}
    encoder = opened.config.encoder.limited(chosen_limits)
    opened.config = opened.config.model_copy(update={"encoder": encoder})
    if dry_run:
        print_plan(plan_encoding(opened))
        return
    run_stages(opened, until="encode", shards=shards if engine == "ray" else None)
    typer.echo(f"{len(opened.posteriors):,} encodings in {opened.path('encodings.parquet')}")


@prior_app.command("build", epilog=example("vvae prior build mine.yaml"))
def prior_build(config: ConfigPath) -> None:
    """Count the prior."""
    opened = run_until(config, "prior")
    typer.echo(f"prior in {opened.path('prior.json')}")


@prior_app.command("show", epilog=example("vvae prior show runs/demo --top 5"))
def prior_show(
    run: RunPath,
    top: Annotated[int, typer.Option(help="Show so many values of each dimension.", min=1)] = 8,
) -> None:
    """Show the prior as a table with bars."""
    from vvae.latent.prior import Prior
    from vvae.report.terminal import print_prior

    path = run / "prior.json" if run.is_dir() else run
    try:
        text = path.read_text("utf-8")
    except OSError:
        raise DataError(
            "no prior here", where=str(path), fix="count it with 'vvae prior build CONFIG'"
        ) from None
    print_prior(Prior.from_json(text, where=str(path)), top)


@app.command(epilog=example("vvae train mine.yaml"))
def train(
    config: ConfigPath,
    require_consent: RequireConsent = False,
    show: Annotated[
        int,
        typer.Option(
            min=0,
            help="Only show so many training replies of each variant: the prompt, z, and the "
            "tokens that carry loss.",
        ),
    ] = 0,
) -> None:
    """Train the adapters of all fine-tuned variants.

    With several processes: torchrun -m vvae.cli train CONFIG.
    """
    if require_consent:
        check_consent(config)
    if show:
        from vvae.pipeline.stages.training import examples_of
        from vvae.report.terminal import print_examples

        opened = run_until(config, "profiles")
        for variant in opened.variants:
            if variant.trained and variant.prompt == "voice":
                typer.echo(f"{variant.name}: a learnt vector stands for z, which no text shows")
            elif variant.trained:
                print_examples(variant.name, examples_of(opened, variant, show))
        return
    opened = run_until(config, "train")
    typer.echo(f"adapters in {opened.path('adapters')}")


@app.command(
    epilog=example("vvae bench mine.yaml --endpoint http://127.0.0.1:8080/v1 --model qwen3")
)
def bench(
    config: ConfigPath,
    endpoint: EndpointUrl = None,
    model: EndpointModel = None,
    key_env: EndpointKey = "OPENAI_API_KEY",
    max_cost: EndpointCost = None,
    price: EndpointPrice = None,
    candidates: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_CANDIDATES,
            help="Also measure the endpoint with habits at the person's rate, chosen among up to "
            "so many replies.",
        ),
    ] = 1,
) -> None:
    """Write held-out replies with every variant; score them.

    The scores are HumanChatBench's.

    With --endpoint and --model: measure the chatbot behind an endpoint, prompted in several ways;
    nothing is trained.
    """
    from vvae.report.terminal import print_results

    if endpoint or model:
        from vvae.cli.evaluation import judge_study

        called = endpoint_of(endpoint, model, key_env, max_cost, price)
        judge_study("endpoint", config, called, candidates=candidates)
        return
    if candidates > 1:
        fix = "give --endpoint and --model; a variant of the config has a key of this name"
        raise ConfigError("there is no endpoint to choose from", where="--candidates", fix=fix)
    opened = run_until(config, "bench")
    print_results(opened.path("results.json"))


@app.command(epilog=example("vvae report mine.yaml"))
def report(config: ConfigPath) -> None:
    """Build the report of a run."""
    opened = run_until(config, "report")
    typer.echo(str(opened.path("report.html")))


@app.command("analyze", epilog=example("vvae analyze mine.yaml --groups ages.csv"))
def analyze_run(
    config: ConfigPath,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV with a column 'speaker' and one of groups, of which two are compared."
        ),
    ] = None,
    column: Annotated[str, typer.Option(help="Column of --groups that names the group.")] = "group",
) -> None:
    """Ask whether z is what the method assumes.

    The prior, whether nulls come by chance, independence, the course of a dialogue, whether traits
    last.
    """
    from vvae.metrics.groups import read_groups
    from vvae.pipeline.stages.analysis import analyze_z

    grouped = read_groups(groups, column) if groups else None
    opened = run_until(config, "prior")
    analysis = analyze_z(opened, grouped)
    dominated = [name for name, d in analysis["prior"].items() if d.get("dominated")]
    if dominated:
        typer.echo(f"one value dominates: {', '.join(dominated)}")
    typer.echo(str(opened.path("analysis.html")))
