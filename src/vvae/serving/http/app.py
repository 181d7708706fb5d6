"""The served application: OpenAI's chat completions over a run, its health and its figures."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from vvae.core.errors import EndpointError, ModelError, UserError, VVAEError
from vvae.serving.http.auth import Guard
from vvae.serving.http.engine_process import EngineProcess
from vvae.serving.http.metrics import Figures
from vvae.serving.http.replies import Answer, ClientGoneError, EventStream, unless_gone
from vvae.serving.http.routes_page import router
from vvae.serving.http.schemas import ApiError, ChatRequest, Headers, error_body

if TYPE_CHECKING:
    from vvae.serving.http.personas import Cast

__all__ = ["Limits", "Service", "application"]

LOG = logging.getLogger("vvae.server")
COLDEST = 1e-4
"""Less is greedy."""
READERS = 4
"""Conversations read at once; other routes have threads of their own."""
SECONDS_TO_READ = 10.0
"""Given to a client for reading what was written, after the time for a request is over."""


@dataclass(frozen=True)
class Limits:
    """What one request may take.

    Args:
        tokens: of a reply; more is cut to it.
        seconds: from the request to the end of its replies.
    """

    tokens: int = 512
    seconds: float = 120.0


class Service:
    """What the routes share: the engine's process, and the cast once it is read."""

    def __init__(
        self, engine: EngineProcess, load: Callable[[], Cast], limits: Limits | None = None
    ) -> None:
        self.engine, self.limits, self.figures = engine, limits or Limits(), Figures()
        self.failure: VVAEError | None = None
        self._load = load
        self._cast: Cast | None = None
        self.started = int(time.time())
        self.readers = CapacityLimiter(READERS)

    @property
    def status(self) -> str:
        """``ok``, or what is going on instead."""
        if self._cast is None:
            return "loading"
        return "ok" if self.engine.state == "ready" else self.engine.state

    @property
    def cast(self) -> Cast:
        """Who can be talked to.

        Raises:
            ApiError: 503, it is not read yet.
        """
        if self._cast is None:
            raise ApiError(
                503, "the run is being read", kind="server_error", code="unavailable", retry_after=1
            )
        return self._cast

    async def run(self, stop: Callable[[], None]) -> None:
        """Reads the cast and keeps the engine alive; `stop` is called where it cannot be."""
        working = asyncio.create_task(self.engine.run())
        try:
            self._cast = await asyncio.to_thread(self._load)
            await working
            self.failure = self.engine.failure
        except VVAEError as error:
            self.failure = error
        except Exception as error:
            self.failure = VVAEError(f"the run cannot be read ({type(error).__name__}: {error})")
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
            stop()


class Model(BaseModel):
    """A model as clients list it."""

    id: str
    object: str = "model"
    created: int
    owned_by: str
    parent: str | None = None


class Models(BaseModel):
    """All of them."""

    object: str = "list"
    data: list[Model]


class Health(BaseModel):
    """Whether requests are answered now."""

    status: str


class ErrorObject(BaseModel):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Its envelope."""

    error: ErrorObject


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer} for status in (401, 421, *statuses)}


def application(
    service: Service,
    *,
    key: str | None = None,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
    stop: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The ASGI application.

    Args:
        key: asked for as bearer token.
        hosts: names under which it may be called; None for any.
        origins: of pages of other sites that may call it.
        stop: ends the server.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.run(stop))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPI(
        title="vvae", description=__doc__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.add_middleware(Guard, key=key, hosts=hosts)
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"]
        )

    _explain(app)

    @app.get("/health", responses={503: {"model": Health}, 421: {"model": ErrorAnswer}})
    async def health() -> Health:
        """Whether requests are answered now; 503 while the model loads."""
        if service.status != "ok":
            return JSONResponse({"status": service.status}, 503)  # type: ignore[return-value]
        return Health(status="ok")

    @app.get("/metrics", response_class=PlainTextResponse, responses=_errors())
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.figures.text(service.engine), media_type=service.figures.media_type)

    @app.get("/v1/models", responses=_errors(503))
    async def models() -> Models:
        """Adapters and speakers."""
        return Models(data=[_model(*one) for one in service.cast.models])

    @app.get("/v1/models/{model:path}", responses=_errors(404, 400, 503))
    async def model(model: str) -> Model:
        """One of them, or adapter@persona."""
        adapter, _ = service.cast.find(model)
        return _model(model, None if adapter == model else adapter)

    def _model(name: str, parent: str | None) -> Model:
        return Model(id=name, created=service.started, owned_by="vvae", parent=parent)

    app.include_router(router(lambda: service.cast, _errors))

    @app.post("/v1/chat/completions", responses=_errors(400, 404, 408, 413, 415, 429, 503, 504))
    async def chat(request: Request, asked: ChatRequest) -> Response:
        """The next reply of a conversation, and the z it is written under."""
        arrived = time.monotonic()
        number = asked.n or 1
        leaving = ExitStack()  # a stream, which ends after this function, takes it over
        try:
            read = partial(service.cast.cue, asked, _headers(request))
            leaving.callback(service.engine.enter(number))
            reading = to_thread.run_sync(read, abandon_on_cancel=True, limiter=service.readers)
            try:
                async with asyncio.timeout(service.limits.seconds):
                    cue = await unless_gone(request.receive, reading)
            except TimeoutError:
                raise ApiError(
                    504, "the conversation could not be read in time", kind="server_error"
                ) from None
            answer = Answer(
                service.engine,
                cue,
                asked.model,
                number,
                secrets.randbits(31) if asked.seed is None else asked.seed,
                _settings(asked, service.limits),
                [asked.stop] if isinstance(asked.stop, str) else asked.stop or [],
                max(0.1, service.limits.seconds - (time.monotonic() - arrived)),
            )
            chunks = answer.chunks()
            headers = {"X-VVAE-Seed": str(answer.seed)}
            if not asked.stream:
                whole = await unless_gone(request.receive, answer.whole(chunks))
                service.figures.ended("ok", answer, arrived)
                return JSONResponse(whole, headers=headers)
            await unless_gone(
                request.receive, anext(chunks)
            )  # a prompt that is refused is no stream yet
            usage = bool(asked.stream_options and asked.stream_options.include_usage)
            left = leaving.pop_all()

            def after(ended: str) -> None:
                left.close()
                service.figures.ended(str(answer.failed or ended), answer, arrived)

            lines = answer.lines(chunks, usage=usage)
            return EventStream(
                lines, headers, after, seconds=service.limits.seconds + SECONDS_TO_READ
            )
        except ClientGoneError:
            service.figures.count("disconnected")
            return Response(status_code=499)
        except ApiError as error:
            service.figures.count(str(error.status))
            raise
        except UserError:
            service.figures.count("400")
            raise
        finally:
            leaving.close()

    return app


def _explain(app: FastAPI) -> None:
    """Every failure is answered in OpenAI's form."""

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> JSONResponse:
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return JSONResponse(error.body, error.status, headers)

    @app.exception_handler(UserError)
    async def mistaken(_: Request, error: UserError) -> JSONResponse:
        if isinstance(error, EndpointError | ModelError):  # an encoder's server, not what was asked
            return JSONResponse(
                error_body(str(error), kind="server_error", code="encoder_failed"), 503
            )
        where = error.where.partition(".")[0] or None
        return JSONResponse(error_body(str(error), kind="invalid_request_error", param=where), 400)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        return JSONResponse(
            error_body(message, kind="invalid_request_error", param=where or None), 400
        )

    @app.exception_handler(HTTPException)
    async def no_route(_: Request, error: HTTPException) -> JSONResponse:
        body = error_body(str(error.detail), kind="invalid_request_error")
        return JSONResponse(body, error.status_code, error.headers)


def _headers(request: Request) -> Headers:
    found = request.headers
    conversation = found.get("x-vvae-conversation") or found.get("x-openwebui-chat-id")
    return Headers(found.get("x-vvae-persona"), conversation[:200] if conversation else None)


def _settings(asked: ChatRequest, limits: Limits) -> dict[str, Any]:
    """The fields that reach an engine; at temperature 1 and top_p 1 it is the model as it is."""
    wanted = asked.max_completion_tokens or asked.max_tokens or limits.tokens
    return {
        "temperature": 1.0
        if asked.temperature is None
        else asked.temperature * (asked.temperature >= COLDEST),
        "top_p": 1.0 if asked.top_p is None else max(asked.top_p, COLDEST),
        "max_tokens": min(wanted, limits.tokens),
    }
