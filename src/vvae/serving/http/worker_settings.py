"""What the engine's process is told; apart, so that the server need not import what the process
imports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["EngineKind", "WorkerSettings"]

EngineKind = Literal["auto", "transformers", "llama.cpp", "proxy"]


class WorkerSettings(BaseModel):
    """A choice of the engine that writes, and of the adapters of a run for which it does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    adapters: tuple[str, ...]
    engine: EngineKind = "auto"
    gguf: str | None = None
    slots: int = 4
    endpoint: str | None = None
    """Of a proxy: the URL up to ``/v1``."""
    key_env: str = "OPENAI_API_KEY"
    models: Mapping[str, str] = {}
    """Adapter -> the model's name at the proxy's server; its own name where it is not listed."""
