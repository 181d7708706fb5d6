"""From a run folder to a server that listens."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vvae.core.errors import ConfigError
from vvae.inference.endpoint.settings import is_loopback
from vvae.pipeline.run import Run
from vvae.serving.engines import llama_base, why_unread
from vvae.serving.http.app import application
from vvae.serving.http.auth import LOOPBACK, Keys
from vvae.serving.http.engine_process import EngineProcess
from vvae.serving.http.reader_process import SECONDS_TO_READ, ReaderProcess, ReaderSettings
from vvae.serving.http.service import Limits, Service
from vvae.serving.http.worker_settings import WorkerSettings

__all__ = ["Listening", "serve_run"]

HEADER_SECONDS = 10.0
KEPT_SECONDS = 20
DRAIN_SECONDS = 60
BACKLOG = 2048
KEY, OWNER_KEY = "VVAE_API_KEY", "VVAE_OWNER_KEY"
SHORTEST_KEY = 16
ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Listening:
    """An address to serve on, and for whom.

    Args:
        host: other than loopback it needs a key.
        key_env: environment variable with the key.
        origins: of pages of other sites that may call.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    key_env: str = KEY
    origins: Sequence[str] = ()


class _Protocol(H11Protocol):
    """A connection that does not say in time what it wants is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does so only where a socket names its protocol; else each first text waits 40 ms
        # for its receipt
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._patience = asyncio.get_running_loop().call_later(
            HEADER_SECONDS, self._close_unless_asked, None
        )

    def on_response_complete(self) -> None:
        last = self.cycle  # what follows may begin the next one at once
        super().on_response_complete()
        self._patience.cancel()
        if self.transport.is_closing():
            return
        wait = KEPT_SECONDS + HEADER_SECONDS
        self._patience = asyncio.get_running_loop().call_later(wait, self._close_unless_asked, last)

    def _close_unless_asked(self, last: object) -> None:
        if self.cycle is last and not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)


def listener(listening: Listening) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        ConfigError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    try:
        return socket.create_server(
            (listening.host.strip("[]"), listening.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        where = f"{listening.host}:{listening.port}"
        raise ConfigError(
            f"cannot listen ({error.strerror})", where=where, fix="give another --port"
        ) from None


def keys_of(listening: Listening) -> Keys:
    """Return the keys that clients must have.

    Raises:
        ConfigError: one is needed and not there, or too short to keep anyone out; or an origin is
            none, or let in without a key.
    """
    talk, owner = (os.environ.get(name) or None for name in (listening.key_env, OWNER_KEY))
    if talk is None and not is_loopback(listening.host):
        fix = f"set {listening.key_env}, or leave out --host"
        raise ConfigError(
            "others can reach this address, so a key is needed", where="--host", fix=fix
        )
    for name, key in ((listening.key_env, talk), (OWNER_KEY, owner)):
        if key is not None and not (len(key) >= SHORTEST_KEY and key.isascii()):
            what = f"a key has at least {SHORTEST_KEY} characters, all ASCII"
            raise ConfigError(what, where=name, fix="for example openssl rand -hex 24")
    if talk is not None and talk == owner:
        raise ConfigError("the same key twice", where=OWNER_KEY, fix="give the owner another")
    for origin in listening.origins:
        if not ORIGIN.fullmatch(origin):
            raise ConfigError(
                f"{origin[:100]!r} is no origin", where="--cors", fix="for example https://my.site"
            )
    if listening.origins and talk is None:
        raise ConfigError(
            "pages of other sites may not call without a key",
            where="--cors",
            fix=f"set {listening.key_env}",
        )
    return Keys(talk, owner)


def serve_run(
    run: Run,
    adapters: Sequence[str],
    listening: Listening,
    settings: WorkerSettings,
    *,
    queue: int,
    limits: Limits,
    seed: int = 0,
    encoder_endpoint: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGINT or SIGTERM, and let replies that are being written end.

    Raises:
        ConfigError: the address needs a key, or the port is taken.
        VVAEError: the run or the model cannot be loaded.
    """
    keys = keys_of(listening)

    def load() -> Any:
        from vvae.serving.http.personas import PersonaResolver

        unread = why_unread(run, encoder_endpoint)
        if unread:
            say(f"Nothing is read in chats: {unread.what} — {unread.fix}")
        base = Path(settings.gguf) if settings.gguf else None
        in_process = settings.engine != "proxy" and llama_base(run, settings.engine, base) is None
        personas = PersonaResolver(
            run,
            adapters,
            seed=seed,
            reads=unread is None,
            strengths=settings.slots - 1 if in_process else None,
        )
        for name, why in personas.broken.items():
            say(f"Left out: the persona {name}: {why}")
        names = ", ".join(personas.variants)
        people = f"{len(personas.speakers):,} speakers, {len(personas.personas):,} kept personas"
        say(f"{names}; {people}. The model is loading.")
        return personas

    # A model that reads answers call by call, and what it has answered is kept.
    seconds = limits.seconds if run.config.encoder.calls_a_model else SECONDS_TO_READ
    reader = ReaderProcess(ReaderSettings(run=settings.run), seconds=seconds)
    service = Service(EngineProcess(settings, queue=queue), reader, load, limits)

    def stop() -> None:
        server.should_exit = True

    hosts = (*LOOPBACK, listening.host) if keys.talk is None else None
    app = application(service, keys=keys, hosts=hosts, origins=listening.origins, stop=stop)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=_Protocol,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEPT_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, lambda *_: None
        )  # uvicorn raises what it has dealt with once more at its end
    with listener(listening) as bound:
        host = f"[{listening.host}]" if ":" in listening.host else listening.host
        url = f"http://{host}:{listening.port}"
        say(f"{url}/  (OpenAI clients: {url}/v1; Ctrl-C ends it)")
        server.run([bound])
    if service.failure:
        raise service.failure
