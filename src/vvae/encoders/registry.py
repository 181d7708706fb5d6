"""The kinds of encoders that a config can name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, SerializeAsAny

from vvae.core.errors import ConfigError
from vvae.encoders.base import EncoderSettings
from vvae.encoders.llm.encoder import LLMConfig
from vvae.encoders.rules.encoder import RulesConfig

__all__ = ["EncoderConfig", "kinds", "register"]

_REGISTRY: dict[str, type[EncoderSettings]] = {"rules": RulesConfig, "llm": LLMConfig}


def kinds() -> tuple[str, ...]:
    """Return the kinds that a config can name."""
    return tuple(_REGISTRY)


def register(kind: str, settings: type[EncoderSettings]) -> None:
    """Make another kind known to configs.

    Raises:
        ConfigError: another one is called so.
    """
    if _REGISTRY.get(kind, settings) is not settings:
        raise ConfigError(f"an encoder {kind!r} is there already", fix="give it another name")
    _REGISTRY[kind] = settings


def _parsed(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value
    kind = value.get("kind", "rules") if isinstance(value, dict) else "rules"
    # Of an unknown kind, the default's own check names the key.
    return _REGISTRY.get(kind, RulesConfig).model_validate(value)


EncoderConfig = Annotated[SerializeAsAny[EncoderSettings], BeforeValidator(_parsed)]
"""The settings of any kind of encoder, told apart by `kind`."""
