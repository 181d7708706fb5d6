"""Attention over prefix trees: every kernel against the dense one, values, gradients and time.

    python benchmarks/attention_speed.py --tokens 4096 8192 16384 --out attention-speed.jsonl

Trees are made up in the sizes of the BYU corpus's (a trunk of about 450 tokens, four replies of
about 30), one after the other until a batch is full; heads as in Llama 3 8B (32 of width 128, 8 for
keys). A row is one kernel at one size: seconds of forward and backward of one layer (the median of
`--rounds`, after two that are not counted), of the first call (a compiled kernel is compiled then),
and of the plan, which all layers share; and the largest difference of values and of gradients from
the dense kernel's in fp32, as a share of their largest value. The last lines are ratios to dense.
`--step` adds a training step of a Llama of random weights in the shape of SmolLM2-135M.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from vvae.decoder.kernels.attention import KERNELS, AttentionKernel
from vvae.decoder.trees import Node, Tree, TreeBatch, collate, visible

HEADS, KEY_HEADS, WIDTH = 32, 8, 128


def forest(tokens: int, seed: int = 0) -> list[Tree]:
    """Trees of `tokens` in all, the last one cut short."""
    rng = np.random.default_rng(seed)
    trees: list[Tree] = []
    left = tokens
    while left > 80:
        trunk = min(left - 40, int(rng.integers(200, 700)))
        nodes = [Node("", tuple(rng.integers(5, 4000, trunk).tolist()))]
        left -= trunk
        for number in range(int(rng.integers(2, 7))):
            length = min(left, int(rng.integers(12, 60)))
            if length < 5:
                break
            cut = int(rng.integers(1, trunk))
            words = tuple(rng.integers(5, 4000, length).tolist())
            nodes.append(Node(f"{len(trees)}-{number}", words, 0, cut, length - 2))
            left -= length
        trees.append(Tree(tuple(nodes)))
    return trees


def clock(device: torch.device) -> float:
    """Return seconds, when the device has caught up."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def sides(n: int, device: torch.device, dtype: torch.dtype, heads: int) -> list[torch.Tensor]:
    """Return query, key, value and the weights of a sum over the result."""
    generator = torch.Generator().manual_seed(0)
    groups = max(1, heads * KEY_HEADS // HEADS)
    shapes = [(1, h, n, WIDTH) for h in (heads, groups, groups)] + [(1, n, heads, WIDTH)]
    return [torch.randn(*s, generator=generator).to(device, dtype) for s in shapes]


def attended(
    kernel: AttentionKernel, plan: Any, parts: list[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Return values and the gradients of query, key and value."""
    q, k, v = (x.detach().requires_grad_() for x in parts[:3])
    result = kernel.attend(q, k, v, plan, scaling=WIDTH**-0.5, softcap=None, dropout=0.0)
    gradients = torch.autograd.grad((result * parts[3]).sum(), (q, k, v))
    return (result.detach(), *gradients)


def measured(
    kernel: AttentionKernel,
    batch: TreeBatch,
    device: torch.device,
    dtype: torch.dtype,
    *,
    heads: int,
    rounds: int,
) -> tuple[dict[str, Any], tuple[torch.Tensor, ...]]:
    """Return a kernel's times on a batch, and what it computes."""
    parts = sides(len(batch.ids), device, dtype, heads)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = clock(device)
    plan = kernel.plan(batch, device, dtype)
    planned = clock(device)
    result = attended(kernel, plan, parts)
    first = clock(device) - planned
    times = []
    for _ in range(rounds + 2):
        begin = clock(device)
        attended(kernel, plan, parts)
        times.append(clock(device) - begin)
    row = {
        "plan_ms": round(1000 * (planned - start), 2),
        "first_ms": round(1000 * first, 1),
        "ms": round(1000 * median(times[2:]), 3),
    }
    if device.type == "cuda":
        row["peak_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return row, result


def apart(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> list[float]:
    """Return the largest differences of values and gradients, as shares of the largest value."""
    pairs = zip(ours, theirs, strict=True)
    return [
        float(f"{(a.float() - b.float()).abs().max() / b.float().abs().max():.2e}")
        for a, b in pairs
    ]


def step(tokenizer: Path, device: torch.device, note: Callable[..., None], tokens: int) -> None:
    """Time a training step under each kernel and compare losses."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from vvae.decoder.loading import load_decoder
    from vvae.decoder.model import DecoderConfig, LoraConfig

    words = AutoTokenizer.from_pretrained(str(tokenizer))
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(words),
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        eos_token_id=words.eos_token_id,
    )
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(shape).save_pretrained(folder)
        words.save_pretrained(folder)
        decoder = load_decoder(
            DecoderConfig(model=folder, precision="bf16", lora=LoraConfig(r=16, alpha=32))
        )
    decoder.add_adapter(0)
    chosen = decoder.attention
    trees = forest(tokens)
    replies = sum(len(tree.nodes) - 1 for tree in trees)
    for kernel in (chosen, KERNELS["dense"]):
        decoder.attention = kernel
        inputs = decoder.inputs(trees)
        times, loss = [], 0.0
        for _ in range(8):
            start = clock(device)
            losses = decoder.token_losses(inputs)
            losses.mean().backward()  # type: ignore[no-untyped-call]
            times.append(clock(device) - start)
            loss = float(losses.detach().mean())
        note(
            step=kernel.name,
            tokens=len(inputs.ids),
            first_ms=round(1000 * times[0]),
            ms=round(1000 * median(times[3:]), 1),
            replies_per_s=round(replies / median(times[3:]), 1),
            loss=round(loss, 5),
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--heads", type=int, default=HEADS)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kernels", nargs="+", default=list(KERNELS))
    parser.add_argument("--step", type=Path, help="folder of a tokenizer with a chat template")
    parser.add_argument("--out", type=Path, default=Path("attention-speed.jsonl"))
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32

    def note(**row: Any) -> None:
        print(json.dumps(row), flush=True)
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    for tokens in arguments.tokens:
        batch = collate(forest(tokens))
        seen = float(visible(batch.preorder, batch.subtree_end).mean())
        times: dict[str, float] = {}
        exact = KERNELS["dense"]
        common = {"heads": arguments.heads, "rounds": arguments.rounds}
        _, reference = measured(
            exact, batch, device, torch.float32, heads=arguments.heads, rounds=1
        )
        for name in arguments.kernels:
            row, result = measured(KERNELS[name], batch, device, dtype, **common)
            times[name] = row["ms"]
            note(
                kernel=name,
                tokens=len(batch.ids),
                seen=round(seen, 4),
                dtype=str(dtype).removeprefix("torch."),
                **row,
                apart=apart(result, reference),
            )
        ratios = {
            name: round(times["dense"] / t, 2) for name, t in times.items() if name != "dense"
        }
        note(tokens=len(batch.ids), times_faster_than_dense=ratios)
    if arguments.step:
        step(arguments.step, device, note, max(arguments.tokens))


if __name__ == "__main__":
    main()
