"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vvae.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vvae.inference.endpoint.settings import EndpointConfig
    from vvae.pipeline.run import Run

__all__ = [
    "DEFAULT_VARIANT",
    "ConfigPath",
    "EndpointCost",
    "EndpointKey",
    "EndpointModel",
    "EndpointPrice",
    "EndpointUrl",
    "RayOrLocal",
    "RequireConsent",
    "RunPath",
    "any_run",
    "check_consent",
    "endpoint_of",
    "named",
    "open_config",
    "open_run",
    "run_until",
]

RayOrLocal = Literal["local", "ray"]
"""Where something runs: in this process, or on a Ray cluster."""
DEFAULT_VARIANT = "SP+FT"
"""As in `vvae.decoder.variants`, which help is not to wait for."""
ConfigPath = Annotated[
    Path, typer.Argument(help="Config file ('vvae init' writes one), or a run's folder.")
]
RequireConsent = Annotated[
    bool,
    typer.Option(
        "--require-consent",
        help="Refuse to train unless everybody in the chats is in the consent file.",
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint", help="URL, up to /v1, of an OpenAI-compatible server that is to answer."
    ),
]
EndpointModel = Annotated[
    str | None, typer.Option("--model", help="Name of the model to ask at --endpoint.")
]
EndpointKey = Annotated[
    str, typer.Option(help="Name of the environment variable that holds the endpoint's key.")
]
EndpointCost = Annotated[
    float | None,
    typer.Option(
        min=0.0, help="Stop before the calls to the endpoint cost more than this; needs --price."
    ),
]
EndpointPrice = Annotated[
    tuple[float, float] | None,
    typer.Option(
        help="What the endpoint takes for a million prompt tokens and a million completion tokens."
    ),
]
RunPath = Annotated[Path, typer.Argument(help="Folder of a run, as 'vvae run' made it.")]


def open_run(folder: Path) -> Run:
    """Return the run of a folder.

    Raises:
        DataError: there is none.
    """
    if not (folder / "config.yaml").is_file():
        raise DataError("no run here", where=str(folder), fix="make one with 'vvae run CONFIG'")
    return open_config(folder)


def open_config(config: Path) -> Run:
    """Return the run of a config file, or of a run folder, with progress on the terminal."""
    from vvae.core.console import console_reporter
    from vvae.core.reporting import Reporter, Silent
    from vvae.decoder.distributed import is_first
    from vvae.pipeline.run import Run

    reporter: Reporter = console_reporter() if is_first() else Silent()
    return Run.open(config, reporter=reporter)


def any_run(run: Path | None, config: Path | None) -> Run:
    """Return the run of a folder, else of a config, else of the default config."""
    if run or config:
        return open_run(run) if run else open_config(config or Path())
    from vvae.config import RunConfig
    from vvae.pipeline.run import Run

    return Run(RunConfig())


def run_until(config: Path, group: str) -> Run:
    """Run the stages of a config up to a group; return the run."""
    return open_config(config).make(until=group)


def check_consent(config: Path) -> None:
    """Refuse to go on unless everybody is in the consent file."""
    from vvae.pipeline.stages.training import consent

    consent(run_until(config, "dialogues"), required=True)


def named(pair: str, option: str, example: str) -> tuple[str, str]:
    """Return the name and the value of a NAME=VALUE."""
    name, separator, value = pair.partition("=")
    if not separator:
        raise ConfigError(
            f"{pair!r} is no NAME=VALUE", where=option, fix=f"for example {option} {example}"
        )
    return name.strip(), value.strip()


def endpoint_of(
    url: str | None,
    model: str | None,
    key_env: str,
    max_cost: float | None,
    price: tuple[float, float] | None,
) -> EndpointConfig | None:
    """Return the endpoint that the options name; None where they name none."""
    from pydantic import ValidationError

    from vvae.inference.endpoint.settings import EndpointConfig, Price

    if (url is None) != (model is None):
        raise ConfigError(
            "an endpoint needs a URL and a model",
            where="--endpoint",
            fix="give --endpoint and --model",
        )
    if not (url and model):
        return None
    priced = Price(prompt=price[0], completion=price[1]) if price else None
    try:
        return EndpointConfig(
            base_url=(url,), model=model, key_env=key_env, price=priced, max_cost=max_cost
        )
    except ValidationError as error:
        reason = error.errors()[0]
        what = str(reason.get("ctx", {}).get("error", reason["msg"]))
        raise ConfigError(what, where="--endpoint") from None
