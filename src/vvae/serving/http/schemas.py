"""What goes over the wire: OpenAI's chat completions,
and the field ``vvae`` with the z of a reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from vvae.latent.steering import is_whole

__all__ = [
    "CONVERSATION",
    "LONGEST_STOP",
    "MOST_STOPS",
    "ApiError",
    "ChatMessage",
    "ChatRequest",
    "ErrorAnswer",
    "Headers",
    "error_body",
    "errors",
]

MOST_MESSAGES = 4000
MOST_CHOICES = 8
MOST_STOPS = 64
LONGEST_STOP = 200


def _whole(text: str) -> str:
    if not is_whole(text):
        raise ValueError("half a surrogate pair is no character")
    return text


Text = Annotated[str, AfterValidator(_whole)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_STOP)]


class ApiError(Exception):
    """An answer other than 200, in OpenAI's form.

    Args:
        kind: ``invalid_request_error``, ``authentication_error``, ``rate_limit_error``,
            ``server_error``.
        retry_after: seconds after which it is worth another try.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after
        self.body = error_body(message, kind=kind, param=param, code=code)


def error_body(
    message: str, *, kind: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Part(BaseModel):
    """A part of a message's content; text and refusals are read."""

    type: str
    text: Text | None = None
    refusal: Text | None = None


class ChatMessage(BaseModel):
    """A message of the conversation so far; other fields are ignored."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[Part] | None = None
    name: str | None = Field(None, max_length=200, description="who speaks, where more than two do")


class StreamOptions(BaseModel):
    """A request's options of its stream."""

    include_usage: bool | None = None


IGNORED = ("tools", "functions", "logit_bias", "presence_penalty", "frequency_penalty")
"""Fields of OpenAI's that would change a reply, and cannot here."""


class ChatRequest(BaseModel):
    """A request for the next reply. What is not listed is ignored, and a note says so where it
    would have changed the reply (`IGNORED`); what would have changed its form is refused.
    """

    model_config = ConfigDict(extra="allow")

    model: Name = Field(description="an adapter, a speaker, or adapter@persona (GET /v1/models)")
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    persona: Text | dict[str, Any] | None = Field(
        None,
        description="'Ana; tone=playful; topic=auto', or the same as an object",
    )
    pauses: bool | None = Field(
        None, description="seconds before each message of a reply, as in `vvae.pauses`"
    )
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = Field(1, ge=1, le=MOST_CHOICES)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=-1, description="0 and -1 are no limit")
    max_completion_tokens: int | None = Field(None, ge=-1, description="0 and -1 are no limit")
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)

    def check_form(self) -> None:
        """Raise ApiError where the answer is asked for in a form that no adapter can keep to."""
        asked = self.model_extra or {}
        choice, form = asked.get("tool_choice"), asked.get("response_format")
        kind = form.get("type", "text") if isinstance(form, dict) else "text"
        modalities = asked.get("modalities")
        refused = {
            "tool_choice": choice not in (None, "none", "auto"),
            "response_format": kind != "text",
            "logprobs": bool(asked.get("logprobs")),
            "modalities": isinstance(modalities, list) and modalities != ["text"],
        }
        for name, wrong in refused.items():
            if wrong:
                what = f"{name}: a persona answers in plain text alone; leave it out"
                raise ApiError(400, what, param=name, code="unsupported")

    @property
    def ignored(self) -> list[str]:
        """Return notes on what was asked and changes nothing."""
        asked = self.model_extra or {}
        return [f"{name} changes nothing here" for name in IGNORED if asked.get(name)]


CONVERSATION = ("X-VVAE-Conversation", "X-OpenWebUI-Chat-Id")
"""Headers that name the conversation, the first before the next."""


@dataclass(frozen=True)
class Headers:
    """A record of what the headers of a request say."""

    persona: str | None = None
    """``X-VVAE-Persona``, percent-encoded where it is not ASCII."""
    conversation: str | None = None
    """What one of `CONVERSATION` says."""


class ErrorObject(BaseModel):
    """An error as OpenAI puts it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """The envelope of an error."""

    error: ErrorObject


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how the schema describes the errors of a route; everyone may meet 401 and 421."""
    return {status: {"model": ErrorAnswer} for status in (401, 421, *statuses)}
