"""Training speed against TRL's SFTTrainer on the same examples: prefix trees, one example per
reply, and the peer.

    pip install trl
    python benchmarks/train_speed.py configs/demo.yaml --pairs 64 --turns 4 8 16 32 64 \
        --out train-speed.jsonl

Same model, LoRA rank, dtype, token ids, loss tokens, optimizer and replies per step. Each trainer
runs in a process of its own, alternating, `--rounds` times; the first step warms up and is not
counted. Ours is `vvae.train.train` itself.

    tree          ours: the replies of a speaker in a window as branches of one trunk
    flat          ours: one example per reply, sorted by length
    trl           SFTTrainer as it comes (loss on the completion; gradient checkpointing)
    trl-tuned     without gradient checkpointing, length-grouped
    trl-turns     FT only: a whole dialogue as one example, loss on the assistant's turns (its best)
    tree-ft       ours on what trl-turns can do: no z

`--turns` makes dialogues of so many turns out of the corpus; a few replies at even distances are
asked of the peer, which trains on one at a time, and all of ours. `--seeds` trains tree and
trl-tuned on the same examples and compares losses on held-out replies. Every row is one run; the
last line is ratio_vs_trl, of medians, against the faster peer.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from vvae.config import load_config
from vvae.core.console import ConsoleReporter
from vvae.core.dialogue import Dialogue, Pair, Turn
from vvae.corpus.pairs import benchmark_pairs, learned_pairs
from vvae.decoder.loading import load_decoder
from vvae.decoder.model import Branch, Decoder, DecoderConfig, grouped, per_token
from vvae.decoder.train import TrainConfig, plan, stepped, train
from vvae.decoder.trees import Node, Tree
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

REPLIES_PER_STEP = 8
PEERS = ("trl", "trl-tuned")


# --- data: trees on disk, the same for every trainer ----------------------------------------------


def flat(tree: Tree) -> list[Tree]:
    """One example per reply."""
    trunk = tree.nodes[0]
    return [
        Tree((Node("", trunk.tokens[: n.cut]), n._replace(parent=0)))
        for n in tree.nodes[1:]
        if n.supervised and n.parent == 0
    ]


def dialogue_of(turns: int, start: int, run: Run) -> Dialogue:
    """A dialogue of two people, made of that many consecutive turns of the corpus."""
    pool = [turn for dialogue in list(run.dialogues.values())[start::97] for turn in dialogue.turns]
    return Dialogue(
        f"t{turns}",
        tuple(Turn(i, "ab"[i % 2], turn.messages) for i, turn in enumerate(pool[:turns])),
    )


def tree_of_turns(turns: int, start: int, run: Run, blocks: Sequence[str]) -> Tree:
    """The tree of one speaker's replies in such a dialogue."""
    dialogue = dialogue_of(turns, start, run)
    pairs = [
        Pair(f"{t.id}", dialogue.id, t.id, 0, t.speaker, ("a",), "train", t.text)
        for t in dialogue.turns
        if t.speaker == "b"
    ]
    asked = {p.pair_id: [Branch("z", blocks[i % len(blocks)])] for i, p in enumerate(pairs)}
    return run.decoder.tree(dialogue, pairs, asked)


def save(trees: Sequence[Tree], path: Path) -> None:
    """Trees as JSON."""
    path.write_text(json.dumps([[list(node) for node in tree.nodes] for tree in trees]), "utf-8")


def read(path: Path) -> list[Tree]:
    """Trees from JSON."""
    rows = json.loads(path.read_text("utf-8"))
    return [Tree(tuple(Node(k, tuple(t), p, c, s) for k, t, p, c, s in nodes)) for nodes in rows]


# --- one trainer, in a process of its own ---------------------------------------------------------


def measured(
    trainer: str, trees: list[Tree], folder: Path, model: str, seed: int
) -> dict[str, Any]:
    """Trains once; seconds, replies and tokens after the first step, and the peak of memory."""
    ours = trainer in ("tree", "tree-ft", "flat")
    ends, replies, tokens, decoder = (train_ours if ours else train_trl)(
        trainer, trees, folder, model, seed
    )
    if len(ends) < 2:
        raise SystemExit("one step only, and the first is not counted; give more --pairs")
    seconds = ends[-1] - ends[0]
    computed, supervised = (
        sum(tokens[1:]),
        sum(t.supervised for t in trees) * sum(replies[1:]) / sum(replies),
    )
    linear, head = model_size(decoder)
    peak = gemm_peak(decoder.bf16)
    flops = 4 * (linear * computed + head * supervised)
    return {
        "trainer": trainer,
        "replies": sum(replies[1:]),
        "seconds": round(seconds, 2),
        "replies_per_s": round(sum(replies[1:]) / seconds, 3),
        "tokens_per_s": round(computed / seconds, 1),
        "gemm_peak_gflops": round(peak / 1e9),
        "gemm_share": round(flops / seconds / peak, 3),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "bf16": decoder.bf16,
    }


def train_ours(
    trainer: str, trees: list[Tree], folder: Path, model: str, seed: int
) -> tuple[list[float], list[int], list[int], Decoder]:
    """`train` on the trees, or on one example per reply."""
    decoder = load_decoder(DecoderConfig(model=model))
    units = sorted((one for t in trees for one in flat(t)), key=len) if trainer == "flat" else trees
    named = {str(i): tree for i, tree in enumerate(units)}
    windows = [
        tuple(Pair(name, name, 0, 0, "a", (), "train", "") for _ in flat(tree))
        for name, tree in named.items()
    ]
    steps = stepped(windows, REPLIES_PER_STEP)
    ends: list[float] = []
    config = TrainConfig(schedule="constant", checkpoint_every=10**6)
    build: Callable[..., Tree] = lambda window, draw: named[window[0].pair_id]  # noqa: E731
    train(
        decoder,
        steps,
        build,
        config,
        folder,
        seed=seed,
        description={},
        each_step=lambda _: ends.append(clock()),
    )
    replies = [sum(map(len, s.windows)) for s in steps]
    tokens = [sum(len(named[w[0].pair_id]) for w in s.windows) for s in steps]
    return ends, replies, tokens, decoder


def train_trl(
    trainer: str, trees: list[Tree], folder: Path, model: str, seed: int
) -> tuple[list[float], list[int], list[int], Decoder]:
    """SFTTrainer on the same token ids, loss on the same tokens."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    decoder = load_decoder(DecoderConfig(model=model))
    decoder.causal.config._attn_implementation = "sdpa"
    rows = (
        [whole(tree) for tree in trees]
        if trainer == "trl-turns"
        else [row for t in trees for row in examples(t)]
    )
    size = max(
        1, REPLIES_PER_STEP * len(rows) // sum(t.supervised > 0 and len(flat(t)) for t in trees)
    )
    tuned = (
        {}
        if trainer == "trl"
        else {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"}
    )
    settings = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=size,
        num_train_epochs=1,
        learning_rate=5e-4,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=max(1, len(rows) // size // 20),
        max_length=None,
        bf16=decoder.bf16,
        use_cpu=decoder.device.type == "cpu",
        report_to=[],
        completion_only_loss=True,  # not the default where the data comes as token ids
        save_strategy="no",
        logging_steps=1000,
        disable_tqdm=True,
        seed=seed,
        **tuned,
    )
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(clock())

    lora = decoder.config.lora
    peer = SFTTrainer(
        model=decoder.causal,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=decoder.prompter.tokenizer,
        peft_config=LoraConfig(
            r=lora.r, lora_alpha=lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[Clock()],
    )
    peer.train()
    peer.save_model(str(folder))
    # Grouping shuffles: what the first step held is taken to be the mean.
    count = sum(len(flat(t)) for t in trees)
    replies = [round(count * size / len(rows))] * len(ends)
    replies[-1] = count - sum(replies[:-1])
    total = sum(len(row["input_ids"]) for row in rows)
    return ends, replies, [round(total * n / count) for n in replies], decoder


def examples(tree: Tree) -> list[dict[str, list[int]]]:
    """One row per reply, with the tokens that carry loss marked."""
    rows = []
    for one in flat(tree):
        ids = [*one.nodes[0].tokens, *one.nodes[1].tokens]
        rows.append(
            {
                "input_ids": ids,
                "completion_mask": [0] * (len(ids) - (n := one.nodes[1].supervised)) + [1] * n,
            }
        )
    return rows


def whole(tree: Tree) -> dict[str, list[int]]:
    """The dialogue as one row, without z: the trunk's own copies of the replies carry the loss, the
    last one apart.
    """
    trunk, branches = tree.nodes[0], tree.nodes[1:]
    ids, mask = list(trunk.tokens), [0] * len(trunk.tokens)
    for node in branches[:-1]:
        end = node.cut + len(node.tokens)
        if tuple(ids[node.cut : end]) != node.tokens:
            raise SystemExit(
                "the template frames the last reply unlike the others; leave out trl-turns"
            )
        mask[end - node.supervised : end] = [1] * node.supervised
    last = branches[-1]
    ids += last.tokens
    mask += [0] * (len(last.tokens) - last.supervised) + [1] * last.supervised
    return {"input_ids": ids, "completion_mask": mask}


def clock() -> float:
    """Seconds; on a GPU when it has caught up."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def model_size(decoder: Decoder) -> tuple[int, int]:
    """(parameters of the linear layers, of the head)."""
    import torch

    head = decoder.causal.get_output_embeddings()
    layers = [
        m for m in decoder.causal.modules() if isinstance(m, torch.nn.Linear) and m is not head
    ]
    return sum(m.weight.numel() for m in layers if min(m.weight.shape) > 64), head.weight.numel()


def gemm_peak(bf16: bool) -> float:
    """FLOP/s of the fastest of some matrix products of the model's sizes."""
    import torch

    device, kind = (
        ("cuda" if torch.cuda.is_available() else "cpu"),
        torch.bfloat16 if bf16 else torch.float32,
    )
    best = 0.0
    for n, k, m in ((1024, 576, 1536), (2048, 2048, 2048)):
        a, b = (
            torch.randn(n, k, dtype=kind, device=device),
            torch.randn(k, m, dtype=kind, device=device),
        )
        for _ in range(8):
            start = clock()
            for _ in range(10):
                a @ b
            best = max(best, 20 * n * k * m / (clock() - start))
    return best


# --- the comparison -------------------------------------------------------------------------------


def once(
    trainer: str, trees: Path, model: str, seed: int = 0, keep: Path | None = None
) -> dict[str, Any]:
    """One trainer in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            __file__,
            "--measure",
            trainer,
            str(trees),
            str(keep or scratch),
            model,
            str(seed),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{trainer} failed:\n{done.stderr[-3000:]}")
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--turns", type=int, nargs="*", default=[], help="also dialogues of so many turns"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=[], help="also held-out losses, for these seeds"
    )
    parser.add_argument("--held", type=int, default=100, help="held-out replies of --seeds")
    parser.add_argument(
        "--trainers", nargs="+", default=["tree", "flat", *PEERS, "tree-ft", "trl-turns"]
    )
    parser.add_argument("--out", type=Path, default=Path("train-speed.jsonl"))
    parser.add_argument(
        "--plot",
        type=Path,
        help="draw the curve over turns from the rows of --out, measure nothing",
    )
    arguments = parser.parse_args()
    if arguments.plot:
        plot(
            [json.loads(line) for line in arguments.out.read_text("utf-8").splitlines()],
            arguments.plot,
        )
        return
    run = Run(load_config(arguments.config), reporter=ConsoleReporter(Console(stderr=True)))
    run_stages(run, until="profiles")
    model = run.config.decoder.model
    shown = run.conditions(next(v for v in run.variants if v.name == "SP+FT"))
    config = TrainConfig(pairs=arguments.pairs, batch_replies=REPLIES_PER_STEP)
    steps = plan(learned_pairs(run.pairs, run.config.pairs), config, seed=run.config.seed)
    windows = [window for step in steps for window in step.windows]
    rows: list[dict[str, Any]] = []

    def note(**row: Any) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save(
            [shown.training_tree(run.decoder, window, 0) for window in windows],
            folder / "z.json",
        )
        bare = {p.pair_id: [Branch("", None)] for window in windows for p in window}
        whole_windows = [run.decoder.tree(run.dialogues[w[0].dialogue], w, bare) for w in windows]
        save(whole_windows, folder / "ft.json")
        lines = (shown.training_line(p, 0) for w in windows for p in w)
        blocks = [line for line in lines if isinstance(line, str)]
        for number in range(arguments.rounds):
            for trainer in arguments.trainers:
                name = "ft.json" if trainer in ("tree-ft", "trl-turns") else "z.json"
                note(data="corpus", round=number, **once(trainer, folder / name, model))
        for turns in arguments.turns:
            trees = [
                tree_of_turns(turns, start, run, blocks) for start in range(max(2, 96 // turns))
            ]
            save(trees, folder / "turns.json")
            few = [thinned(tree, max(1, 16 // len(trees))) for tree in trees]
            save(few, folder / "few.json")
            for number in range(arguments.rounds):
                for trainer, name in (("tree", "turns"), ("trl-tuned", "few")):
                    note(
                        data=f"{turns} turns",
                        round=number,
                        **once(trainer, folder / f"{name}.json", model),
                    )
        if arguments.seeds:
            speakers = run.speakers
            held = benchmark_pairs(
                run.pairs, speakers, total=arguments.held, per_speaker=15, seed=run.config.seed
            )
            asked = [
                shown.training_tree(run.decoder, window, 0) for window in grouped(held).values()
            ]
            for seed in arguments.seeds:
                for trainer in ("tree", "trl-tuned"):
                    once(trainer, folder / "z.json", model, seed, folder / f"{trainer}-{seed}")
                    run.decoder.load_adapter(folder / f"{trainer}-{seed}")
                    losses = run.decoder.losses(asked).values()
                    loss = round(per_token(losses), 4)
                    note(data="held-out", seed=seed, trainer=trainer, loss=loss, n=len(losses))
    speeds = {
        name: {
            trainer: median(own)
            for trainer in arguments.trainers
            if (
                own := [
                    r["replies_per_s"] for r in rows if (r["data"], r["trainer"]) == (name, trainer)
                ]
            )
        }
        for name in dict.fromkeys(r["data"] for r in rows if "replies_per_s" in r)
    }
    for name, found in speeds.items():
        peer = max((found[p] for p in PEERS if p in found), default=None)
        if peer and "tree" in found:
            print(f"{name}: {found} ratio {found['tree'] / peer:.2f}")
    found = speeds["corpus"]
    print(f"ratio_vs_trl {found['tree'] / max(found[p] for p in PEERS if p in found):.2f}")


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Replies a second over the number of turns, medians with the range of the rounds."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 3.6))
    for trainer, colour in (("tree", "#2563eb"), ("trl-tuned", "#d97706")):
        found: dict[int, list[float]] = {}
        for row in rows:
            if row.get("trainer") == trainer and row["data"].endswith(" turns"):
                found.setdefault(int(row["data"].split()[0]), []).append(row["replies_per_s"])
        turns = sorted(found)
        axis.plot(turns, [median(found[n]) for n in turns], "o-", color=colour, label=trainer)
        axis.fill_between(
            turns,
            [min(found[n]) for n in turns],
            [max(found[n]) for n in turns],
            color=colour,
            alpha=0.15,
            lw=0,
        )
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="turns of a dialogue",
        ylabel="replies trained on per second",
    )
    axis.set_xticks(turns, map(str, turns))
    axis.set_yticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
    axis.minorticks_off()
    axis.legend(frameon=False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def thinned(tree: Tree, replies: int) -> Tree:
    """The tree with some of its replies, at even distances."""
    branches = tree.nodes[1:]
    chosen = [
        branches[int((i + 0.5) * len(branches) / replies)]
        for i in range(min(replies, len(branches)))
    ]
    return Tree((tree.nodes[0], *chosen))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        name, file, out, base, number = sys.argv[2:7]
        print(json.dumps(measured(name, read(Path(file)), Path(out), base, int(number))))
    else:
        main()
