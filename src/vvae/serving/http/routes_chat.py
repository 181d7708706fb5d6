"""OpenAI's chat completions: the next reply of a conversation, and the z it is written under."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from vvae.serving.http.admission import admitted
from vvae.serving.http.replies import Answer, unless_gone
from vvae.serving.http.schemas import CONVERSATION, ChatRequest, Headers, errors
from vvae.serving.http.service import Limits, ServiceDependency

__all__ = ["router"]

router = APIRouter()
COLDEST = 1e-4
"""A lower temperature is greedy."""


@router.post("/v1/chat/completions", responses=errors(400, 404, 408, 413, 415, 429, 503, 504))
async def chat(request: Request, body: ChatRequest, service: ServiceDependency) -> Response:
    """Write the next reply of a conversation."""
    body.check_form()
    with admitted(service, body.n or 1) as admission:
        answer = Answer(
            service.engine,
            service.reader,
            await admission.spec(request, body, _headers(request)),
            body.model,
            body.n or 1,
            secrets.randbits(31) if body.seed is None else body.seed,
            _settings(body, service.limits),
            [body.stop] if isinstance(body.stop, str) else body.stop or [],
            admission.seconds,
        )
        admission.take(answer.at_once - (body.n or 1))
        chunks, headers = answer.chunks(), {"X-VVAE-Seed": str(answer.seed)}
        if not body.stream:
            whole = await unless_gone(request.receive, answer.whole(chunks))
            admission.answered("ok", answer)
            return JSONResponse(whole, headers=headers)
        # The first chunk says that the prompt is read: one that is refused is no stream yet.
        await unless_gone(request.receive, anext(chunks))
        usage = bool(body.stream_options and body.stream_options.include_usage)
        return admission.stream(answer, answer.lines(chunks, usage=usage), headers)


def _headers(request: Request) -> Headers:
    headers = request.headers
    conversation = next(filter(None, map(headers.get, CONVERSATION)), None)
    return Headers(headers.get("x-vvae-persona"), conversation[:200] if conversation else None)


def _settings(body: ChatRequest, limits: Limits) -> dict[str, Any]:
    """Return what reaches an engine; at temperature 1 and top_p 1 it is the model as it is."""
    temperature = 1.0 if body.temperature is None else body.temperature
    asked = (body.max_completion_tokens, body.max_tokens)
    tokens = next((n for n in asked if n and n > 0), limits.tokens)
    return {
        "temperature": temperature * (temperature >= COLDEST),
        "top_p": 1.0 if body.top_p is None else max(body.top_p, COLDEST),
        "max_tokens": min(tokens, limits.tokens),
    }
