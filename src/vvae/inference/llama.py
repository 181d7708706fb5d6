"""Text generation by llama.cpp (`xllamacpp`): a GGUF base with a GGUF adapter, for one conversation at a time on a CPU.

It reads prompts slower than `TransformersEngine` reads a batch of them, and writes the replies of a chat faster. The
part of a prompt that it has read before, the context, is not read again (z comes last).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import SO_REUSEADDR, SOL_SOCKET, socket
from typing import Any

from vvae.core.errors import ModelError
from vvae.core.random import bits64
from vvae.inference.engine import DEFAULT_NEW_TOKENS, Completion, GenerationConfig, Progress, Request

__all__ = ["SAMPLING", "LlamaEngine", "LlamaServer", "check_vocabulary"]

SAMPLING = {"cache_prompt": True, "samplers": ["top_p", "temperature"]}
"""Fields of each request: no samplers but those that were asked for."""


def _xllamacpp() -> Any:
    try:
        import xllamacpp
    except ImportError:
        raise ModelError("xllamacpp is not installed", fix="pip install 'vvae[cpu]'") from None
    return xllamacpp


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ModelError("no such file", where=str(path), fix="give a GGUF file")
    return path


def _parameters(base: Path, context: int, slots: int) -> Any:
    params = _xllamacpp().CommonParams()
    params.model.path = str(_file(base))
    # Its threads wait for each other by spinning, hundreds of times a token: with one on every core, whatever else
    # runs brings a reply from a second to minutes.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads, threads.poll = max(1, cores // 2), 0
    params.n_parallel, params.n_ctx, params.kv_unified = slots, context, False
    params.verbosity, params.warmup, params.cache_ram_mib = -1, False, 0
    return params


def _started(params: Any, base: Path) -> Any:
    try:
        return _xllamacpp().Server(params)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"llama.cpp cannot load it ({reason})", where=str(base)) from None


class LlamaServer:
    """llama.cpp as an OpenAI-compatible server on loopback, for as long as this process lives or until `close`.

    Args:
        base: the model.
        name: what clients call it.
        port: 0 for a free one.
        context: tokens of prompt and answer that a slot holds.
        slots: requests at once.
        adapters: LoRAs in GGUF; a request's field ``lora`` says which is on.
        key: asked of clients, where there is one.

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
        key: str | None = None,
    ) -> None:
        params = _parameters(base, context * slots, slots)
        if adapters:
            params.lora_adapters = [_xllamacpp().CommonAdapterLoraInfo(str(_file(one)), 0.0) for one in adapters]
        if key:
            params.api_keys = [key]
        params.hostnames, params.port, params.model_alias = ["127.0.0.1"], port, {name}
        if port:
            with socket() as probe:
                probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    raise ModelError(
                        "the port is taken", where=f"127.0.0.1:{port}", fix="give another --port"
                    ) from None
        self._server = _started(params, base)

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return f"{self._server.listening_address}/v1"

    def close(self) -> None:
        """Stops listening and frees the model."""
        del self._server


class LlamaEngine:
    """A llama.cpp server in this process; what listens on loopback asks for a key that nobody has.

    A draw is keyed by request. Its logits, unlike those of `TransformersEngine` in fp32, depend in their last bits
    on what was computed together.

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
        self, base: Path, adapter: Path | None = None, *, stop: Sequence[str] = (), context: int = 4096, slots: int = 1
    ) -> None:
        params = _parameters(base, context * slots, slots)
        if adapter is not None:
            params.lora_adapters = [_xllamacpp().CommonAdapterLoraInfo(str(_file(adapter)), 1.0)]
        params.api_keys = [secrets.token_hex(16)]
        self._slots, self._context, self._stop = slots, context, list(stop)
        self._server = _started(params, base)

    @property
    def address(self) -> str:
        """Where the server in this process listens."""
        return str(self._server.listening_address)

    def complete(
        self, requests: Sequence[Request], config: GenerationConfig, *, seed: int, progress: Progress | None = None
    ) -> list[Completion]:
        """Completions in the order of the requests.

        Raises:
            ModelError: a prompt and its reply are longer than `context`, or llama.cpp fails.
        """
        limit = config.max_new_tokens or DEFAULT_NEW_TOKENS
        longest = max((len(request.prompt) for request in requests), default=0)
        if longest + limit > self._context:
            raise ModelError(f"a prompt of {longest} tokens and a reply of {limit} do not fit in {self._context}")
        done: list[Completion] = []
        with ThreadPoolExecutor(self._slots) as pool:
            for completion in pool.map(lambda request: self._one(request, config, limit, seed), requests):
                done.append(completion)
                if progress:
                    progress(len(done), len(requests))
        return done

    def _one(self, request: Request, config: GenerationConfig, limit: int, seed: int) -> Completion:
        asked = {
            "prompt": list(request.prompt),
            "n_predict": limit,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": bits64("token", seed, request.key) % 2**32,
            "stop": self._stop,
            **SAMPLING,
        }
        answer: Any = self._server.handle_completions(asked)
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise ModelError(f"llama.cpp gave no completion ({' '.join(str(answer).split())[:200]})", where=request.key)
        choice, tokens = answer["choices"][0], int(answer["usage"]["completion_tokens"])
        return Completion(str(choice["text"]).strip(), str(choice["finish_reason"]), tokens)


def check_vocabulary(base: Path, tokenizer: Any) -> None:
    """Raises ModelError where a GGUF file has other tokens than a tokenizer: its replies would be noise."""
    from gguf import GGUFReader

    try:
        field = GGUFReader(str(base)).fields["tokenizer.ggml.tokens"]
    except Exception as error:
        raise ModelError(f"no GGUF model ({' '.join(str(error).split())[:100]})", where=str(base)) from None
    known = tokenizer.get_vocab()
    places = range(0, len(field.data), max(1, len(field.data) // 200))
    theirs = {i: bytes(field.parts[field.data[i]]).decode("utf-8", "replace") for i in places}
    other = [text for i, text in theirs.items() if known.get(text) not in (None, i)]
    if len(known) > len(field.data) or other:
        fix = "give the GGUF file of the model that the adapter was trained on"
        raise ModelError("its tokens are not those of the run's model", where=str(base), fix=fix)
