"""Generation speed: continuous batching against transformers' `generate`, and llama.cpp through us
against itself.

    python benchmarks/generate_speed.py configs/demo.yaml --adapter runs/demo/adapters/SP+FT \
        --replies 24

The same held-out prompts and adapter for all. The transformers engines write exactly `--tokens`
tokens a reply, those of llama.cpp end where the model ends. Rounds alternate; every row is one run;
medians of tokens written per second, prompts included in the time. The last lines are
ratio_vs_llama (ours / raw) and ratio_vs_generate.

    ours              `TransformersEngine`, all replies at once
    generate          `generate`, one by one
    generate-8        `generate`, length-sorted batches of 8, padded on the left
    llama             `LlamaEngine`, one slot
    llama-raw         xllamacpp's server called directly
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from vvae.config import load_config
from vvae.core.console import ConsoleReporter
from vvae.core.random import bits64
from vvae.corpus.pairs import benchmark_pairs
from vvae.decoder.export import adapter_to_gguf
from vvae.decoder.model import Decoder
from vvae.inference.engine import GenerationConfig, Request
from vvae.inference.llama import LlamaEngine
from vvae.inference.models import gguf_of
from vvae.inference.transformers import TransformersEngine
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages


def ours(decoder: Decoder, requests: Sequence[Request], tokens: int) -> int:
    """Our engine, with a stop token that a chat does not hold."""
    unused = decoder.prompter.tokenizer.convert_tokens_to_ids(
        decoder.prompter.tokenizer.all_special_tokens[-1]
    )
    engine = TransformersEngine(
        decoder.model, decoder.prompter.tokenizer, [unused], bf16=decoder.bf16
    )
    return sum(
        c.tokens for c in engine.complete(requests, GenerationConfig(max_new_tokens=tokens), seed=0)
    )


def generate(decoder: Decoder, requests: Sequence[Request], tokens: int, batch: int) -> int:
    """transformers' own, at temperature 1 without truncation."""
    import torch

    decoder.model.eval()
    order = sorted(requests, key=lambda request: len(request.prompt))
    written, pad = 0, decoder.prompter.stops[0]
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        width = max(len(request.prompt) for request in group)
        ids = torch.tensor(
            [[pad] * (width - len(r.prompt)) + list(r.prompt) for r in group], device=decoder.device
        )
        mask = torch.tensor(
            [[0] * (width - len(r.prompt)) + [1] * len(r.prompt) for r in group],
            device=decoder.device,
        )
        with (
            torch.inference_mode(),
            torch.autocast(decoder.device.type, torch.bfloat16, enabled=decoder.bf16),
        ):
            found = decoder.model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                top_k=0,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                pad_token_id=pad,
            )
        written += found[:, width:].numel()
    return written


def raw(engine: LlamaEngine, requests: Sequence[Request], tokens: int) -> int:
    """The server of our engine, called without it."""
    written = 0
    for request in requests:
        asked = {
            "prompt": list(request.prompt),
            "n_predict": tokens,
            "temperature": 1.0,
            "samplers": ["temperature"],
        }
        answer = engine.post({**asked, "seed": bits64("token", 0, request.key) % 2**32})
        written += answer["usage"]["completion_tokens"]
    return written


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--replies", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("generate-speed.jsonl"))
    arguments = parser.parse_args()
    run = Run(load_config(arguments.config), reporter=ConsoleReporter(Console(stderr=True)))
    run_stages(run, until="profiles")
    decoder = run.decoder
    decoder.load_adapter(arguments.adapter)
    variant = next(v for v in run.variants if v.name == "SP+FT")
    pairs = benchmark_pairs(
        run.pairs, run.speakers, total=arguments.replies, per_speaker=15, seed=run.config.seed
    )
    requests = [
        decoder.prompter.request(
            run.dialogues[p.dialogue], p, run.conditions(variant).test_line(p, p.speaker)
        )
        for p in pairs
    ]
    n = arguments.tokens
    engines: dict[str, Callable[[], int]] = {
        "ours": lambda: ours(decoder, requests, n),
        "generate": lambda: generate(decoder, requests, n, 1),
        "generate-8": lambda: generate(decoder, requests, n, 8),
    }
    with TemporaryDirectory() as scratch:
        if (base := gguf_of(run.config.decoder.model)) is not None:
            gguf = Path(scratch) / "adapter.gguf"
            adapter_to_gguf(arguments.adapter, run.config.decoder.model, gguf)
            setting = GenerationConfig(max_new_tokens=n)
            through, alone = LlamaEngine(base, gguf), LlamaEngine(base, gguf)
            engines["llama"] = lambda: sum(
                c.tokens for c in through.complete(requests, setting, seed=0)
            )
            engines["llama-raw"] = lambda: raw(alone, requests, n)
        rows: list[dict[str, Any]] = []
        for number in range(arguments.rounds):
            for name, write in engines.items():
                start = time.perf_counter()
                written = write()
                seconds = time.perf_counter() - start
                row = {"engine": name, "round": number, "replies": len(requests), "tokens": written}
                rows.append(
                    {
                        **row,
                        "seconds": round(seconds, 2),
                        "tokens_per_s": round(written / seconds, 2),
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
    with arguments.out.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    speed = {
        name: median(r["tokens_per_s"] for r in rows if r["engine"] == name) for name in engines
    }
    print(f"prompt tokens: {sum(len(r.prompt) for r in requests)}, medians: {speed}")
    if "llama" in speed:
        print(f"ratio_vs_llama {speed['llama'] / speed['llama-raw']:.2f}")
    print(f"ratio_vs_generate {speed['ours'] / speed['generate']:.2f}")


if __name__ == "__main__":
    main()
