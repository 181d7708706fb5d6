"""The engine's process (`child`): its parent starts it anew when it dies.

A process of its own, so that the server answers within a second of its start (it imports no torch),
that a model which dies takes no connection with it, and that no request waits for a token of
another. The price is two lines of JSON a token. Behind it llama.cpp and vLLM are both asked
``/completions`` with token ids: one client, and exactly the prompt that was trained.

In, after the settings (`WorkerSettings`)::

    {"id": 1, "turns": [[0, "you", "hi"]], "speaker": "Ana", "block": "[persona]", "preface": "",
     "set_off": [], "adapter": "SP+FT", "seed": 0,
     "temperature": 1.0, "top_p": 1.0, "max_tokens": 80}

and, for a reply into which a value is put, ``"put": {"dimension": "emoji", "value": ":)",
"attempt": 0, "texts": ["replies without it"]}``.

Out: ``{"id": 1, "prompt": tokens}``, ``{"id": 1, "text": "..."}``, ``{"id": 1, "done":
    finish_reason, "tokens": n}``, ``{"id": 1, "error": "...", "user": bool}``.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from threading import Thread
from typing import Any

from vvae.core.errors import ConfigError, DataError, ModelError, VVAEError
from vvae.decoder.model import Decoder
from vvae.encoders.in_the_loop import Placement
from vvae.inference.engine import GenerationConfig, Request
from vvae.inference.llama import SAMPLING, LlamaServer
from vvae.inference.tokenizer import Prompter, load_prompter
from vvae.pipeline.run import Run
from vvae.serving.engines import end_of_turn, llama_base, llama_parts
from vvae.serving.http.child import Child, give_up, run_child
from vvae.serving.http.streaming import BatchedEngine, CompletionsEngine, LiveEngine
from vvae.serving.http.worker_settings import WorkerSettings
from vvae.serving.session import reply_request, turn_of

__all__ = ["Worker", "build", "serve"]

CONTEXT = 4096
"""Tokens of prompt and reply, where the model can see as many."""
SHORTEST_REPLY = 8
"""Tokens that a prompt must leave for its reply."""


def build(run: Run, settings: WorkerSettings) -> tuple[Prompter, LiveEngine, object]:
    """Return prompter and engine, and what must live as long as they do.

    Raises:
        VVAEError: the model or an adapter cannot be loaded.
    """
    if settings.engine == "proxy":
        prompter = load_prompter(run.config.decoder.model)
        names: dict[str, tuple[str, Mapping[str, Any]]] = {
            name: (settings.models.get(name, name), {}) for name in settings.adapters
        }
        key = os.environ.get(settings.key_env)
        return prompter, _completions(settings.endpoint or "", names, key, prompter), None
    base = Path(settings.gguf) if settings.gguf else None
    file = llama_base(run, settings.engine, base)
    trained = [name for name in settings.adapters if run.servable_variant(name).trained]
    if file is None:
        decoder = run.decoder
        return decoder.prompter, _batched(decoder, _switch(run, settings, trained), settings), None
    prompter, loras = llama_parts(run, trained, base)
    key = secrets.token_hex(16)
    server = LlamaServer(
        file, "base", context=CONTEXT, slots=settings.slots, adapters=loras, key=key
    )
    Thread(target=_end_with, args=(server,), daemon=True).start()
    models = {
        name: (
            "base",
            {
                "lora": [{"id": i, "scale": float(n == name)} for i, n in enumerate(trained)],
                **SAMPLING,
            },
        )
        for name in settings.adapters
    }
    return prompter, _completions(server.base_url, models, key, prompter), server


def _switch(run: Run, settings: WorkerSettings, trained: Sequence[str]) -> Callable[[str], None]:
    """What puts an adapter in use, by its name."""
    if not trained:
        return lambda _: None
    if len(trained) < len(settings.adapters):
        raise ModelError(
            "this engine serves prompted and trained variants apart",
            where="--variant",
            fix="serve one kind, or take --engine llama.cpp",
        )
    return run.decoder.load_adapters({name: run.path(f"adapters/{name}") for name in trained})


def _end_with(server: LlamaServer) -> None:
    """Ends this process when llama.cpp's has ended: its parent then starts both anew."""
    code = server.wait()
    print(f"vvae: llama.cpp stopped ({code})", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(1)


def _completions(
    url: str,
    models: Mapping[str, tuple[str, Mapping[str, Any]]],
    key: str | None,
    prompter: Prompter,
) -> CompletionsEngine:
    return CompletionsEngine(url, models, key=key, stops=end_of_turn(prompter), context=CONTEXT)


def _batched(decoder: Decoder, switch: Any, settings: WorkerSettings) -> BatchedEngine:
    decoder.model.eval()
    context = min(CONTEXT, decoder.context_length)
    return BatchedEngine(
        decoder.engine, settings.adapters, switch, slots=settings.slots, context=context
    )


class Worker(Child):
    """A worker that writes the replies it is asked for, and says what is written."""

    def __init__(
        self, prompter: Prompter, engine: LiveEngine, window_tokens: int, out: Any
    ) -> None:
        super().__init__(out)
        self._prompter, self._engine, self._window = prompter, engine, window_tokens

    def _request(self, message: dict[str, Any]) -> Request:
        return reply_request(
            self._prompter,
            [turn_of(*turn) for turn in message["turns"]],
            message["speaker"],
            message["block"],
            window_tokens=self._window,
            key=message["key"],
            preface=message["preface"],
            set_off=[(block, weight) for block, weight in message["set_off"]],
        )

    async def answer(self, message: dict[str, Any]) -> None:
        """Write a reply."""
        name = message["id"]
        try:
            request = self._request(message)
        except Exception as error:
            known = isinstance(error, VVAEError)
            self.say(id=name, error=str(error) if known else "the prompt cannot be made", user=True)
            return
        try:
            others = (len(one.prompt) for one in request.contrasts)
            room = self._engine.context - max(len(request.prompt), *others, 0)
            if room < SHORTEST_REPLY:
                what = (
                    f"a prompt of {len(request.prompt)} tokens; the engine sees "
                    f"{self._engine.context}"
                )
                raise DataError(what, where="messages", fix="send less")
            if put := message.get("put"):
                found = Placement(put["dimension"], put["value"], (), put["attempt"])
                adapter, seed = message["adapter"], message["seed"]
                request = await self._engine.opened(
                    request, adapter, found, put["texts"], seed=seed
                )
            limit = min(message["max_tokens"], room)
            if len(request.opening) >= limit:  # the value has no room: nothing is written
                self.say(id=name, prompt=len(request.prompt))
                self.say(id=name, done="length", tokens=0)
                return
            config = GenerationConfig(
                temperature=message["temperature"], top_p=message["top_p"], max_new_tokens=limit
            )
            async with aclosing(
                self._engine.stream(request, message["adapter"], config, seed=message["seed"])
            ) as pieces:
                begun = False
                async for piece in pieces:
                    if not begun:  # what the engine refuses was not begun
                        self.say(id=name, prompt=len(request.prompt))
                        begun = True
                    if piece.text:
                        self.say(id=name, text=piece.text)
                    if piece.finish_reason:
                        self.say(id=name, done=piece.finish_reason, tokens=piece.tokens)
        except VVAEError as error:
            self.say(id=name, error=str(error), user=isinstance(error, DataError | ConfigError))
        except Exception as error:
            give_up(error, "the engine")


async def serve(line: bytes, source: Any, out: Any) -> None:
    """Load the engine and work until the parent goes."""
    settings = WorkerSettings.model_validate_json(line)
    run = Run.open(settings.run)
    try:
        prompter, engine, keep = build(run, settings)
    except (VVAEError, MemoryError):
        raise
    except Exception as error:  # another start would not mend it
        raise ModelError(
            f"the engine cannot start ({type(error).__name__}: {error})", where=settings.run
        ) from None
    worker = Worker(prompter, engine, run.config.pairs.window_tokens, out)
    worker.say(ready=engine.context)
    await worker.listen(source)
    await engine.close()
    del keep


if __name__ == "__main__":
    run_child(serve)
