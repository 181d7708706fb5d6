"""Text generation by llama.cpp (`xllamacpp`): a GGUF base with a GGUF adapter, on a CPU.

It reads prompts slower than `TransformersEngine` reads a batch of them, and writes the replies of a
chat faster. The part of a prompt that it has read before, the context, is not read again (z comes
last). Its server runs in a process of its own (`vvae.inference.llama_process`), which can be ended
at any time.
"""

from __future__ import annotations

import importlib.util
import json
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import SO_REUSEADDR, SOL_SOCKET, socket
from typing import Any

from vvae.core.errors import ModelError
from vvae.core.random import bits64
from vvae.core.reporting import Progress
from vvae.inference.engine import (
    DEFAULT_NEW_TOKENS,
    Completion,
    GenerationConfig,
    Request,
    check_no_contrasts,
)

__all__ = ["SAMPLING", "LlamaEngine", "LlamaServer", "check_vocabulary"]

SAMPLING = {"cache_prompt": True, "samplers": ["top_p", "temperature"]}
"""Fields of each request: no samplers but those that were asked for."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Loopback is never asked for by way of a proxy."""


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ModelError("no such file", where=str(path), fix="give a GGUF file")
    return path


class LlamaServer:
    """A llama.cpp server, OpenAI-compatible, on loopback and in a process of its own.

    The process ends with `close`, with this object, or with the process that made it.

    Args:
        base: the model, a GGUF file.
        name: what clients call it.
        port: 0 for a free one.
        context: tokens of prompt and answer that a slot holds.
        slots: requests at once.
        adapters: LoRAs in GGUF; a request's field ``lora`` says which is on.
        adapter_scale: how strongly they are on where a request does not say.
        key: the API key that clients must send; None for none.

    Raises:
        ModelError: xllamacpp is not installed, the file cannot be loaded, or the port is taken.
    """

    def __init__(
        self,
        base: Path,
        name: str,
        *,
        port: int = 0,
        context: int = 4096,
        slots: int = 1,
        adapters: Sequence[Path] = (),
        adapter_scale: float = 0.0,
        key: str | None = None,
    ) -> None:
        settings = {
            "base": str(_file(base)),
            "name": name,
            "port": port,
            "context": context,
            "slots": slots,
            "adapters": [str(_file(adapter)) for adapter in adapters],
            "adapter_scale": adapter_scale,
            "key": key,
        }
        if importlib.util.find_spec("xllamacpp") is None:
            raise ModelError("xllamacpp is not installed", fix="pip install 'vvae[cpu]'")
        if port:
            _check_free(port)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vvae.inference.llama_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for whoever started it
        )
        self._end = weakref.finalize(self, _end, self._process)
        self.address = self._start(settings, base)
        """Where it listens, without a path."""

    def _start(self, settings: dict[str, Any], base: Path) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            self._process.stdin.flush()
            message = json.loads(
                self._process.stdout.readline() or b'{"error": "it stopped while loading"}'
            )
        except BaseException as error:
            self.close()
            if not isinstance(error, OSError | ValueError):
                raise
            message = {"error": "it stopped while loading"}
        if "error" in message:
            self.close()
            raise ModelError(f"llama.cpp cannot load it ({message['error']})", where=str(base))
        return str(message["address"])

    @property
    def base_url(self) -> str:
        """Return what an OpenAI client is given."""
        return f"{self.address}/v1"

    def wait(self) -> int:
        """Return the process's exit code once it has ended."""
        return self._process.wait()

    def close(self) -> None:
        """End the process; what it was writing is lost."""
        self._end()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _check_free(port: int) -> None:
    with socket() as probe:
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ModelError(
                "the port is taken", where=f"127.0.0.1:{port}", fix="give another --port"
            ) from None


class LlamaEngine:
    """An engine with a llama.cpp server of its own, which asks for a key that nobody else has.

    A draw is keyed by request. Its logits, unlike those of `TransformersEngine` in fp32, depend in
    their last bits on what was computed together.

    Args:
        base: the base model.
        adapter: a LoRA in GGUF (`vvae export RUN --gguf`), None for the base alone.
        stop: texts that end a reply, beside the model's own end-of-turn tokens.
        context: tokens of prompt and reply that a slot holds.
        slots: requests at once.

    Raises:
        ModelError: xllamacpp is not installed, or a file cannot be loaded.
    """

    def __init__(
        self,
        base: Path,
        adapter: Path | None = None,
        *,
        stop: Sequence[str] = (),
        context: int = 4096,
        slots: int = 1,
    ) -> None:
        self._slots, self._context, self._stop = slots, context, list(stop)
        self._key = secrets.token_hex(16)
        self.server = LlamaServer(
            base,
            "base",
            context=context,
            slots=slots,
            adapters=[adapter] if adapter else [],
            adapter_scale=1.0,
            key=self._key,
        )

    def complete(
        self,
        requests: Sequence[Request],
        config: GenerationConfig,
        *,
        seed: int,
        progress: Progress | None = None,
    ) -> list[Completion]:
        """Return completions in the order of the requests.

        Raises:
            ModelError: a prompt and its reply are longer than `context`, or llama.cpp fails.
            ConfigError: a request has contrasts.
        """
        check_no_contrasts(requests)
        limit = config.max_new_tokens or DEFAULT_NEW_TOKENS
        longest = max((len(request.prompt) for request in requests), default=0)
        if longest + limit > self._context:
            raise ModelError(
                f"a prompt of {longest} tokens and a reply of {limit} do not fit in {self._context}"
            )
        completions: list[Completion] = []
        with ThreadPoolExecutor(self._slots) as pool:
            for completion in pool.map(
                lambda request: self._completed(request, config, limit, seed), requests
            ):
                completions.append(completion)
                if progress:
                    progress(len(completions), len(requests))
        return completions

    def _completed(
        self, request: Request, config: GenerationConfig, limit: int, seed: int
    ) -> Completion:
        body = {
            "prompt": list(request.prompt),
            "n_predict": limit,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": bits64("token", seed, request.key) % 2**32,
            "stop": self._stop,
            **SAMPLING,
        }
        answer = self.post(body, where=request.key)
        choice, tokens = answer["choices"][0], int(answer["usage"]["completion_tokens"])
        return Completion(str(choice["text"]).strip(), str(choice["finish_reason"]), tokens)

    def post(self, body: dict[str, Any], *, where: str = "") -> dict[str, Any]:
        """Return the server's answer to a body of its ``/v1/completions``.

        Raises:
            ModelError: it refuses, or it is gone.
        """
        request = urllib.request.Request(
            f"{self.server.base_url}/completions",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        try:
            with _DIRECT.open(request) as response:
                answer = json.loads(response.read())
        except urllib.error.HTTPError as error:
            reason = " ".join(error.read(400).decode("utf-8", "replace").split())
            raise ModelError(
                f"llama.cpp gave no completion ({reason[:200]})", where=where
            ) from None
        except (OSError, ValueError) as error:
            raise ModelError(f"llama.cpp stopped ({type(error).__name__})", where=where) from None
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise ModelError("llama.cpp gave no completion", where=where)
        return answer


def check_vocabulary(base: Path, tokenizer: Any) -> None:
    """Raise ModelError where a GGUF file has other tokens than a tokenizer: its replies would be
    noise.
    """
    from gguf import GGUFReader

    try:
        field = GGUFReader(str(base)).fields["tokenizer.ggml.tokens"]
    except Exception as error:
        raise ModelError(
            f"no GGUF model ({' '.join(str(error).split())[:100]})", where=str(base)
        ) from None
    vocabulary = tokenizer.get_vocab()
    places = range(0, len(field.data), max(1, len(field.data) // 200))
    theirs = {i: bytes(field.parts[field.data[i]]).decode("utf-8", "replace") for i in places}
    mismatches = [text for i, text in theirs.items() if vocabulary.get(text) not in (None, i)]
    if len(vocabulary) > len(field.data) or mismatches:
        fix = "give the GGUF file of the model that the adapter was trained on"
        raise ModelError("its tokens are not those of the run's model", where=str(base), fix=fix)
