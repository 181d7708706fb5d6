"""What must hold for anybody and any number: conversations apart, and no request that breaks the
server.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from hypothesis.errors import Unsatisfiable
from transformers import AutoTokenizer

from tests.support.served import Parrot, Served, parrot, serving

CONVERSATIONS = 1000
TURNS = 3


@pytest.fixture(scope="module")
def proxied(served_run: Path, tiny_model: Path) -> Iterator[tuple[Parrot, Served]]:
    with parrot(AutoTokenizer.from_pretrained(str(tiny_model))) as (bird, url):
        options = ("--engine", "proxy", "--endpoint", url, "--endpoint-model", "SP+FT=ana-lora")
        with serving(served_run, *options, "--slots", "16", "--queue", "200") as served:
            yield bird, served


def test_a_thousand_conversations_see_their_own_values_alone(
    proxied: tuple[Parrot, Served],
) -> None:
    """The reply is the prompt that the engine got: everything the model could have seen."""
    _, served = proxied
    wrong: list[str] = []

    async def talk(session: aiohttp.ClientSession, number: int, gate: asyncio.Semaphore) -> None:
        own = f"hobby{number:05d}q"
        messages: list[dict[str, str]] = []
        for turn in range(TURNS):
            messages.append({"role": "user", "content": f"said{number:05d}q and {turn}"})
            place = (number + turn) % 4
            body: dict[str, Any] = {
                "model": "SP+FT",
                "messages": messages,
                "stream": number % 2 == 0,
            }
            headers = {}
            asked = f"hobby={own}; nickname=name{number:05d}q"
            if place == 0:
                body["persona"] = {"hobby": own, "nickname": f"name{number:05d}q"}
            elif place == 1:
                headers = {"X-VVAE-Persona": asked}
            elif place == 2:
                body["model"] = f"SP+FT@{asked}"
            else:
                body["messages"] = [{"role": "system", "content": f"[persona] {asked}"}, *messages]
            async with (
                gate,
                session.post(
                    f"{served.url}/v1/chat/completions", json=body, headers=headers
                ) as answer,
            ):
                text = await answer.text()
            if answer.status != 200:
                wrong.append(text[:200])
                return
            seen = set(re.findall(r"(?:hobby|name|said)(\d{5})q", text))
            if seen != {f"{number:05d}"} or own not in text:
                wrong.append(f"{number}: {seen}")
            messages.append({"role": "assistant", "content": "ok"})

    async def everybody() -> None:
        gate = asyncio.Semaphore(150)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(talk(session, number, gate) for number in range(CONVERSATIONS)))

    asyncio.run(everybody())
    assert wrong == []


def test_a_proxy_is_asked_with_token_ids_and_the_listed_fields_alone(
    proxied: tuple[Parrot, Served],
) -> None:
    bird, served = proxied
    bird.bodies.clear()
    body = {
        "model": "SP+FT",
        "messages": [{"role": "user", "content": "hi <|im_end|>"}],
        "seed": 4,
        "top_k": 3,
    }
    said = served.post(body | {"logit_bias": {"5": 1}, "temperature": 0.5, "stop": "zebra"}).json()
    (asked,) = bird.bodies
    fields = {
        "model",
        "prompt",
        "max_tokens",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "stream",
        "stream_options",
    }
    assert set(asked) == fields
    assert (asked["model"], asked["temperature"]) == ("ana-lora", 0.5)
    text = bird.tokenizer.decode(asked["prompt"])
    assert "hi < |im_end|>" in text, "a special token in what people write is none"
    assert text.rstrip().endswith("<|im_start|>assistant")
    assert text.index("[persona]") > text.index("hi <"), "z comes last"
    assert said["choices"][0]["message"]["content"] == text.strip()


def test_a_stop_text_ends_the_reply_and_frees_the_place(proxied: tuple[Parrot, Served]) -> None:
    bird, served = proxied
    bird.pieces, bird.pause, closed = 200, 0.02, bird.closed
    try:
        body = {"model": "SP+FT", "messages": [{"role": "user", "content": "hi"}], "stop": ["...."]}
        choice = served.post(body).json()["choices"][0]
        assert choice["finish_reason"] == "stop"
        assert not choice["message"]["content"].endswith(".")
        for _ in range(100):
            if bird.closed > closed:
                break
            asyncio.run(asyncio.sleep(0.02))
        assert bird.closed == closed + 1
    finally:
        bird.pieces, bird.pause = 1, 0.0


def test_a_request_ends_in_time(served_run: Path, tiny_model: Path) -> None:
    with parrot(AutoTokenizer.from_pretrained(str(tiny_model))) as (bird, url):
        bird.pieces, bird.pause = 50, 0.1
        options = ("--engine", "proxy", "--endpoint", url, "--variant", "SP+FT", "--timeout", "1")
        with serving(served_run, *options) as served:
            body = {"model": "SP+FT", "messages": [{"role": "user", "content": "hi"}]}
            whole = served.post(body)
            assert whole.status_code == 504
            assert whole.json()["error"]["code"] == "timeout"
            with pytest.raises(openai.APIError, match="no reply in 1 s"):
                for _ in served.client().chat.completions.create(**body, stream=True):
                    pass
            assert served.figures["vvae_outstanding"] == 0


def test_where_time_ends_the_candidates_that_are_there_are_enough(
    served_run: Path, tiny_model: Path
) -> None:
    """One place, a second and a half each: of four that are to be written two end in time."""
    with parrot(AutoTokenizer.from_pretrained(str(tiny_model))) as (bird, url):
        options = ("--engine", "proxy", "--endpoint", url, "--variant", "SP+FT", "--timeout", "4")
        with serving(served_run, *options, "--slots", "1") as served:
            persona = {"emoji": {"value": "🦩", "rate": 1}, "candidates": 4}
            asked: dict[str, Any] = {"model": "SP+FT"}
            asked["messages"] = [{"role": "user", "content": "hi"}]
            asked["persona"] = persona
            for _ in range(20):  # who reads them has to start first
                if served.post(asked).status_code == 200:
                    break
            bird.pieces, bird.pause = 10, 0.14
            answer = served.post(asked)
            assert answer.status_code == 200
            assert 1 <= answer.json()["vvae"]["candidates"][0]["written"] < 4
            assert answer.json()["choices"][0]["message"]["content"]
            assert served.figures["vvae_outstanding"] == 0


def test_a_server_behind_that_is_gone_is_503(served_run: Path) -> None:
    options = ("--engine", "proxy", "--endpoint", "http://127.0.0.1:9/v1", "--variant", "SP+FT")
    with serving(served_run, *options) as served:
        answer = served.post({"model": "SP+FT", "messages": [{"role": "user", "content": "hi"}]})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "engine_failed"
        hi = [{"role": "user", "content": "hi"}]
        assert served.post({"model": "SP+FT", "messages": hi, "stream": True}).status_code == 503


def test_no_request_that_the_schema_describes_or_forbids_breaks_the_server(
    proxied: tuple[Parrot, Served],
) -> None:
    """Schemathesis over the served schema: 2,000 cases and more, valid ones and others, none
    answered 5xx.
    """
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from schemathesis import GenerationMode

    _, served = proxied
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    statuses: dict[str, Counter[int]] = {}

    def try_all(cases: Any, counted: Counter[int], number: int) -> None:
        health = list(HealthCheck)
        chosen = settings(
            max_examples=number,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=health,
        )

        @chosen
        @given(case=cases)
        def check(case: Any) -> None:
            answer = case.call(base_url=served.url, timeout=30)
            counted[answer.status_code] += 1
            assert answer.status_code < 500, (case.as_curl_command(), answer.text)
            if answer.status_code >= 400:
                assert json.loads(answer.content)["error"]["message"]

        check()

    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        counted = statuses.setdefault(operation.label, Counter())
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            # of some operations nothing can be wrong
            with suppress(schemathesis.errors.InvalidSchema, Unsatisfiable):
                number = 700 if "chat" in operation.label else 120
                try_all(operation.as_strategy(generation_mode=mode), counted, number)
    total = sum(counted.total() for counted in statuses.values())
    assert total >= 2000, statuses
    assert statuses["POST /v1/chat/completions"][400] > 100
    assert statuses["POST /v1/chat/completions"][404] > 10
