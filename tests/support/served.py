"""A served run in a process of its own,
and a completions server that says back what it was asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
from aiohttp import web

from tests.support.endpoint_server import in_thread

KEY = "a-key-that-is-long-enough"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    process: subprocess.Popen[str]
    port: int
    model: str = "SP+FT"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **settings: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            **{"api_key": "any", "max_retries": 0, "timeout": 60} | settings,
        )

    def get(self, path: str, **settings: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=20, **settings)

    def post(
        self, body: Any, path: str = "/v1/chat/completions", **settings: Any
    ) -> httpx.Response:
        if body is not None:  # escaped, so that half a character can be sent, too
            settings |= {
                "content": json.dumps(body),
                "headers": {"content-type": "application/json"},
            }
        return httpx.post(self.url + path, timeout=60, **settings)

    @property
    def figures(self) -> dict[str, float]:
        lines = [
            line for line in self.get("/metrics").text.splitlines() if not line.startswith("#")
        ]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    @property
    def engine(self) -> psutil.Process:
        return self._child("worker")

    @property
    def reader(self) -> psutil.Process:
        """It is there once somebody has asked for ``auto``."""
        return self._child("reader")

    def _child(self, module: str) -> psutil.Process:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(p for p in children if f"vvae.serving.http.{module}" in p.cmdline())

    def wait(self, seconds: float = 60) -> None:
        """Until it answers requests."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, (
                self.process.stdout.read() if self.process.stdout else ""
            )
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError("the server does not answer")


@contextmanager
def serving(folder: Path, *options: str, wait: bool = True, **environment: str) -> Iterator[Served]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "vvae.cli",
        "serve",
        str(folder),
        "--port",
        str(port),
        *options,
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **environment},
    )
    served = Served(process, port)
    try:
        if wait:
            served.wait()
        yield served
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


class Parrot:
    """``/v1/completions``: the reply is the prompt;
    a pause between its pieces where one is asked.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.pause, self.pieces = tokenizer, 0.0, 1
        self.bodies: list[dict[str, Any]] = []
        self.closed = 0
        self.at_once = self.most_at_once = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        text = self.tokenizer.decode(body["prompt"])
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            for number in range(self.pieces):
                await asyncio.sleep(self.pause)
                finish = "stop" if number == self.pieces - 1 else None
                choice = {"index": 0, "text": text if number == 0 else ".", "finish_reason": finish}
                await answer.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            await answer.write(b"data: [DONE]\n\n")
        except (ConnectionResetError, asyncio.CancelledError):
            self.closed += 1
            raise
        finally:
            self.at_once -= 1
        return answer


@contextmanager
def parrot(tokenizer: Any) -> Iterator[tuple[Parrot, str]]:
    bird = Parrot(tokenizer)
    application = web.Application(client_max_size=1 << 24)
    application.router.add_post("/v1/completions", bird.complete)
    with in_thread(application, handler_cancellation=True) as url:
        yield bird, url
