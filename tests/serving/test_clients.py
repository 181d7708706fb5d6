"""Requests as SillyTavern and Open WebUI send them, written after the contract, replayed against a
running server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.served import Served, serving

CLIENTS = Path(__file__).parent.parent / "clients"


@pytest.fixture(scope="module")
def server(served_run: Path) -> Iterator[Served]:
    with serving(served_run, "--variant", "SP+FT", "--max-tokens", "16") as served:
        yield served


@pytest.mark.parametrize("client", ["sillytavern", "open-webui"])
def test_the_requests_of_a_client_are_answered(server: Served, client: str) -> None:
    listed, asked = json.loads((CLIENTS / f"{client}.json").read_text("utf-8"))
    models = httpx.request(
        listed["method"], server.url + listed["path"], headers=listed["headers"]
    ).json()
    assert {"id", "object", "created", "owned_by"} <= set(models["data"][0])
    with httpx.stream(
        asked["method"],
        server.url + asked["path"],
        headers=asked["headers"],
        json=asked["body"],
        timeout=60,
    ) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    events: list[dict[str, Any]] = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    said = events[0]["vvae"]
    assert said["speaker"] == "ana"
    assert said["z"]["tone"] == {"value": "playful", "mode": "fixed", "source": "given"}
    choices = [choice for event in events for choice in event["choices"]]
    assert {choice["index"] for choice in choices} == set(range(asked["body"].get("n", 1)))
    assert all(
        "finish_reason" in choice and choice["delta"].get("role") != "" for choice in choices
    )
    ended = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert len(ended) == asked["body"].get("n", 1)
    if client == "open-webui":
        assert said["conversation"] == "8f1c2d34-aaaa-bbbb-cccc-1234567890ab"
        assert events[-1]["choices"] == []
        assert events[-1]["usage"]["completion_tokens"] > 0
    else:
        assert (
            said["notes"][-1]
            == "the system message is shown to an adapter that was trained without one"
        )
