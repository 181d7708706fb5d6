"""What one client can cost another: texts without end, readers that are killed, two servers."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.support.endpoint_server import Scripted
from tests.support.endpoint_server import serving as endpoint
from tests.support.runs import vvae
from tests.support.served import KEY, Served, serving
from vvae.core.text import emoji_spans
from vvae.latent.readers.lexical import read_emoji

OWNER = "the-owner-has-another-one"
AUTO = {"tone": "auto", "emoji": "auto", "hobby": "auto"}


def body(text: str, **settings: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "SP+FT", "messages": messages, "max_tokens": 4, "persona": AUTO} | settings


@pytest.fixture(scope="module")
def server(served_run: Path) -> Iterator[Served]:
    with serving(served_run, "--variant", "SP+FT") as served:
        served.post(body("hi"))  # the reader is started by the first who asks
        yield served


def processes(server: Served) -> list[psutil.Process]:
    own = psutil.Process(server.process.pid)
    return [own, *own.children(recursive=True)]


@pytest.mark.parametrize(
    "text", ["a" * 1_900_000, "😀" * 200_000, "i like " * 9_000, "\n" * 60_000]
)
def test_a_text_without_end_costs_the_next_client_nothing(server: Served, text: str) -> None:
    """2 MB of one word under auto took 15 GB; nine clients with 60 kB of emoji cost the next 58 s.

    The clock is wide (a reading takes 0.05 s): it tells a bound from none.
    """
    peaks, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peaks[0] = max([peaks[0], *(p.memory_info().rss for p in processes(server))])

    def leave() -> None:
        with suppress(httpx.TimeoutException):
            httpx.post(f"{server.url}/v1/chat/completions", json=body(text), timeout=1)

    before = max(p.memory_info().rss for p in processes(server))
    threads = [threading.Thread(target=leave) for _ in range(9)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *threads):
        thread.start()
    time.sleep(0.3)
    asked = time.monotonic()
    answer = server.post(body("and how was the film?"))
    waited = time.monotonic() - asked
    for thread in threads:
        thread.join()
    over.set()
    watcher.join()
    assert answer.status_code == 200
    assert answer.json()["vvae"]["z"]["tone"]["mode"] == "auto"
    assert waited < 10
    assert peaks[0] - before < 300 << 20


def test_a_turn_longer_than_a_model_could_see_is_refused_before_it_is_read(server: Served) -> None:
    answer = server.post(body("a" * 70_000))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "a turn of 70,000 characters; it may have 65,536"
    system = [{"role": "system", "content": "b" * 70_000}, {"role": "user", "content": "hi"}]
    assert "system messages" in server.post(body("", messages=system)).text


def test_emoji_without_end_are_read_in_one_pass() -> None:
    """Counting each of them anew took 23 s for 32,000."""
    text = "😀🎉" * 50_000 + "🎉"
    found = read_emoji(text)
    assert found is not None
    assert found.value == "🎉"
    assert len(emoji_spans(text)) == 100_001


def test_a_reader_that_is_killed_is_replaced(server: Served) -> None:
    reader = server.reader
    reader.send_signal(signal.SIGKILL)
    reader.wait(10)
    statuses = []
    for _ in range(40):
        statuses.append(server.post(body("do you like hiking?")).status_code)
        if statuses[-1] == 200:
            break
    assert statuses[-1] == 200
    assert set(statuses) <= {200, 503}
    assert server.post(body("hi", persona={"tone": "playful"})).status_code == 200


def test_talking_and_owning_are_two_rights(served_run: Path) -> None:
    keys = {"VVAE_API_KEY": KEY, "VVAE_OWNER_KEY": OWNER}
    with serving(served_run, "--variant", "P+FT", wait=True, **keys) as served:

        def asked(method: str, path: str, key: str, **more: Any) -> int:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            answer = httpx.request(method, served.url + path, headers=headers, timeout=20, **more)
            return answer.status_code

        kept = {"json": {"speaker": "ana", "persona": {}}}
        assert asked("GET", "/vvae/space", KEY) == 200
        assert asked("GET", "/vvae/review", KEY) == 403
        assert asked("PUT", "/vvae/personas/x", KEY, **kept) == 403
        assert asked("DELETE", "/vvae/personas/x", KEY) == 403
        assert asked("GET", "/vvae/review", OWNER) == 200
        assert asked("PUT", "/vvae/personas/x", OWNER, **kept) == 200
        assert asked("DELETE", "/vvae/personas/x", OWNER) == 200
        assert asked("GET", "/vvae/review", "") == 401
        refused = served.get("/vvae/review", headers={"Authorization": f"Bearer {KEY}"})
        assert refused.json()["error"]["code"] == "owner_only"
    with serving(served_run, "--variant", "P+FT", VVAE_API_KEY=KEY) as served:
        headers = {"Authorization": f"Bearer {KEY}"}
        assert served.get("/vvae/space", headers=headers).json()["owner"] is False
        assert served.get("/vvae/review", headers=headers).json()["error"]["code"] == "no_owner"


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (("--cors", "*"), {"VVAE_API_KEY": KEY}, "is no origin"),
        (("--cors", "https://a.b/path"), {"VVAE_API_KEY": KEY}, "is no origin"),
        (("--cors", "https://a.b"), {}, "may not call without a key"),
        ((), {"VVAE_API_KEY": KEY, "VVAE_OWNER_KEY": KEY}, "the same key twice"),
        ((), {"VVAE_OWNER_KEY": "short"}, "at least 16 characters"),
        (
            ("--engine", "proxy", "--endpoint", "http://us3r:s3cretpw@127.0.0.1:1/v1"),
            {},
            "a key does not belong in the URL",
        ),
    ],
)
def test_doors_that_are_not_opened(
    served_run: Path, options: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        done = vvae("serve", str(served_run), *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "s3cretpw" not in done.stderr + done.stdout
    assert "http://127" not in done.stdout, "an address is said once somebody listens there"


def test_a_named_origin_may_talk_and_no_more(served_run: Path) -> None:
    options = ("--variant", "P+FT", "--cors", "https://my.site")
    with serving(served_run, *options, VVAE_API_KEY=KEY) as served:

        def preflight(origin: str, method: str) -> httpx.Response:
            headers = {"Origin": origin, "Access-Control-Request-Method": method}
            url = f"{served.url}/v1/chat/completions"
            return httpx.options(url, headers=headers, timeout=20)

        allowed = preflight("https://my.site", "POST")
        assert allowed.headers["access-control-allow-origin"] == "https://my.site"
        assert preflight("https://my.site", "DELETE").status_code == 400
        assert "access-control-allow-origin" not in preflight("https://evil.com", "POST").headers


def with_encoder(run: Path, scratch: Path, **settings: Any) -> Path:
    """A copy of a run whose config names a language model as encoder."""
    folder = scratch / "run"
    shutil.copytree(run, folder)
    config = folder / "config.yaml"
    data = yaml.safe_load(config.read_text("utf-8"))
    data["encoder"] = {"kind": "llm", "model": "stub", **settings}
    config.write_text(yaml.safe_dump(data), "utf-8")
    return folder


def test_a_run_of_others_sends_no_conversation_to_its_own_endpoint(
    served_run: Path, tmp_path: Path
) -> None:
    folder = with_encoder(served_run, tmp_path, base_url="http://192.0.2.7:8080/v1")
    with serving(folder, "--variant", "SP+FT") as served:
        answer = served.post(body("hi"))
        assert answer.status_code == 400
        assert "nothing is read here" in answer.text
        assert "192.0.2.7" not in answer.text
        assert served.post(body("hi", persona={"tone": "sad"})).status_code == 200
        tone = {"tone": {"value": "sad", "rate": 1}, "candidates": 4}
        answer = served.post(body("hi", persona=tone))
        assert answer.status_code == 400
        assert "nothing is read here" in answer.text, "nor are candidates sent to it"
        length = {"length": {"value": "short", "rate": 1}, "candidates": 4}
        answer = served.post(body("hi", persona=length))
        assert answer.status_code == 200, "words and form are read here"
        assert answer.json()["vvae"]["candidates"][0]["written"] <= 4
    for asked in (["--auto", "tone"], ["--rate", "tone=1", "--candidates", "4"]):
        refused = vvae("chat", str(folder), *asked)
        assert refused.returncode == 2
        assert "--encoder-endpoint http://192.0.2.7:8080/v1" in refused.stderr
    card = tmp_path / "card.json"
    card.write_text('{"name": "Zed", "description": "likes chess"}', "utf-8")
    refused = vvae("card", "import", str(card), "--run", str(folder))
    assert refused.returncode == 2
    assert "192.0.2.7" in refused.stderr


def test_an_encoder_that_does_not_answer_is_503_without_its_address(
    served_run: Path, tmp_path: Path
) -> None:
    with endpoint(Scripted()) as url:
        at = url.removesuffix("/v1")
        folder = with_encoder(served_run, tmp_path, base_url=url, attempts=1)
        # no state of such an encoder: the reader cannot start
        (folder / "encoder.json").write_text("{}", "utf-8")
        with serving(folder, "--variant", "SP+FT") as served:
            answer = served.post(body("hi"))
            assert answer.status_code == 503
            assert at not in answer.text
            assert served.post(body("hi", persona={"tone": "sad"})).status_code == 200


def test_a_proxy_that_fails_does_not_say_where_it_is(served_run: Path) -> None:
    with endpoint(Scripted(1.0)) as url:
        options = ("--engine", "proxy", "--endpoint", url, "--variant", "SP+FT")
        with serving(served_run, *options) as served:
            answer = served.post(body("hi", persona=None))
            assert answer.status_code == 503
            assert "127.0.0.1" not in answer.text
            streamed = served.post(body("hi", persona=None, stream=True))
            assert "127.0.0.1" not in streamed.text


def test_two_servers_of_one_run_lose_nothing(served_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(served_run, folder)
    (folder / "personas").mkdir(exist_ok=True)
    (folder / "personas" / "torn.json").write_text("{", "utf-8")
    options = ("--variant", "P+FT")
    with serving(folder, *options) as one, serving(folder, *options) as two:
        items = one.get("/vvae/review?number=2").json()["items"]
        two.get("/vvae/review?number=2")

        def say(server: Served, item: dict[str, Any], verdict: str | None) -> dict[str, Any]:
            name = next(iter(item["values"]))
            said = {"pair": item["pair"], "dimension": name, "verdict": verdict, "value": None}
            return dict(server.post(said, "/vvae/review").json())

        say(one, items[0], "accepted")
        counts = say(two, items[1], "accepted")["counts"]
        assert sum(n.get("accepted", 0) for n in counts.values()) == 2
        counts = say(one, items[0], None)["counts"]
        assert sum(n.get("accepted", 0) for n in counts.values()) == 1
        put: dict[str, Any] = {
            "json": {"speaker": "ana", "persona": {"tone": "sad"}},
            "timeout": 20,
        }
        assert httpx.put(f"{one.url}/vvae/personas/Sad Ana", **put).status_code == 200
        assert "Sad Ana" in two.get("/vvae/space").json()["personas"]
        assert two.post(body("hi", model="P+FT@Sad Ana")).status_code == 200
        for name in ("..", "P+FT@ana", "%E2%80%8B", "a" * 101):
            answer = httpx.put(f"{one.url}/vvae/personas/{name}", **put)
            assert answer.status_code in (400, 404, 405), name
        decomposed = httpx.put(f"{one.url}/vvae/personas/Re\u0301mi ", **put)
        assert decomposed.status_code == 200
        assert "R\u00e9mi" in one.get("/vvae/space").json()["personas"]
        long: dict[str, Any] = {
            "json": {"speaker": "ana", "persona": {"hobby": "h" * 500}},
            "timeout": 20,
        }
        assert "it may have 400" in httpx.put(f"{one.url}/vvae/personas/x", **long).text
    assert (folder / "personas" / "torn.json").read_text("utf-8") == "{"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_said_and_nothing_is_told_as_kept(served_run: Path, tmp_path: Path) -> None:
    """What is written beside the file goes to a disk that is full."""
    folder = tmp_path / "run"
    shutil.copytree(served_run, folder)
    (folder / "review.json").unlink(missing_ok=True)
    with serving(folder, "--variant", "P+FT") as served:
        item = served.get("/vvae/review?number=1").json()["items"][0]
        part = folder / f".review.json.{served.process.pid}.part"
        part.symlink_to("/dev/full")
        name = next(iter(item["values"]))
        said = {"pair": item["pair"], "dimension": name, "verdict": "accepted"}
        answer = served.post(said, "/vvae/review")
        assert answer.status_code == 507
        assert "the disk is full" in answer.json()["error"]["message"]
        again = served.get("/vvae/review?number=1").json()
        assert again["counts"] == {}
        assert again["items"][0]["said"] == {}


def test_a_run_is_its_owners_alone(served_run: Path) -> None:
    assert served_run.stat().st_mode & 0o077 == 0
