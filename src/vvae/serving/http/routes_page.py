"""The page: its files, and what it asks beside chat completions: the space, kept personas, what was
read in replies.

The page is three files without a framework, and a client of the same API as everybody's, under a
policy that allows no script but its own. Gradio 6 takes 4 s to import and 83 MB, and brings routes
for files, sessions in the server's memory and a second way to ask, which limits and keys would have
to cover too.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from vvae.latent.steering import Reach, Steering, steering_from_json
from vvae.serving.http.replies import unless_gone
from vvae.serving.http.schemas import ApiError, Name, errors
from vvae.serving.http.service import ServiceDependency

if TYPE_CHECKING:
    from vvae.evaluation.review import Review
    from vvae.latent.profile import Profile
    from vvae.pipeline.run import Run

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
TRAITS = 2
"""Values that stand beside a speaker's name."""


class KeptPersona(BaseModel):
    """A persona to keep: whose profile it starts from, and the knobs over it."""

    model_config = ConfigDict(extra="forbid")

    speaker: Name
    persona: str | dict[str, Any] = Field(description="as in a request for a reply")


class GivenCard(BaseModel):
    """A character card, V1 to V3, as JSON."""

    model_config = ConfigDict(extra="forbid")

    card: dict[str, Any]


class Verdict(BaseModel):
    """A person's judgement of a value that was read."""

    model_config = ConfigDict(extra="forbid")

    pair: str = Field(max_length=400)
    dimension: str = Field(max_length=100)
    verdict: Literal["accepted", "corrected", "null"] | None = None
    value: str | None = Field(None, max_length=400)


router = APIRouter()


class Reviews:
    """The review of a run, read when it is first asked for; writes to a run one at a time."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._review: Review | None = None

    def of(self, run: Run) -> Review:
        """Return the review of a run."""
        from vvae.evaluation.review import Review

        with self.lock:
            if self._review is None:
                self._review = Review(run)
            return self._review


def _reviews(request: Request) -> Any:
    state = request.app.state
    if not hasattr(state, "reviews"):
        state.reviews = Reviews()
    return state.reviews


ReviewsDependency = Annotated[Reviews, Depends(_reviews)]


@router.get("/vvae/space", responses=errors(503))
def space(request: Request, service: ServiceDependency) -> dict[str, Any]:
    """Return dimensions with the values to choose from, adapters with what they can do, speakers
    and personas.
    """
    from vvae.serving.cards.personas import OPENERS

    personas = service.personas
    personas.refresh()
    dimensions = [
        {
            "name": d.name,
            "axis": d.axis,
            "scope": d.scope,
            "draws": d.draws,
            "description": d.description,
            "labels": list(d.labels or {}),
            "top": [value for value, _ in personas.prior[d.name].ordered[:TOP]],
            "r": round(personas.prior[d.name].rate, 4),
        }
        for d in personas.space.dimensions
    ]
    adapters = [
        {
            "name": name,
            "shows_z": variant.shows_slots,
            "trained": variant.trained,
            "strength": personas.sets_off and variant.shows_slots,
            "told": variant.dimensions,
            "reach": {n: _between(reach) for n, reach in personas.reach[name].items()},
        }
        for name, variant in personas.variants.items()
    ]
    return {
        "dimensions": dimensions,
        "adapters": adapters,
        "speakers": [
            {"name": name, "replies": profile.replies, "traits": _traits(profile)}
            for name, profile in personas.speakers.items()
        ],
        "personas": sorted(personas.personas),
        "openers": {"spaced": OPENERS[False], "unspaced": OPENERS[True]},
        "owner": bool(request.scope.get("vvae.owner")),
    }


@router.get("/vvae/personas/{name:path}", responses=errors(404, 503))
def persona(name: str, service: ServiceDependency) -> dict[str, Any]:
    """Return the values of a speaker or a kept persona, and the knobs kept with it."""
    personas = service.personas
    personas.refresh()
    profile = personas.profiles.get(name)
    if profile is None:
        raise ApiError(404, "nobody is called so", code="persona_not_found")
    steering = personas.personas[name][1] if name in personas.personas else Steering()
    values = {n: slot.value for n, slot in profile.persona()}
    knobs: dict[str, dict[str, Any]] = {n: knob._asdict() for n, knob in steering.knobs.items()}
    for dimension, rate in steering.rates.items():
        knobs.setdefault(dimension, {})["rate"] = rate
    for dimension, strength in steering.strengths.items():
        knobs.setdefault(dimension, {})["strength"] = strength
    return {
        "name": name,
        "values": values,
        "habits": sorted(profile.habits),
        "knobs": knobs,
        "seed": steering.seed,
        "candidates": steering.candidates,
    }


@router.put("/vvae/personas/{name:path}", responses=errors(400, 404, 408, 413, 415, 503))
def keep(
    name: str, body: KeptPersona, service: ServiceDependency, reviews: ReviewsDependency
) -> dict[str, Any]:
    """Keep a persona in the run, as a character card."""
    from vvae.serving.cards.personas import save_persona

    personas = service.personas
    profile = personas.profiles.get(body.speaker)
    if profile is None:
        raise ApiError(404, "nobody is called so", code="persona_not_found")
    steering = steering_from_json(body.persona)
    with reviews.lock:
        card = save_persona(personas.run, name, profile, steering)
        personas.read_personas()
    return persona(card.name, service)


@router.delete("/vvae/personas/{name:path}", responses=errors(400, 404, 503))
def drop(name: str, service: ServiceDependency, reviews: ReviewsDependency) -> dict[str, bool]:
    """Delete a kept persona."""
    from vvae.serving.cards.personas import delete_persona

    personas = service.personas
    with reviews.lock:
        if not delete_persona(personas.run, name):
            raise ApiError(404, "nobody is called so", code="persona_not_found")
        personas.read_personas()
    return {"deleted": True}


@router.post("/vvae/cards", responses=errors(400, 408, 413, 415, 503, 504))
async def adopt(
    request: Request, body: GivenCard, service: ServiceDependency, reviews: ReviewsDependency
) -> dict[str, Any]:
    """Keep a character card in the run as a persona; one that others made is read first."""
    from vvae.serving.cards.card import card_from
    from vvae.serving.cards.personas import adopt_card, renamed

    personas = service.personas
    card = renamed(card_from(body.card, "card"), None)
    slots = None
    if not card.own:
        personas.check_reads()
        slots = await unless_gone(request.receive, service.reader.read_card(card.json))

    def keep() -> str:
        with reviews.lock:
            _, kept = adopt_card(personas.run, card, slots)
            personas.read_personas()
            return kept.name

    name = await to_thread.run_sync(keep)
    return persona(name, service)


@router.get("/vvae/cards/{name:path}", responses=errors(404, 503))
def card(name: str, service: ServiceDependency) -> dict[str, Any]:
    """Return a kept persona as a character card, to be handed on."""
    from vvae.serving.cards.personas import saved_personas

    kept = saved_personas(service.personas.run).cards.get(name)
    if kept is None:
        raise ApiError(404, "no persona is kept under this name", code="persona_not_found")
    return dict(kept.json)


@router.get("/vvae/review", responses=errors(400, 503))
def items(
    service: ServiceDependency,
    reviews: ReviewsDependency,
    speaker: str | None = None,
    start: int = 0,
    number: int = 10,
    unsaid: bool = False,
) -> dict[str, Any]:
    """Return replies with the values that the encoder read in them, and what was said of those;
    with `unsaid`, from the first one of which nothing was said.
    """
    begin = None if unsaid else max(0, min(start, 2**31))
    review = reviews.of(service.personas.run)
    replies, start, total = review.items(speaker or None, begin, max(1, min(number, MOST_ITEMS)))
    return {"items": replies, "start": start, "total": total, "counts": review.counts()}


@router.post("/vvae/review", responses=errors(400, 408, 413, 415, 503))
def say(verdict: Verdict, service: ServiceDependency, reviews: ReviewsDependency) -> dict[str, Any]:
    """Keep what a person says of a value."""
    review = reviews.of(service.personas.run)
    with reviews.lock:
        review.say(verdict.pair, verdict.dimension, verdict.verdict, verdict.value)
    return {"counts": review.counts()}


@router.post("/vvae/review/apply", responses=errors(400, 408, 413, 415, 503))
def apply(service: ServiceDependency, reviews: ReviewsDependency) -> dict[str, Any]:
    """Put what was said of values into effect: prior and profiles are counted anew with it. Return
    what has changed.
    """
    from vvae.evaluation.corrections import apply_corrections

    personas = service.personas
    with reviews.lock:
        changes = apply_corrections(personas.run)
        personas.read_run()
    return changes._asdict() | {"people": changes.people[:MOST_ITEMS], "of": len(changes.people)}


def _file(name: str, media_type: str) -> Callable[[], Response]:
    data = resources.files("vvae.serving.http").joinpath(name).read_bytes()
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return lambda: Response(data, media_type=media_type, headers=headers)


def _traits(profile: Profile) -> list[str]:
    """Return the first values of a profile: they tell people apart whose names are numbers."""
    return [str(slot.value) for _, slot in profile.persona()][:TRAITS]


def _between(reach: Reach) -> dict[str, Any]:
    low, high = reach.ends
    high = max(high, *(shown for _, shown in reach.by_strength), 0.0)
    return {"low": round(low, 4), "high": round(high, 4), "basis": reach.basis}


for _path, (_name, _media_type) in FILES.items():
    router.add_api_route(f"/{_path}", _file(_name, _media_type), include_in_schema=False)
