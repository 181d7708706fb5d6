"""The page: its files, and what it asks beside chat completions: the space, kept personas, what was
read in replies.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from vvae.latent.steering import Reach, Steering, steering_from_json
from vvae.serving.http.schemas import ApiError, Name

if TYPE_CHECKING:
    from vvae.evaluation.review import Review
    from vvae.serving.http.personas import Cast

__all__ = ["router"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILES = {
    "": ("page.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
TOP = 12
"""Values of a dimension that the page offers."""
MOST_ITEMS = 50


class KeptPersona(BaseModel):
    """A persona to keep: whose profile it starts from, and the knobs over it."""

    model_config = ConfigDict(extra="forbid")

    speaker: Name
    persona: str | dict[str, Any] = Field(description="as in a request for a reply")


class Said(BaseModel):
    """What a person says of a value that was read."""

    model_config = ConfigDict(extra="forbid")

    pair: str = Field(max_length=400)
    dimension: str = Field(max_length=100)
    verdict: Literal["accepted", "corrected", "null"] | None = None
    value: str | None = Field(None, max_length=400)


def router(cast_of: Callable[[], Cast], errors: Callable[..., dict[int | str, Any]]) -> APIRouter:
    """The page's routes.

    Args:
        cast_of: who can be talked to; raises ApiError while it is not read.
        errors: statuses -> how the schema describes them.
    """
    routes = APIRouter()
    reviews: list[Review] = []
    lock = Lock()

    def review() -> Review:
        from vvae.evaluation.review import Review

        with lock:
            if not reviews:
                reviews.append(Review(cast_of().run))
            return reviews[0]

    for path, (file, media_type) in FILES.items():
        routes.add_api_route(f"/{path}", _file(file, media_type), include_in_schema=False)

    @routes.get("/vvae/space", responses=errors(503))
    def space() -> dict[str, Any]:
        """Dimensions with the values to choose from, adapters with what they can do, speakers and
        personas.
        """
        cast = cast_of()
        dimensions = [
            {
                "name": d.name,
                "axis": d.axis,
                "scope": d.scope,
                "description": d.description,
                "labels": list(d.labels or {}),
                "top": [value for value, _ in cast.prior[d.name].ordered[:TOP]],
                "r": round(cast.prior[d.name].rate, 4),
            }
            for d in cast.space.dimensions
        ]
        adapters = [
            {
                "name": name,
                "shows_z": variant.shows_slots,
                "reach": {n: _between(reach) for n, reach in cast.reach[name].items()},
            }
            for name, variant in cast.variants.items()
        ]
        return {
            "dimensions": dimensions,
            "adapters": adapters,
            "speakers": [{"name": n, "replies": p.replies} for n, p in cast.speakers.items()],
            "personas": sorted(cast.personas),
        }

    @routes.get("/vvae/personas/{name:path}", responses=errors(404, 503))
    def persona(name: str) -> dict[str, Any]:
        """The values of a speaker or a kept persona, and the knobs kept with it."""
        cast = cast_of()
        profile = cast.profiles.get(name)
        if profile is None:
            raise ApiError(404, "nobody is called so", code="persona_not_found")
        kept = cast.personas[name][1] if name in cast.personas else Steering()
        values = {n: slot.value for n, slot in profile.persona()}
        knobs: dict[str, dict[str, Any]] = {n: knob._asdict() for n, knob in kept.knobs.items()}
        for dimension, rate in kept.rates.items():
            knobs.setdefault(dimension, {})["rate"] = rate
        return {"name": name, "values": values, "knobs": knobs, "seed": kept.seed}

    @routes.put("/vvae/personas/{name:path}", responses=errors(400, 404, 408, 413, 415, 503))
    def keep(name: str, kept: KeptPersona) -> dict[str, Any]:
        """Keeps a persona in the run, as a character card."""
        from vvae.serving.cards.personas import save_persona

        cast = cast_of()
        profile = cast.profiles.get(kept.speaker)
        if profile is None:
            raise ApiError(404, "nobody is called so", code="persona_not_found")
        asked = steering_from_json(kept.persona)
        with lock:
            save_persona(cast.run, name, profile, asked)
            cast.read_personas()
        return persona(name)

    @routes.delete("/vvae/personas/{name:path}", responses=errors(400, 404, 503))
    def drop(name: str) -> dict[str, bool]:
        """Deletes a kept persona."""
        from vvae.serving.cards.personas import delete_persona

        cast = cast_of()
        with lock:
            if not delete_persona(cast.run, name):
                raise ApiError(404, "nobody is called so", code="persona_not_found")
            cast.read_personas()
        return {"deleted": True}

    @routes.get("/vvae/review", responses=errors(400, 503))
    def items(speaker: str | None = None, start: int = 0, number: int = 10) -> dict[str, Any]:
        """Replies with the values that the encoder read in them, and what was said of those."""
        start, number = max(0, min(start, 2**31)), max(1, min(number, MOST_ITEMS))
        found, total = review().items(speaker or None, start, number)
        return {"items": found, "total": total, "counts": review().counts()}

    @routes.post("/vvae/review", responses=errors(400, 408, 413, 415, 503))
    def say(said: Said) -> dict[str, Any]:
        """Keeps what a person says of a value."""
        one = review()
        with lock:
            one.say(said.pair, said.dimension, said.verdict, said.value)
        return {"counts": one.counts()}

    return routes


def _file(name: str, media_type: str) -> Callable[[], Response]:
    data = resources.files("vvae.serving.http").joinpath(name).read_bytes()
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return lambda: Response(data, media_type=media_type, headers=headers)


def _between(reach: Reach) -> dict[str, Any]:
    low, high = reach.ends
    return {"low": round(low, 4), "high": round(high, 4), "basis": reach.basis}
