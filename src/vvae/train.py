"""The training loop: plain, and the same after a kill and a resume.

One step takes whole prefix trees until it holds `batch_replies` replies; the loss is the mean cross-entropy over the
step's reply tokens. Everything random is keyed by step, so a run resumed from a checkpoint goes on bit by bit as
if it had not stopped (on a CPU).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from vvae.decoder import Decoder, grouped
from vvae.dialogue import Pair
from vvae.errors import DataError, VVAEError
from vvae.keyed_random import bits64, shuffled
from vvae.packing import Tree, collate
from vvae.records import atomic_path, write_text

__all__ = ["Progress", "Step", "TrainConfig", "plan", "rate_at", "train"]

Window = Sequence[Pair]
"""The pairs of one speaker in one window: what one tree is made of."""
BuildTree = Callable[[Window, int], Tree]
"""(window, pass number) -> its tree. The z of a pass is drawn here."""
Progress = Callable[[int, int, float], None]
"""Called with (replies done, replies in all, loss of the step)."""


class TrainConfig(BaseModel):
    """How the adapter is trained (the paper gives none of these)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(600, ge=1, description="training pairs, whole windows in keyed order; all there are if fewer")
    passes: int = Field(1, ge=1, description="passes over them; each draws its sampled values anew")
    draws_per_pair: int = Field(1, ge=1, description="draws of z for each reply in a pass; they share its context")
    batch_replies: int = Field(8, ge=1, description="replies per step, at the least")
    learning_rate: float = Field(5e-4, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    token_budget: int = Field(1024, ge=64, description="tokens in memory at once")
    gradient_checkpointing: bool = Field(False, description="a third more time for a fraction of the memory")
    checkpoint_every: int = Field(20, ge=1, description="steps between checkpoints")


class Step(NamedTuple):
    """What one step trains on."""

    windows: tuple[tuple[Pair, ...], ...]
    draw: int
    """Which pass, hence which draw of z."""


def plan(pairs: Sequence[Pair], config: TrainConfig, *, seed: int) -> list[Step]:
    """The steps in order: the same for every variant, and a prefix of the plan for more pairs within a pass.

    Raises:
        DataError: there is no training pair.
    """
    windows = list(grouped(pair for pair in pairs if pair.split == "train").items())
    if not windows:
        raise DataError("no training pairs", fix="give more dialogues")
    names = [f"{dialogue}\x1f{window}\x1f{speaker}" for (dialogue, window, speaker), _ in windows]
    chosen: list[tuple[Pair, ...]] = []
    taken = 0
    for _, members in shuffled(windows, "training pairs", seed, name=names):
        if taken >= config.pairs:
            break
        chosen.append(tuple(members[: config.pairs - taken]))
        taken += len(chosen[-1])
    steps: list[Step] = []
    for draw in range(config.passes):
        ids = [window[0].pair_id for window in chosen]
        order = chosen if draw == 0 else shuffled(chosen, "pass", seed, draw, name=ids)
        step: list[tuple[Pair, ...]] = []
        for window in order:
            step.append(window)
            if sum(map(len, step)) >= config.batch_replies:
                steps.append(Step(tuple(step), draw))
                step = []
        if step:
            steps.append(Step(tuple(step), draw))
    return steps


def rate_at(step: int, steps: int, config: TrainConfig) -> float:
    """The learning rate of a step (from 0): linear warm-up, then the schedule down to a tenth."""
    warmup = math.ceil(config.warmup * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    left = (steps - step) / max(1, steps - warmup)
    factor = {"constant": 1.0, "linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2}[config.schedule]
    return config.learning_rate * (0.1 + 0.9 * factor)


def train(
    decoder: Decoder,
    steps: Sequence[Step],
    build: BuildTree,
    config: TrainConfig,
    folder: Path,
    *,
    seed: int,
    description: Mapping[str, Any],
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    each_step: Callable[[int], None] | None = None,
) -> None:
    """Trains a fresh adapter, or goes on from the last checkpoint under `folder`, and saves it there in PEFT's layout.

    Args:
        description: what made the adapter (variant, latent space, prompt version, prior, seed); saved as vvae.json.
        say: called with one line where a checkpoint is damaged and the one before it is used.
        each_step: called with the number of steps done, after each; a study measures here.

    Raises:
        VVAEError: the loss is not a number; the message names the pairs of the step.
    """
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator()
    checkpoints = _Checkpoints(folder / "checkpoints")
    last = checkpoints.latest(say or (lambda _: None))
    if last is None:
        decoder.add_adapter(bits64("adapter", seed) % 2**31)
    else:
        decoder.load_adapter(last.folder, trainable=True)
    decoder.model.train()
    if config.gradient_checkpointing:
        decoder.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    weights = [p for p in decoder.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=config.weight_decay)
    if last is not None:
        last.restore(optimizer, weights)
    log = list(last.log) if last is not None else []
    total = sum(len(window) for step in steps for window in step.windows)
    done = sum(len(window) for step in steps[: len(log)] for window in step.windows)
    for index in range(len(log), len(steps)):
        step = steps[index]
        torch.manual_seed(bits64("step", seed, index) % 2**63)
        trees = [build(window, step.draw) for window in step.windows]
        tokens = sum(tree.supervised for tree in trees)
        loss = 0.0
        for group in decoder.batches(trees, config.token_budget):
            part = decoder.token_losses(collate(group)).sum() / tokens
            accelerator.backward(part)
            loss += float(part.detach())
        if not math.isfinite(loss):
            ids = ", ".join(pair.pair_id for window in step.windows for pair in window)
            raise VVAEError(f"the loss is not a number at step {index} (pairs: {ids}); lower train.learning_rate")
        accelerator.clip_grad_norm_(weights, config.max_grad_norm)
        for group_of_weights in optimizer.param_groups:
            group_of_weights["lr"] = rate_at(index, len(steps), config)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        log.append(round(loss, 6))
        done += sum(map(len, step.windows))
        if progress:
            progress(done, total, loss)
        if each_step:
            each_step(index + 1)
        if (index + 1) % config.checkpoint_every == 0 and index + 1 < len(steps):
            checkpoints.save(decoder, optimizer, weights, log)
    if config.gradient_checkpointing:
        decoder.model.gradient_checkpointing_disable()
    _save_adapter(decoder, folder, {**description, "steps": len(steps), "pairs": total, "training_loss": log})
    checkpoints.clear()


def _save_adapter(decoder: Decoder, folder: Path, description: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    decoder.save_adapter(folder)
    write_text(folder / "vvae.json", json.dumps(description, ensure_ascii=False, indent=1) + "\n")


@dataclass(frozen=True)
class _Checkpoint:
    folder: Path
    log: tuple[float, ...]
    moments: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> _Checkpoint:
        """Raises OSError, ValueError, KeyError or SafetensorError where a file of it is missing or damaged."""
        from safetensors.torch import load_file

        load_file(folder / "adapter_model.safetensors")
        state = json.loads((folder / "state.json").read_text("utf-8"))
        return cls(folder, tuple(state["log"]), load_file(folder / "optimizer.safetensors"))

    def restore(self, optimizer: Any, weights: Sequence[Any]) -> None:
        import torch

        for number, weight in enumerate(weights):
            optimizer.state[weight] = {
                "step": torch.tensor(float(len(self.log))),
                "exp_avg": self.moments[f"{number}.exp_avg"].to(weight.device),
                "exp_avg_sq": self.moments[f"{number}.exp_avg_sq"].to(weight.device),
            }


class _Checkpoints:
    """Checkpoints of one adapter: a folder each, complete when it has its name; the last two are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _complete(self) -> Iterator[Path]:
        yield from sorted(self._folder.glob("step-*"), key=lambda path: int(path.name.split("-")[1]))

    def latest(self, say: Callable[[str], None]) -> _Checkpoint | None:
        """The last one that can be read; those that cannot are named and removed."""
        from safetensors import SafetensorError

        for folder in reversed(list(self._complete())):
            try:
                return _Checkpoint.read(folder)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                say(f"{folder}: damaged checkpoint ({' '.join(str(error).split())[:100]}); the one before it is used")
                shutil.rmtree(folder)
        return None

    def save(self, decoder: Decoder, optimizer: Any, weights: Sequence[Any], log: Sequence[float]) -> None:
        from safetensors.torch import save_file

        partial = self._folder / ".part"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        decoder.save_adapter(partial)
        moments = {
            f"{number}.{name}": optimizer.state[weight][name].contiguous()
            for number, weight in enumerate(weights)
            for name in ("exp_avg", "exp_avg_sq")
        }
        with atomic_path(partial / "optimizer.safetensors") as path:
            save_file(moments, path)
        write_text(partial / "state.json", json.dumps({"log": list(log)}))
        partial.rename(self._folder / f"step-{len(log)}")
        for old in list(self._complete())[:-2]:
            shutil.rmtree(old)

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
