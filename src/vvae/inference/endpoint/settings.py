"""Where a language model is served and how it is called."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import regex
from pydantic import BaseModel, ConfigDict, Field, field_validator

from vvae.core.errors import ConfigError
from vvae.core.random import index_below

__all__ = ["HOW", "EndpointConfig", "Price", "is_loopback"]

HOW = {"concurrency", "timeout", "attempts", "backoff", "patience", "price", "max_cost", "key_env"}
"""Settings on which no answer depends."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Price(BaseModel):
    """A price of a million tokens, in any currency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the cost of so many tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


class EndpointConfig(BaseModel):
    """A set of options that say where a model is served and how it is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: tuple[str, ...] = Field(
        ("http://127.0.0.1:8080/v1",), description="one, or replicas that share the work"
    )
    model: str = "default"
    key_env: str = Field(
        "OPENAI_API_KEY", description="environment variable that holds the key; unset: none is sent"
    )
    concurrency: int = Field(16, ge=1, description="calls at once")
    max_tokens: int = Field(256, ge=16, description="of an answer; one that is cut off is invalid")
    timeout: float = Field(120.0, gt=0, description="seconds for a whole call")
    attempts: int = Field(6, ge=1, description="of a call, before it counts as an error")
    backoff: float = Field(
        0.5, ge=0, description="seconds before the second attempt; doubles each time"
    )
    patience: float = Field(
        60.0, ge=0, description="seconds without a success after which failing calls stop the work"
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="further fields of the request; null leaves one out"
    )
    price: Price | None = Field(None, description="for a million tokens")
    max_cost: float | None = Field(
        None, ge=0, description="stop before it is exceeded; needs a price"
    )

    @field_validator("base_url", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("base_url")
    @classmethod
    def _no_secrets(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("give a URL such as https://api.openai.com/v1")
            if parts.username or parts.password or parts.query:
                raise ValueError(
                    "a key does not belong in the URL; name its environment variable in key_env"
                )
        if not urls:
            raise ValueError("give at least one URL")
        return tuple(url.rstrip("/") for url in urls)

    @field_validator("key_env")
    @classmethod
    def _name_of_a_variable(cls, name: str) -> str:
        if not regex.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError(
                "give the name of an environment variable that holds the key, not the key"
            )
        return name

    def model_post_init(self, _: object) -> None:
        """Check that a budget can be held."""
        if self.max_cost is not None and self.price is None:
            raise ValueError("max_cost needs a price")

    def answer_settings(self) -> dict[str, Any]:
        """Return what an answer depends on."""
        return self.model_dump(mode="json", exclude=HOW)

    @property
    def account(self) -> str:
        """Return what the ledger books attempts on."""
        return f"{self.base_url[0]} {self.model}"

    def address(self, route: str) -> str:
        """Return the replica that answers a route: what shares a prefix shares a cache."""
        several = len(self.base_url)
        return self.base_url[index_below(several, "replica", route) if several > 1 else 0]

    def body(
        self, messages: Sequence[Mapping[str, str]], form: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the body of a call.

        Args:
            form: the fields that hold the answer's form.
        """
        base = {
            "model": self.model,
            "temperature": 0.0,
            "max_tokens": self.max_tokens,
            **form,
            **self.parameters,
        }
        return {
            "messages": list(messages),
            **{name: value for name, value in base.items() if value is not None},
        }

    def secret(self) -> str | None:
        """Return the key, from the environment.

        Raises:
            ConfigError: it would travel over plain HTTP to another machine.
        """
        secret = os.environ.get(self.key_env, "").strip() or None
        if secret and not secret.isprintable():
            raise ConfigError(
                "the key has characters that no key has",
                where=f"${self.key_env}",
                fix="set it again",
            )
        for url in self.base_url if secret else ():
            parts = urlsplit(url)
            if parts.scheme == "http" and not _nearby(str(parts.hostname)):
                fix = f"use https, or unset {self.key_env}"
                raise ConfigError(
                    "a key would be sent unencrypted", where=f"base_url: {url}", fix=fix
                )
        return secret


def _nearby(host: str) -> bool:
    """Whether a host is this machine or in a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".internal"))
