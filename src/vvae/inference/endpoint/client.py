"""Calls to an OpenAI-compatible endpoint: one owner of retries, every attempt in the ledger, a
breaker, a budget.

What an attempt comes to is one of few words, and never the server's own text, which may quote chat
or a key:

    ok                                          the answer is kept
    http 408, 409, 425, 429, 5xx                tried again after a growing pause with jitter
    timeout, no connection, broken body         tried again likewise
    http 400 and other 4xx                      this call is refused; the next may not be
    http 401, 404, and 403 before any success   no call can succeed: the work stops

No SDK stands in between: retries must have one owner, every attempt is a row of the ledger, and the
openai client alone makes 400 to 550 calls a second on two cores.

When the work stops, calls on their way are waited for, and no further one is made: what is paid for
is kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from vvae.core.errors import EndpointError, ModelError
from vvae.core.random import uniform
from vvae.inference.endpoint.ledger import Answer, Ledger, Spent
from vvae.inference.endpoint.settings import EndpointConfig

if TYPE_CHECKING:
    import aiohttp

__all__ = [
    "Call",
    "Endpoint",
    "Prompt",
    "Refused",
    "ask_all",
    "completions",
    "key",
    "may_try_again",
    "wire",
]

LARGEST_BODY = 1 << 20
"""Bytes of an answer; a server that sends more sends no answer."""
LONGEST_PAUSE = 120.0
"""Seconds; a server that asks for a longer one is asked again after this."""
FAILURES = 10
"""Failed attempts in a row, of all calls, before the breaker may open."""
AGAIN = frozenset({408, 409, 425, 429})
HOPELESS = {
    401: "the key is missing or refused",
    403: "the key may not use this model",
    404: "no such model or path",
}


class Refused(NamedTuple):
    """A call that has no answer, and how its last attempt ended."""

    outcome: str


class _Attempt(NamedTuple):
    outcome: str
    answer: Answer | None = None
    pause: float | None = None
    """Seconds the server asks to wait."""


class Endpoint:
    """A client of one endpoint (or several replicas of it) with one ledger; an asynchronous context
    manager.
    """

    def __init__(self, config: EndpointConfig, ledger: Ledger) -> None:
        try:
            import aiohttp
        except ImportError:
            raise ModelError("aiohttp is not installed", fix="pip install 'vvae[llm]'") from None
        self._aiohttp, self.config, self.ledger = aiohttp, config, ledger
        self._headers = {"Content-Type": "application/json"}
        if secret := config.secret():
            self._headers["Authorization"] = f"Bearer {secret}"
        self._pending: dict[str, asyncio.Future[Answer | Refused]] = {}
        self._succeeded = False
        self._failing_since: float | None = None
        self._failed_in_a_row, self._refused_in_a_row = 0, 0
        self._spent = ledger.spent(config.account)
        self._reserved, self._settled = 0.0, asyncio.Event()
        self.trouble: EndpointError | None = None
        """Why the work stopped."""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Endpoint:
        self._session = self._aiohttp.ClientSession(
            connector=self._aiohttp.TCPConnector(limit=0),
            headers=self._headers,
            timeout=self._aiohttp.ClientTimeout(total=self.config.timeout),
            cookie_jar=self._aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()
        await self.ledger.drain()

    @property
    def cost(self) -> float | None:
        """Return what all attempts cost so far, those of earlier runs with this ledger included, or
        None without a price.
        """
        return self.config.price.of(*self._spent[1:]) if self.config.price else None

    async def ask(self, data: bytes, *, route: str = "") -> Answer | Refused:
        """Return the answer to a call: from the ledger, or from the endpoint with as many attempts
        as allowed.

        Args:
            data: the call's body, by `wire`.
            route: what the replica is chosen by.

        Raises:
            EndpointError: the endpoint is of no use (breaker), or the budget is spent.
        """
        address = self.config.address(route)
        name = key(address, data)
        if (answer := self.ledger.answer(name)) is not None:
            return answer
        if (pending := self._pending.get(name)) is not None:  # the same call is on its way
            return await asyncio.shield(pending)
        future = self._pending[name] = asyncio.get_running_loop().create_future()
        try:
            result = await self._insist(address, name, data)
            future.set_result(result)
            return result
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # nobody may be waiting
            raise
        finally:
            del self._pending[name]

    async def _insist(self, address: str, name: str, data: bytes) -> Answer | Refused:
        most, outcome = self._most(len(data)), "not asked"
        for number in range(1, self.config.attempts + 1):
            await self._afford(most)
            if self.trouble is not None:
                break
            self._reserved += most
            try:
                attempt = await self._once(address, name, data)
            finally:
                self._reserved -= most
                self._settled.set()
            outcome = attempt.outcome
            if attempt.answer is not None:
                self._succeeded, self._failing_since = True, None
                self._failed_in_a_row = self._refused_in_a_row = 0
                return attempt.answer
            self._breaker(outcome, address)
            if not may_try_again(outcome):
                break
            if number < self.config.attempts:
                await asyncio.sleep(max(attempt.pause or 0.0, self._pause(name, number)))
        return Refused(outcome)

    def _pause(self, name: str, number: int) -> float:
        """Exponential, with half of it jitter."""
        whole = min(LONGEST_PAUSE, self.config.backoff * 2.0 ** (number - 1))
        return whole * (0.5 + 0.5 * uniform("jitter", name, number))

    def _most(self, size: int) -> float:
        """The most a call can cost: no text has more tokens than bytes."""
        sent = self.config.body([], {})
        limits = [sent.get(name) or 0 for name in ("max_tokens", "max_completion_tokens")]
        return self.config.price.of(size, max(limits)) if self.config.price else 0.0

    async def _afford(self, most: float) -> None:
        """Waits while calls on their way may still need what this one would; stops the work when
        nothing is left.
        """
        limit = self.config.max_cost
        while limit is not None and self.trouble is None:
            cost = self.cost or 0.0
            if cost + self._reserved + most <= limit:
                return
            if self._reserved <= most * 1e-9:
                what = (
                    f"the budget of {limit:g} is spent ({cost:.4f}, and the next call may cost "
                    f"{most:.4f})"
                )
                fix = "raise --max-cost and run again; what is answered is kept"
                self._stop(EndpointError(what, where=self.config.model, fix=fix))
            self._settled.clear()
            await self._settled.wait()

    def _stop(self, error: EndpointError) -> None:
        self.trouble = self.trouble or error
        self._settled.set()
        raise error

    async def _once(self, address: str, name: str, data: bytes) -> _Attempt:
        number = await self.ledger.begin(name, self.config.account)
        attempt = await self._send(address, data)
        await self.ledger.end(number, name, attempt.outcome, attempt.answer)
        usage = attempt.answer or Answer(None, None)
        before = self._spent
        self._spent = Spent(
            before.attempts + 1,
            before.prompt_tokens + usage.prompt_tokens,
            before.completion_tokens + usage.completion_tokens,
        )
        return attempt

    async def _send(self, address: str, data: bytes) -> _Attempt:
        assert self._session is not None, "use the endpoint as a context manager"
        url = f"{address}/chat/completions"
        try:
            async with self._session.post(url, data=data, allow_redirects=False) as response:
                if response.status != 200:
                    return _Attempt(
                        f"http {response.status}",
                        None,
                        _retry_after(response.headers.get("Retry-After")),
                    )
                received = bytearray()
                async for chunk in response.content.iter_any():
                    received += chunk
                    if len(received) > LARGEST_BODY:
                        response.close()
                        return _Attempt("broken body")
        except TimeoutError:
            return _Attempt("timeout")
        except self._aiohttp.ClientPayloadError:
            return _Attempt("broken body")
        except (self._aiohttp.ClientError, OSError):
            return _Attempt("no connection")
        answer = _answer(bytes(received))
        if answer is None:
            return _Attempt("broken body")
        if not answer.prompt_tokens:  # an endpoint that does not count: about three bytes a token
            answer = answer._replace(
                prompt_tokens=len(data) // 3,
                completion_tokens=len((answer.content or "").encode()) // 3,
            )
        return _Attempt("ok", answer)

    def _breaker(self, outcome: str, address: str) -> None:
        """Stops the work when no call can succeed: one line instead of a failure for each pair."""
        advice = "then run the same command again; what is answered is kept"
        code = int(outcome.removeprefix("http ")) if outcome.startswith("http ") else 0
        if code in HOPELESS and not (
            code == 403 and self._succeeded
        ):  # some gateways say 403 of a single text
            fix = f"check the model, base_url and the key's variable, {advice}"
            self._stop(EndpointError(f"{HOPELESS[code]} (HTTP {code})", where=address, fix=fix))
        if not may_try_again(outcome):
            self._refused_in_a_row += 1
            failed, enough = self._refused_in_a_row, 0.0
        else:
            self._failed_in_a_row += 1
            # A server that is merely busy says 429 for a while; one whose quota is spent says it
            # for ever.
            busy = max(self.config.patience, 2 * LONGEST_PAUSE)
            failed, enough = self._failed_in_a_row, busy if code == 429 else self.config.patience
        now = time.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if failed >= FAILURES and now - self._failing_since >= enough:
            what = f"{failed} calls failed in a row, the last one: {outcome}"
            self._stop(
                EndpointError(
                    what, where=address, fix=f"see whether it runs and what its log says, {advice}"
                )
            )


class Prompt(NamedTuple):
    """A chat to be completed."""

    messages: Sequence[Mapping[str, str]]
    form: Mapping[str, Any]
    """Further fields of the request: temperature, seed."""
    route: str = ""
    """What the replica is chosen by."""


def completions(
    config: EndpointConfig,
    prompts: Sequence[Prompt],
    ledger: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Answer | None], Counter[str]]:
    """Return the answers in order, None for those without one, and how these ended; known answers
    come from the ledger.

    Raises:
        EndpointError: the endpoint is of no use, or the budget is spent.
    """
    answers: list[Answer | None] = [None] * len(prompts)
    missing: Counter[str] = Counter()
    done = 0

    def heard(index: int, result: Answer | Refused) -> None:
        nonlocal done
        if isinstance(result, Refused):
            missing[result.outcome] += 1
        else:
            answers[index] = result
        done += 1
        if progress:
            progress(done, len(prompts))

    calls = (
        [Call(index, wire(config.body(prompt.messages, prompt.form)), prompt.route)]
        for index, prompt in enumerate(prompts)
    )
    asyncio.run(ask_all(config, ledger, calls, heard))
    return answers, missing


class Call(NamedTuple):
    """A call to be made: its place in order, its body by `wire`,
    and what the replica is chosen by.
    """

    place: int
    data: bytes
    route: str


async def ask_all(
    config: EndpointConfig,
    ledger: Path,
    groups: Iterator[Iterable[Call]],
    heard: Callable[[int, Answer | Refused], None],
) -> None:
    """Make calls, so many at once as the config allows; those of a group one after the other.

    Args:
        heard: called with a call's place and what came of it.

    Raises:
        EndpointError: the endpoint is of no use, or the budget is spent; what was answered is in
            the ledger.
    """

    async def work() -> None:
        for group in groups:  # shared: each worker takes the next one
            for place, data, route in group:
                try:
                    result = await endpoint.ask(data, route=route)
                except EndpointError:
                    return  # the others end their calls too: endpoint.trouble
                if endpoint.trouble:
                    return
                heard(place, result)

    with Ledger(ledger) as opened:
        async with Endpoint(config, opened) as endpoint:
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(config.concurrency):
                        workers.create_task(work())
            except BaseExceptionGroup as several:
                raise several.exceptions[0] from None
            if endpoint.trouble:
                raise endpoint.trouble


def wire(body: Mapping[str, Any]) -> bytes:
    """Return a call's body as it is sent: compact JSON with sorted keys, so equal bodies are equal
    bytes.
    """
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def key(address: str, data: bytes) -> str:
    """Return the ledger's key of a call: a hash of the endpoint and the whole body (model,
    parameters, messages).

    Args:
        data: the body by `wire`.
    """
    return sha256(f"{address}\n".encode() + data).hexdigest()[:40]


def may_try_again(outcome: str) -> bool:
    """Return whether the same call may succeed later."""
    if not outcome.startswith("http "):
        return True
    code = int(outcome.removeprefix("http "))
    return code in AGAIN or code >= 500


def _retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After, which is a number or a date."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), LONGEST_PAUSE) if seconds == seconds else None


def _answer(received: bytes) -> Answer | None:
    """The first choice of a chat completion, None when this is none."""
    try:
        data = json.loads(received)
        choice = data["choices"][0]
        content, finish = choice["message"].get("content"), choice.get("finish_reason")
        usage = data.get("usage") or {}
        prompt, completion = (
            int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")
        )
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ):
        return None
    if content is not None and not isinstance(content, str):
        return None
    # JSON can hold lone surrogates, and any number; the ledger cannot.
    whole = None if content is None else content.encode("utf-8", "replace").decode()
    finish_reason = finish.encode("utf-8", "replace").decode() if isinstance(finish, str) else None
    return Answer(whole, finish_reason, *(min(max(n, 0), 2**31) for n in (prompt, completion)))
