"""What is served beside replies: health, counters, the models that can be asked for."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.responses import Response

from vvae.serving.http.schemas import ErrorAnswer, errors
from vvae.serving.http.service import Service, ServiceDependency

__all__ = ["router"]

router = APIRouter()


class Model(BaseModel):
    """A model as clients list it."""

    id: str
    object: str = "model"
    created: int
    owned_by: str
    parent: str | None = None


class Models(BaseModel):
    """A list of all models."""

    object: str = "list"
    data: list[Model]


class Health(BaseModel):
    """A statement whether requests are answered now."""

    status: str


@router.get("/health", responses={503: {"model": Health}, 421: {"model": ErrorAnswer}})
async def health(service: ServiceDependency) -> Health:
    """Return whether requests are answered now; 503 while the model loads."""
    if service.status != "ok":
        return JSONResponse({"status": service.status}, 503)  # type: ignore[return-value]
    return Health(status="ok")


@router.get("/metrics", response_class=PlainTextResponse, responses=errors())
async def metrics(service: ServiceDependency) -> Response:
    """Return all counters in Prometheus text format."""
    text = service.metrics.text(service.engine)
    return Response(text, media_type=service.metrics.media_type)


@router.get("/v1/models", responses=errors(503))
async def models(service: ServiceDependency) -> Models:
    """Return adapters and speakers."""
    return Models(data=[_model(service, *entry) for entry in service.personas.models])


@router.get("/v1/models/{model:path}", responses=errors(404, 400, 503))
async def model(model: str, service: ServiceDependency) -> Model:
    """Return one of them, or adapter@persona."""
    adapter, _ = service.personas.find(model)
    return _model(service, model, None if adapter == model else adapter)


def _model(service: Service, name: str, parent: str | None) -> Model:
    return Model(id=name, created=service.started, owned_by="vvae", parent=parent)
