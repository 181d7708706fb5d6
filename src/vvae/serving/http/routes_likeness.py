"""How like a person's own replies some replies are, such as those of a chat."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from vvae.encoders.base import LONGEST_READ
from vvae.report.verdict import of_likeness
from vvae.serving.http.schemas import Name, Text, errors
from vvae.serving.http.service import ServiceDependency

__all__ = ["router"]

MOST_REPLIES = 200
DIFFERENCES = 5

router = APIRouter()


class Judged(BaseModel):
    """Replies to be held against a person's own."""

    model_config = ConfigDict(extra="forbid")

    speaker: Name
    replies: list[Annotated[Text, StringConstraints(max_length=LONGEST_READ)]] = Field(
        min_length=1, max_length=MOST_REPLIES
    )


@router.post("/vvae/likeness", responses=errors(400, 408, 413, 415, 503))
def likeness(body: Judged, service: ServiceDependency) -> dict[str, Any]:
    """Return how like a person's own replies some replies are, and what differs most, in words.

    Nothing is said of the replies where that person's own cannot be told from others'.
    """
    found, different = service.personas.likeness().of(body.speaker, body.replies)
    worth = found.worth
    result: dict[str, Any] = {
        "speaker": found.speaker,
        "replies": found.replies,
        "auc": worth.auc,
        "interval": [worth.low, worth.high],
        "tells": worth.tells,
        "differences": [one.says for one in different[:DIFFERENCES]],
        "says": of_likeness(found),
    }
    if worth.tells:
        result |= {"among_own": found.among_own, "among_others": found.among_others}
    return result
