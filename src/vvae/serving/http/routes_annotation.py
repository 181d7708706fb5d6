"""The page of `vvae collect`, for annotators on this machine or behind a tunnel of theirs."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from vvae.core.errors import ModelError, UserError
from vvae.evaluation.annotation import LONGEST_REPLY, Collection

__all__ = ["application", "serve_collection"]

LARGEST_BODY = 64 * 1024


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    annotator: str = Field(max_length=40)


class _About(_Asked):
    about: dict[str, str] = Field(max_length=12)


class _Draft(_Asked):
    task: str = Field(max_length=300)
    reply: str = Field("", max_length=LONGEST_REPLY)
    values: dict[str, str | None] | None = Field(None, max_length=64)
    done: bool = False


def application(collection: Collection) -> Any:
    """Return the ASGI application: a page and four calls.

    Raises:
        ModelError: FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI, Request
        from fastapi.exceptions import RequestValidationError
        from fastapi.responses import HTMLResponse, JSONResponse
        from starlette.middleware.trustedhost import TrustedHostMiddleware
    except ImportError:
        raise ModelError("fastapi is not installed", fix="pip install 'vvae[serve]'") from None

    app = FastAPI(title="vvae collect", docs_url=None, redoc_url=None, openapi_url=None)
    # A page of another site that was given this address by its name server must not be answered.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    space = collection.space
    dimensions = [
        {
            "name": d.name,
            "axis": d.axis,
            "description": d.description,
            "labels": list(d.labels or {}),
        }
        for d in space.dimensions
    ]
    page = resources.files("vvae.serving.http").joinpath("collect.html").read_text("utf-8")
    page = page.replace(
        "{{ dimensions }}", json.dumps(dimensions, ensure_ascii=False).replace("<", "\\u003c")
    )

    @app.middleware("http")
    async def limit(request: Request, call_next: Any) -> Any:
        length = request.headers.get(
            "content-length", ""
        )  # a body without one could be of any size
        if request.method == "POST" and not (length.isdigit() and int(length) <= LARGEST_BODY):
            return JSONResponse({"error": "too large"}, 413, HEADERS)
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(UserError)
    async def refused(_: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)

    @app.get("/")
    def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})

    @app.post("/work")
    def work(body: _Asked) -> dict[str, Any]:
        record = collection.work(body.annotator)
        return {"about": record.about, "tasks": [_task(name, record) for name in collection.tasks]}

    def _task(name: str, record: Any) -> dict[str, Any]:
        entry = record.entries.get(name)
        own = {"draft": "", "values": None, "filled": None, "done": False}
        if entry:
            values = entry.values or entry.prefilled
            own = {
                "draft": entry.reply,
                "values": values,
                "filled": entry.prefilled,
                "done": entry.done,
            }
        return collection.task_view(name) | own

    @app.post("/about")
    def about(body: _About) -> dict[str, bool]:
        collection.about(body.annotator, body.about)
        return {"kept": True}

    @app.post("/keep")
    def keep(body: _Draft) -> dict[str, bool]:
        collection.keep(body.annotator, body.task, body.reply, body.values, done=body.done)
        return {"kept": True}

    @app.post("/fill")
    def fill(body: _Draft) -> dict[str, str | None]:
        return collection.fill_in(body.annotator, body.task, body.reply)

    return app


POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src "
    "'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def serve_collection(collection: Collection, port: int) -> None:
    """Serve on loopback until interrupted."""
    try:
        import uvicorn
    except ImportError:
        raise ModelError("uvicorn is not installed", fix="pip install 'vvae[serve]'") from None
    uvicorn.run(
        application(collection), host="127.0.0.1", port=port, log_level="warning", access_log=False
    )
