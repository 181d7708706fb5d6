"""What a GPU makes of prefix-tree training and of writing replies, in under four minutes.

    python -m benchmarks.gpu --out gpu.jsonl              # on a CUDA machine
    python -m benchmarks.gpu --tiny                       # anywhere: does the script run?

It needs torch, transformers and peft, and of vvae what `pack_for_gpu.py` carries; no network, no
corpus, no polars. Weights are random, in the shapes of Qwen3-8B and of SmolLM2-135M; trees are made
up in the sizes of the BYU corpus's. In order:

  kernels   attention of one layer, forward and backward, each kernel against the dense one
  8B        training: trees as vvae does it, flat (one example a reply, packed), a plain PEFT loop
            with padded batches, TRL's trainer where it is installed
  135M      training, and the same with its layers compiled; replies written, 128 at once

Each row is appended to --out and the table comes last. Shares are of the matrix peak measured at
the start: 4 N operations a token of N weights that multiply (forward, and back through frozen
weights). Flat-equivalent tokens are those that one example a reply would have had.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.attention_speed import clock, forest, measured
from vvae.decoder.ahead import made_ahead
from vvae.decoder.kernels import attention
from vvae.decoder.kernels.attention import KERNELS
from vvae.decoder.model import Decoder, DecoderConfig, Inputs
from vvae.decoder.trees import Node, Tree, batches, collate
from vvae.inference.engine import GenerationConfig, Request
from vvae.inference.transformers import TransformersEngine

STOP = 2
SHAPES: dict[str, dict[str, Any]] = {
    "8B": {
        "vocab_size": 151_936,
        "hidden_size": 4096,
        "intermediate_size": 12_288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
    },
    "135M": {
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
}
TINY = {"vocab_size": 4096, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
TINY |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}


def matrix_peak(device: torch.device, size: int) -> float:
    """Return operations a second of a square product in bf16."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    a @ b
    times = []
    for _ in range(5):
        start = clock(device)
        for _ in range(4):
            a @ b
        times.append(clock(device) - start)
    return 4 * 2 * size**3 / median(times)


def made(shape: str, device: torch.device, *, tiny: bool) -> Decoder:
    """Return a decoder of random weights with a fresh adapter, ready to train."""
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

    settings = {**SHAPES[shape], **(TINY if tiny else {})}
    config = (Qwen3Config if shape == "8B" else LlamaConfig)(**settings)
    torch.manual_seed(0)
    was = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(
                config, attn_implementation=attention.register()
            )
    finally:
        torch.set_default_dtype(was)
    prompter: Any = SimpleNamespace(tokenizer=None, stops=(STOP,), speaker_id=None)
    decoder = Decoder(model, prompter, DecoderConfig(model=shape), bf16=True)
    decoder.add_adapter(0)
    decoder.model.train()
    return decoder


def multiplied(decoder: Decoder) -> int:
    """Return how many weights multiply each token: those of the layers."""
    layers = getattr(decoder.causal, decoder.causal.base_model_prefix).layers
    return sum(p.numel() for n, p in layers.named_parameters() if "lora_" not in n and p.dim() > 1)


def flat_tokens(tree: Tree) -> int:
    """Return the tokens of one example a reply."""
    return sum(node.cut + len(node.tokens) for node in tree.nodes[1:])


def flat(trees: Sequence[Tree]) -> list[Tree]:
    """Return a tree for each reply."""
    return [
        Tree((Node("", tree.nodes[0].tokens[: n.cut]), n._replace(parent=0)))
        for tree in trees
        for n in tree.nodes[1:]
    ]


def long_trees(number: int) -> list[Tree]:
    """Return trees of 37 replies and some 5,000 tokens."""
    trunk = tuple(5 + i % 4000 for i in range(3550))
    nodes = [
        Node(str(i), tuple(7 + (i * j) % 4000 for j in range(40)), 0, 95 * (i + 1), 30)
        for i in range(37)
    ]
    return [Tree((Node("", trunk), *nodes)) for _ in range(number)]


Step = Callable[[Any], tuple[int, int, int]]
"""Computes loss and gradients of a batch; returns tokens computed, replies, flat tokens."""


class Bench:
    """Rows, as they are measured."""

    def __init__(self, out: Path | None, seconds: float, device: torch.device) -> None:
        self.rows: list[dict[str, Any]] = []
        self.device, self.peak = device, 0.0
        self._out, self._end = out, time.perf_counter() + seconds

    def note(self, **row: Any) -> None:
        """Keep and print a row."""
        self.rows.append(row)
        print(json.dumps(row), flush=True)
        if self._out:
            with self._out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def time_left(self) -> bool:
        """Return whether another measurement may begin."""
        return time.perf_counter() < self._end

    def attempt(self, what: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Note what a measurement finds, or why it finds nothing."""
        if not self.time_left():
            return self.note(what=what, failed="no time left")
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            found = measure()
        except Exception as error:
            found = {"failed": f"{type(error).__name__}: {error}"[:200]}
        if self.device.type == "cuda":
            found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        self.note(what=what, **found)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def training(
        self, decoder: Decoder, step: Step, groups: Iterable[Any], *, warm: int = 2, most: int = 8
    ) -> dict[str, Any]:
        """Return the rates of a way to train; batches are prepared ahead."""
        tokens = replies = flat_ = 0
        first = start = clock(self.device)
        for number, group in enumerate(made_ahead(islice(groups, warm + most))):
            if number == warm:
                start = clock(self.device)
                tokens = replies = flat_ = 0
            computed = step(group)
            tokens, replies, flat_ = (
                a + b for a, b in zip((tokens, replies, flat_), computed, strict=True)
            )
        spent = clock(self.device) - start
        decoder.model.zero_grad(set_to_none=True)
        return {
            "replies_per_s": round(replies / spent, 1),
            "tokens_per_s": round(tokens / spent),
            "flat_equivalent_per_s": round(flat_ / spent),
            "share_of_peak": round(4 * multiplied(decoder) * tokens / spent / self.peak, 3),
            "warm_up_s": round(start - first, 1),
        }


def as_trees(decoder: Decoder) -> Step:
    """A step as vvae does it."""

    def step(prepared: tuple[Inputs, list[Tree]]) -> tuple[int, int, int]:
        inputs, trees = prepared
        (decoder.token_losses(inputs).sum() / 1000).backward()  # type: ignore[no-untyped-call]
        replies = sum(len(tree.nodes) - 1 for tree in trees)
        return len(inputs.batch.ids), replies, sum(map(flat_tokens, trees))

    return step


def groups_of(
    decoder: Decoder, trees: Sequence[Tree], budget: int
) -> Iterator[tuple[Inputs, list[Tree]]]:
    """Yield trees in batches of at most so many tokens, as the model takes them."""
    return ((decoder.inputs(group), group) for group in batches(trees, budget))


def padded(decoder: Decoder) -> Step:
    """A step of a plain loop: PEFT as it comes, padded rows, the library's loss."""
    _plain(decoder)

    def step(rows: list[tuple[tuple[int, ...], int]]) -> tuple[int, int, int]:
        width = max(len(ids) for ids, _ in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for row, (words, supervised) in enumerate(rows):
            ids[row, : len(words)] = torch.tensor(words)
            mask[row, : len(words)] = 1
            first = len(words) - supervised
            labels[row, first : len(words)] = ids[row, first : len(words)]
        device = decoder.device
        with torch.autocast(device.type, dtype=torch.bfloat16):
            output = decoder.model(
                input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device)
            )
        output.loss.backward()
        return ids.numel(), len(rows), sum(len(words) for words, _ in rows)

    return step


def _plain(decoder: Decoder) -> None:
    """Take back whatever vvae put in place of the libraries' own code."""
    for module in decoder.model.modules():
        module.__dict__.pop("forward", None)
        module.__dict__.pop("cast_input_dtype_enabled", None)
        if hasattr(module, "config"):
            module.config._attn_implementation = "sdpa"


def examples(trees: Sequence[Tree]) -> list[tuple[tuple[int, ...], int]]:
    """Return (token ids, how many last ones carry loss) of one example a reply."""
    return [
        (tree.nodes[0].tokens[: n.cut] + n.tokens, n.supervised)
        for tree in trees
        for n in tree.nodes[1:]
    ]


def trl_rates(
    bench: Bench, decoder: Decoder, rows: Sequence[tuple[tuple[int, ...], int]], size: int
) -> dict[str, Any]:
    """Return the rates of TRL's SFTTrainer on the same examples."""
    import tempfile

    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    _plain(decoder)
    data = [
        {"input_ids": list(ids), "completion_mask": [0] * (len(ids) - n) + [1] * n}
        for ids, n in rows
    ]
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(clock(bench.device))

    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=size,
            max_steps=6,
            max_length=None,
            bf16=True,
            use_cpu=bench.device.type == "cpu",
            gradient_checkpointing=False,
            report_to=[],
            completion_only_loss=True,
            save_strategy="no",
            disable_tqdm=True,
        )
        peer = SFTTrainer(
            model=decoder.model,
            args=settings,
            train_dataset=Dataset.from_list(data),
            processing_class=_no_tokenizer(),
            callbacks=[Clock()],
        )
        peer.train()
    spent = (ends[-1] - ends[1]) / (len(ends) - 2)
    mean = sum(len(ids) for ids, _ in rows) / len(rows)
    return {
        "replies_per_s": round(size / spent, 1),
        "flat_equivalent_per_s": round(size * mean / spent),
    }


def _no_tokenizer() -> Any:
    """A tokenizer of one word: the examples are token ids already, but the trainer asks for one."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<pad>", unk_token="<pad>"
    )


def written(bench: Bench, decoder: Decoder, rows: int, tokens: int) -> dict[str, Any]:
    """Return tokens a second of replies written together."""
    writer = TransformersEngine(decoder.model, None, (STOP,), bf16=True)
    config = GenerationConfig(temperature=1.0, top_p=0.95, max_new_tokens=tokens)
    batch = writer.batch(rows, 256 + tokens + 128)
    decoder.model.eval()
    for row in range(rows):
        prompt = tuple(5 + (row * i) % 4000 for i in range(200))
        batch.add(row, Request(str(row), prompt), config, seed=0)
    count, start = 0, 0.0
    while batch.busy:
        grown = batch.step()
        if len(grown) == rows and not start:  # all prompts are read
            start, count = clock(bench.device), 0
        count += len(grown)
    spent = clock(bench.device) - start
    decoder.model.train()
    return {"tokens_per_s": round(count / spent), "rows": rows}


def repeated(trees: Sequence[Tree], tokens: int) -> Iterator[Tree]:
    """Yield trees, again and again, up to so many tokens in all."""
    count = 0
    while count < tokens:
        for tree in trees:
            count += len(tree)
            yield tree


def large(bench: Bench, *, tiny: bool) -> None:
    """Measure training in the shape of an 8B model."""
    budget = 512 if tiny else 8192
    decoder = made("8B", bench.device, tiny=tiny)
    corpus = forest(10 * budget)
    many = list(repeated(corpus, 24 * budget))
    for factor in (1, 2):
        bench.attempt(
            f"8B: trees, {factor * budget} tokens a batch",
            lambda factor=factor: bench.training(  # type: ignore[misc]
                decoder, as_trees(decoder), groups_of(decoder, many, factor * budget)
            ),
        )
    if not tiny:
        bench.attempt(
            f"8B: trees of 37 replies, {budget} tokens a batch",
            lambda: bench.training(
                decoder, as_trees(decoder), groups_of(decoder, long_trees(12), budget), most=4
            ),
        )
    bench.attempt(
        f"8B: flat, {budget} tokens a batch",
        lambda: bench.training(
            decoder, as_trees(decoder), groups_of(decoder, flat(corpus), budget), most=6
        ),
    )
    rows, size = examples(corpus), 2 if tiny else 8
    bench.attempt(
        f"8B: padded PEFT loop, {size} replies a batch",
        lambda: bench.training(
            decoder,
            padded(decoder),
            (rows[i : i + size] for i in range(0, len(rows) - size, size)),
            most=6,
        ),
    )
    if importlib.util.find_spec("trl"):
        bench.attempt(
            f"8B: TRL, {size} replies a batch", lambda: trl_rates(bench, decoder, rows, size)
        )


def small(bench: Bench, *, tiny: bool) -> None:
    """Measure training and writing in the shape of SmolLM2-135M."""
    budget = 512 if tiny else 16_384
    decoder = made("135M", bench.device, tiny=tiny)
    many = list(repeated(forest(4 * budget), 12 * budget))
    bench.attempt(
        f"135M: trees, {budget} tokens a batch",
        lambda: bench.training(decoder, as_trees(decoder), groups_of(decoder, many, budget)),
    )
    rows, tokens = (4, 4) if tiny else (128, 48)
    bench.attempt(f"135M: writing, {rows} at once", lambda: written(bench, decoder, rows, tokens))
    if bench.device.type == "cuda":
        for layer in getattr(decoder.causal, decoder.causal.base_model_prefix).layers:
            layer.compile(dynamic=True)
        bench.attempt(
            f"135M: trees, {budget} tokens a batch, layers compiled",
            lambda: bench.training(decoder, as_trees(decoder), groups_of(decoder, many, budget)),
        )


def kernels(bench: Bench, *, tiny: bool) -> None:
    """Measure each kernel against the dense one."""
    fast = "flex" if bench.device.type == "cuda" else "blocks"
    dtype = torch.bfloat16 if bench.device.type == "cuda" else torch.float32
    for tokens in (512,) if tiny else (4096, 8192, 16_384):
        batch = collate(forest(tokens))
        for name in ("dense", fast):
            bench.attempt(
                f"attention: {name}, {len(batch.ids)} tokens",
                lambda name=name, batch=batch: measured(  # type: ignore[misc]
                    KERNELS[name], batch, bench.device, dtype, heads=32, rounds=5
                )[0],
            )


def profile(bench: Bench, shape: str, budget: int) -> None:
    """Print where the time of one step goes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    decoder = made(shape, bench.device, tiny=False)
    step, groups = as_trees(decoder), list(groups_of(decoder, forest(4 * budget), budget))
    for group in groups[:2]:
        step(group)
    with profiler(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        step(groups[2])
        clock(bench.device)
    print(found.key_averages().table(sort_by="self_cuda_time_total", row_limit=25))
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text, a column for each figure that several have."""
    columns = ["ms", "replies_per_s", "tokens_per_s", "flat_equivalent_per_s", "share_of_peak"]
    columns += ["peak_gib", "failed"]
    lines = ["".join(["what".ljust(56), *(c.rjust(23) for c in columns)])]
    for row in rows:
        if "what" in row:
            cells = ("" if row.get(c) is None else str(row[c]) for c in columns)
            lines.append("".join([row["what"].ljust(56), *(cell.rjust(23) for cell in cells)]))
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="append rows to this JSONL file")
    parser.add_argument("--seconds", type=float, default=210, help="begin nothing after so many")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, on any device")
    parser.add_argument(
        "--profile", choices=SHAPES, help="only this: where the time of a step goes"
    )
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.tiny:
        parser.error("no CUDA device here; --tiny tries the script without one")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = Bench(arguments.out, arguments.seconds, device)
    if arguments.profile:
        profile(bench, arguments.profile, 8192 if arguments.profile == "8B" else 16_384)
        return
    bench.peak = matrix_peak(device, 256 if arguments.tiny else 8192)
    import peft
    import transformers

    bench.note(
        device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        torch=torch.__version__,
        transformers=transformers.__version__,
        peft=peft.__version__,
        matrix_peak_tflops=round(bench.peak / 1e12, 2),
    )
    for part in (kernels, small, large):
        part(bench, tiny=arguments.tiny)
    print(table(bench.rows))


if __name__ == "__main__":
    main()
