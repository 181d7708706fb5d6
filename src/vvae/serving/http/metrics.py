"""What the server counts, for Prometheus; numbers only, nothing of any conversation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

if TYPE_CHECKING:
    from vvae.serving.http.engine_process import EngineProcess
    from vvae.serving.http.replies import Answer

__all__ = ["ServerMetrics"]

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ServerMetrics:
    """A set of counters of one server."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._all = CollectorRegistry()
        self._requests = Counter(
            "vvae_requests",
            "Requests for replies by how they ended.",
            ["ended"],
            registry=self._all,
        )
        self._prompt = Counter("vvae_prompt_tokens", "Tokens of prompts.", registry=self._all)
        self._written = Counter("vvae_completion_tokens", "Tokens written.", registry=self._all)
        self._first = Histogram(
            "vvae_first_text_seconds",
            "From the request to the first text.",
            buckets=BOUNDS,
            registry=self._all,
        )
        self._whole = Histogram(
            "vvae_request_seconds",
            "From the request to its end.",
            buckets=BOUNDS,
            registry=self._all,
        )
        self._outstanding = Gauge(
            "vvae_outstanding", "Replies being written or waiting.", registry=self._all
        )
        self._ready = Gauge("vvae_engine_ready", "Whether the engine is ready.", registry=self._all)
        self._restarts = Gauge(
            "vvae_engine_restarts", "Times the engine was started again.", registry=self._all
        )

    def count(self, ended: str) -> None:
        """Count a request that got no reply."""
        self._requests.labels(ended).inc()

    def ended(self, ended: str, answer: Answer, arrived: float) -> None:
        """Count a request that was being written for."""
        self.count(ended)
        self._prompt.inc(answer.prompt_tokens)
        self._written.inc(answer.completion_tokens)
        self._whole.observe(time.monotonic() - arrived)
        if answer.first is not None:
            self._first.observe(answer.first - arrived)

    def text(self, engine: EngineProcess) -> bytes:
        """Return all counters in Prometheus text format."""
        self._outstanding.set(engine.outstanding)
        self._ready.set(engine.state == "ready")
        self._restarts.set(engine.restarts)
        return generate_latest(self._all)
