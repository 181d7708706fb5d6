"""The process that llama.cpp's server lives in: settings in as one line of JSON, its address out as
another.

It ends when its standard input does, so it never outlives whoever started it, not even one that was
killed. `vvae.inference.llama` is the other end.

llama.cpp's server shall not live in the process that uses it: dropped soon after it was made, its
destructor waits for ever for a thread that waits in accept, and a crash in it would take the user's
process along. A process can always be ended.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

__all__ = ["main"]


def _parameters(settings: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["base"]
    # Its threads wait for each other by spinning, hundreds of times a token: with one on every
    # core, whatever else runs brings a reply from a second to minutes.
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads, threads.poll = max(1, cores // 2), 0
    params.n_parallel, params.kv_unified = settings["slots"], False
    params.n_ctx = settings["context"] * settings["slots"]
    params.verbosity, params.warmup, params.cache_ram_mib = -1, False, 0
    scale = settings["adapter_scale"]
    adapters = [xllamacpp.CommonAdapterLoraInfo(path, scale) for path in settings["adapters"]]
    if adapters:
        params.lora_adapters = adapters
    if settings["key"]:
        params.api_keys = [settings["key"]]
    params.hostnames, params.port = ["127.0.0.1"], settings["port"]
    params.model_alias = {settings["name"]}
    return params


def main() -> None:
    """Serve until standard input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the library prints must not stand between the lines
    settings = json.loads(sys.stdin.readline())

    def say(**what: str) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    try:
        import xllamacpp

        server = xllamacpp.Server(_parameters(settings))
    except Exception as error:
        say(error=" ".join(str(error).split())[:200] or type(error).__name__)
        os._exit(1)
    say(address=str(server.listening_address))
    sys.stdin.read()
    os._exit(0)  # its destructor may wait for ever


if __name__ == "__main__":
    main()
