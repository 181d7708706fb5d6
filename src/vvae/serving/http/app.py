"""The served application: who may ask, the routers, and how failures are answered."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from vvae.core.errors import UserError
from vvae.serving.http import routes_chat, routes_likeness, routes_page, routes_service
from vvae.serving.http.auth import Keys, RequestGuard
from vvae.serving.http.replies import ClientGoneError
from vvae.serving.http.schemas import CONVERSATION, LONGEST_STOP, MOST_STOPS, ApiError, error_body
from vvae.serving.http.service import Service

__all__ = ["ROUTERS", "application"]

ROUTERS = (
    routes_service.router,
    routes_page.router,
    routes_likeness.router,
    routes_chat.router,
)
"""All routes; each of them stands behind `RequestGuard`."""
FORMS = {
    "stop": f"one text, or a list of at most {MOST_STOPS}, each of 1 to {LONGEST_STOP} characters",
    "persona": "a text such as 'Ana; tone=playful', or an object",
    "temperature": "a number from 0 to 2",
    "top_p": "a number from 0 to 1",
}
"""What a field takes, where pydantic's words would not say it."""


def application(
    service: Service,
    *,
    keys: Keys = Keys(),  # noqa: B008 -- immutable
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
    stop: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Return the ASGI application.

    Args:
        keys: asked for as bearer tokens.
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
    app.state.service = service
    app.add_middleware(RequestGuard, keys=keys, hosts=hosts)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-VVAE-Persona", *CONVERSATION],
            expose_headers=["Retry-After", "X-VVAE-Seed"],
        )
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(UserError, _mistaken)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(ClientGoneError, _gone)
    app.add_exception_handler(OSError, _not_written)
    return app


# --- every failure is answered in OpenAI's form ---------------------------------------------------


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return JSONResponse(error.body, error.status, headers)


async def _mistaken(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UserError)
    where = error.where.partition(".")[0] or None
    return JSONResponse(error_body(str(error), kind="invalid_request_error", param=where), 400)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        body = error_body("the body is no JSON", kind="invalid_request_error")
        return JSONResponse(body, 400)
    # A union reports each alternative that it tried: what is meant is told by the field.
    where = ".".join(str(part) for part in first["loc"] if part != "body" and "[" not in str(part))
    field = where.partition(".")[0]
    what = str(first["msg"])
    if field in FORMS:
        where, what = field, FORMS[field]
    body = error_body(
        f"{where or 'body'}: {what}", kind="invalid_request_error", param=field or None
    )
    return JSONResponse(body, 400)


async def _no_route(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    what = str(error.detail)
    if error.status_code == 404:
        what = "there is no such route; there are /v1/chat/completions and /v1/models"
    body = error_body(what, kind="invalid_request_error")
    return JSONResponse(body, error.status_code, error.headers)


async def _not_written(_: Request, error: Exception) -> JSONResponse:
    if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    what = "the disk is full: nothing was kept; free some space and try again"
    return JSONResponse(error_body(what, kind="server_error", code="disk_full"), 507)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=499)
