"""What stands before every route: who may ask, in what form, how much and how slowly."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from vvae.serving.http.schemas import error_body

__all__ = ["LOOPBACK", "Keys", "RequestGuard"]

LOG = logging.getLogger("vvae.server")
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
OPEN_PATHS = ("/", "/page.js", "/page.css", "/health")
"""Answered without a key: the page asks for the key, and says nothing itself."""
NEEDS_OWNER = "this needs the owner's key: it reads people's messages, or writes"
NO_OWNER = (
    "nobody may do this here, as it reads people's messages, or writes: start the server with "
    "VVAE_OWNER_KEY to be its owner"
)
OWNERS = {NEEDS_OWNER: "owner_only", NO_OWNER: "no_owner"}
"""What is refused to whoever is not the owner -> its code."""
LARGEST_BODY = 2 << 20
BODY_SECONDS = 20.0
DEEPEST = 32
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""Strings; one that is not closed goes to the end, so that each byte is looked at once."""
_BRACKETS = re.compile(rb"[\[\]{}]")


class Keys(NamedTuple):
    """A pair of bearer tokens: one to talk, and one of the owner's, who may also read people's
    messages in the review, and keep and delete personas.

    Without a key to talk the server is this machine's alone, and everybody on it is its owner, too,
    where the owner has no key. With one, nobody is the owner without the owner's.
    """

    talk: str | None = None
    owner: str | None = None

    def allows(self, token: str, *, owner: bool) -> bool:
        """Return whether a token is enough to talk, or for what is the owner's."""
        if (self.owner if owner else self.talk) is None:
            return self.talk is None
        keys = [key for key in ((self.owner,) if owner else self) if key]
        return any([hmac.compare_digest(token.encode("latin-1"), key.encode()) for key in keys])  # noqa: C419 -- each, in the same time


def _is_owners(scope: Any) -> bool:
    """Whether a request is for what only the owner may do."""
    path: str = scope["path"]
    writes = scope["method"] not in ("GET", "HEAD")
    return path == "/vvae/review" or (writes and path.startswith("/vvae/"))


class RequestGuard:
    """An ASGI middleware; what it lets through has its whole body, in one message.

    Args:
        keys: asked for as bearer tokens.
        hosts: names under which it is called; a page of another site that was given this address by
            its name server
            is not answered. None for any.
    """

    def __init__(self, app: Any, *, keys: Keys, hosts: Collection[str] | None) -> None:
        self._app, self._keys, self._hosts = app, keys, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in reversed(scope["headers"])}
        refused = self._refused(scope, headers)
        if refused is None and scope["method"] in ("POST", "PUT", "PATCH"):
            refused, receive = await self._whole(receive)
        if refused is not None:
            await _answer(send, *refused)
            return
        begun, silent = False, scope["method"] == "HEAD"
        if silent:  # as a GET, without its body
            scope = {**scope, "method": "GET"}

        async def watched(message: Any) -> None:
            nonlocal begun
            begun = True
            if silent and "body" in message:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # its text, and a traceback, may quote the conversation
            LOG.error("a request failed: %s", type(error).__name__)
            if not begun:
                await _answer(send, 500, "the server failed")

    def _refused(self, scope: Any, headers: dict[bytes, str]) -> tuple[int, str] | None:
        host = re.sub(r":\d+$", "", headers.get(b"host", "")).lower().removesuffix(".")
        if self._hosts is not None and host not in self._hosts:
            return 421, "this server answers under the names of loopback only"
        if scope["path"] not in OPEN_PATHS and scope["method"] != "OPTIONS":
            scheme, _, token = headers.get(b"authorization", "").partition(" ")
            token = token.strip() if scheme.lower() == "bearer" else ""
            if not self._keys.allows(token, owner=False):
                return 401, "the key is missing or wrong"
            scope["vvae.owner"] = self._keys.allows(token, owner=True)
            if _is_owners(scope) and not scope["vvae.owner"]:
                return 403, NEEDS_OWNER if self._keys.owner else NO_OWNER
        if scope["method"] in ("POST", "PUT", "PATCH"):
            kind = headers.get(b"content-type", "").partition(";")[0].strip().lower()
            if (
                kind != "application/json"
            ):  # a form of another site's page could send anything else without asking
                return 415, "the body must be application/json"
            length = headers.get(b"content-length", "0")
            if length.isdecimal() and int(length) > LARGEST_BODY:
                return 413, f"a body may have {LARGEST_BODY:,} bytes"
        return None

    async def _whole(self, receive: Any) -> tuple[tuple[int, str] | None, Any]:
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return (400, "the body did not arrive"), receive
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > LARGEST_BODY:
                        return (413, f"a body may have {LARGEST_BODY:,} bytes"), receive
        except TimeoutError:
            return (408, "the body arrives too slowly"), receive
        if depth(bytes(body)) > DEEPEST:
            return (400, f"JSON may be {DEEPEST} levels deep"), receive
        sent = False

        async def again() -> Any:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return None, again


def depth(body: bytes) -> int:
    """Return how deep JSON is nested; whether it is JSON is not asked.

    >>> depth(b'{"a": ["[[[", {}]}')
    3
    """
    deepest = level = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub(b"", body)):
        level += 1 if bracket[0] in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


async def _answer(send: Any, status: int, message: str) -> None:
    kinds = {401: "authentication_error", 403: "permission_error", 500: "server_error"}
    kind = kinds.get(status, "invalid_request_error")
    code = {401: "invalid_api_key"}.get(status, OWNERS.get(message))
    body = json.dumps(error_body(message, kind=kind, code=code)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
