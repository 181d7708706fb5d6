"""The training loop: plain, and the same after a kill and a resume.

One step takes whole prefix trees until it holds `batch_replies` replies; the loss is the mean
cross-entropy over the step's reply tokens. Everything random is keyed by step, so a run resumed
from a checkpoint goes on bit by bit as if it had not stopped (on a CPU).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vvae.core.dialogue import Pair
from vvae.core.errors import DataError, VVAEError
from vvae.core.files import write_json
from vvae.core.random import bits64, shuffled
from vvae.core.reporting import Progress
from vvae.decoder import distributed
from vvae.decoder.ahead import made_ahead
from vvae.decoder.checkpoints import Checkpoints
from vvae.decoder.model import Decoder, Inputs, grouped
from vvae.decoder.trees import Tree, batches

__all__ = [
    "CPU_TOKENS",
    "BuildTree",
    "Progress",
    "Step",
    "TrainConfig",
    "Window",
    "plan",
    "planned",
    "rate_at",
    "stepped",
    "train",
]

Window = Sequence[Pair]
"""The pairs of one speaker in one window: what one tree is made of."""
BuildTree = Callable[[Window, int], Tree]
"""(window, pass number) -> its tree. The z of a pass is drawn here."""

CPU_TOKENS, TRIAL_TOKENS, MOST_TOKENS = 1024, 2048, 32_768
"""Tokens at once: on a CPU, in the trial that tells what a GPU holds, and at the most."""
STEPS_AHEAD = {"cuda": 2}
"""Steps prepared by a thread while one is computed, by device: on two cores it took a third of the
speed, as the thread's small products fight with the step's large ones for the same cores.
"""
MEMORY_SHARE = 0.8
"""How much of a GPU's free memory a batch may take."""


class TrainConfig(BaseModel):
    """A set of options that say how the adapter is trained (the paper gives none of these)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(
        600,
        ge=1,
        description="training pairs, whole windows in keyed order; all there are if fewer",
    )
    passes: int = Field(1, ge=1, description="passes over them; each draws its sampled values anew")
    draws_per_pair: int = Field(
        1, ge=1, description="draws of z for each reply in a pass; they share its context"
    )
    batch_replies: int = Field(8, ge=1, description="replies per step, at the least")
    learning_rate: float = Field(
        1e-3, gt=0, description="for the small model; 1e-4 to 2e-4 for models of billions"
    )
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    token_budget: int | None = Field(
        None,
        ge=64,
        description="tokens in memory at once; null: what fits on a GPU, 1,024 on a CPU",
    )
    gradient_checkpointing: bool = Field(
        False, description="a third more time for a fraction of the memory"
    )
    checkpoint_every: int = Field(20, ge=1, description="steps between checkpoints")
    patience: int | None = Field(
        None,
        ge=1,
        description="stop when held-out loss has not fallen for so many checkpoints; one variant",
    )
    validation_pairs: int = Field(
        64, ge=1, description="held-out pairs whose loss patience watches"
    )
    tracker: Literal["tensorboard", "trackio", "wandb"] | None = Field(
        None, description="where figures go besides"
    )

    @field_validator("tracker")
    @classmethod
    def _tracker_is_installed(cls, tracker: str | None) -> str | None:
        if tracker and importlib.util.find_spec(tracker) is None:
            raise ValueError(f"{tracker} is not installed: pip install {tracker}")
        return tracker


class Step(NamedTuple):
    """A step of training: what it trains on."""

    windows: tuple[tuple[Pair, ...], ...]
    draw: int
    """Which pass, hence which draw of z."""


def plan(pairs: Sequence[Pair], config: TrainConfig, *, seed: int) -> list[Step]:
    """Return the steps in order: the same for every variant, and a prefix of the plan for more
    pairs within a pass.

    Raises:
        DataError: there is no training pair.
    """
    windows = list(grouped(pair for pair in pairs if pair.split == "train").items())
    if not windows:
        raise DataError("no training pairs", fix="give more dialogues")
    names = [f"{dialogue}\x1f{window}\x1f{speaker}" for (dialogue, window, speaker), _ in windows]
    selection: list[tuple[Pair, ...]] = []
    count = 0
    for _, members in shuffled(windows, "training pairs", seed, name=names):
        if count >= config.pairs:
            break
        selection.append(tuple(members[: config.pairs - count]))
        count += len(selection[-1])
    steps: list[Step] = []
    for draw in range(config.passes):
        ids = [window[0].pair_id for window in selection]
        order = selection if draw == 0 else shuffled(selection, "pass", seed, draw, name=ids)
        steps += stepped(order, config.batch_replies, draw)
    return steps


def planned(steps: Iterable[Step]) -> Iterator[Pair]:
    """Yield the pairs of a plan, as often as they are trained on."""
    return (pair for step in steps for window in step.windows for pair in window)


def stepped(windows: Iterable[tuple[Pair, ...]], replies: int, draw: int = 0) -> list[Step]:
    """Return windows in order, in steps of at least so many replies; the last one takes what is
    left.
    """
    steps: list[Step] = []
    step: list[tuple[Pair, ...]] = []
    for window in windows:
        step.append(window)
        if sum(map(len, step)) >= replies:
            steps.append(Step(tuple(step), draw))
            step = []
    return [*steps, Step(tuple(step), draw)] if step else steps


def rate_at(step: int, steps: int, config: TrainConfig) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then the schedule down to a
    tenth.
    """
    warmup = math.ceil(config.warmup * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    remaining = (steps - step) / max(1, steps - warmup)
    factor = {
        "constant": 1.0,
        "linear": remaining,
        "cosine": (1 - math.cos(math.pi * remaining)) / 2,
    }[config.schedule]
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
    speakers: Sequence[str] = (),
    start: Path | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    each_step: Callable[[int], None] | None = None,
    validate: Callable[[], float] | None = None,
) -> None:
    """Train a fresh adapter, or go on from the last checkpoint under `folder`, and save it there in
    PEFT's layout.

    Args:
        description: what made the adapter (variant, latent space, prompt version, prior, seed);
            saved as vvae.json.
        speakers: those who get a vector of their own (`voices`).
        start: an adapter whose weights are the first ones, in place of fresh ones.
        say: called with one line where a checkpoint is damaged and the one before it is used.
        each_step: called with the number of steps done, after each; a study measures here.
        validate: the loss that early stopping watches, needed with `patience`; asked for at each
            checkpoint.

    Raises:
        VVAEError: the loss is not a number; the message names the pairs of the step.
    """
    import torch

    checkpoints = Checkpoints(folder / "checkpoints")
    last = checkpoints.open(say or (lambda _: None))
    first = last.folder if last else start
    if first is None:
        decoder.add_adapter(bits64("adapter", seed) % 2**31, speakers)
    else:
        decoder.load_adapter(first, trainable=True)
    weights = [p for p in decoder.model.parameters() if p.requires_grad]
    # Not fused: that writes weights without counting their versions, by which `kernels.lora` knows.
    optimizer = torch.optim.AdamW(
        weights, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    if last is not None:
        last.restore(optimizer, weights)
    log, validation = (list(last.log), list(last.validation)) if last else ([], [])
    total = sum(len(window) for step in steps for window in step.windows)
    done = sum(len(window) for step in steps[: len(log)] for window in step.windows)
    with (
        _training(decoder, config),
        _tracker(decoder, config, folder, description) as track,
        ExitStack() as work_of,  # whose thread must not outlive the loop
    ):
        left = steps[len(log) :]
        budget = config.token_budget or _fitting(decoder, left[:1], build)
        ahead = STEPS_AHEAD.get(decoder.device.type, 0)
        prepared = work_of.enter_context(
            closing(made_ahead(_work(decoder, left, build, budget), ahead))
        )
        for index, work in enumerate(prepared, start=len(log)):
            if _enough(validation, config.patience):
                break
            rate = rate_at(index, len(steps), config)
            loss = _gradients(decoder, work, build, steps[index], index, seed)
            distributed.sum_gradients(weights)
            torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            log.append(round(loss, 6))
            done += sum(map(len, steps[index].windows))
            track({"loss": loss, "learning_rate": rate}, index)
            if progress:
                progress(done, total, loss)
            if each_step:
                each_step(index + 1)
            if (index + 1) % config.checkpoint_every == 0 or index + 1 == len(steps):
                if validate and config.patience:
                    validation.append(
                        distributed.summed(validate(), decoder.device) / distributed.world_size()
                    )
                    track({"validation_loss": validation[-1]}, index)
                    if validation[-1] == min(validation):
                        checkpoints.keep_best(decoder)
                if index + 1 < len(steps):
                    checkpoints.save(decoder, optimizer, weights, log, validation)
    if validation:
        distributed.barrier()  # the best adapter is written
        decoder.load_adapter(checkpoints.best)
        description = {**description, "validation_loss": validation}
    if distributed.is_first():
        _save_adapter(
            decoder, folder, {**description, "steps": len(log), "pairs": done, "training_loss": log}
        )
    distributed.barrier()
    checkpoints.clear()


class _Work(NamedTuple):
    """This process's part of a step, as the model takes it."""

    supervised: int
    """Tokens that carry loss."""
    batches: tuple[Inputs, ...]


def _work(
    decoder: Decoder, steps: Iterable[Step], build: BuildTree, budget: int
) -> Iterator[_Work]:
    """Yield this process's part of each step."""
    mine, several = distributed.rank(), distributed.world_size()
    for step in steps:
        trees = [build(window, step.draw) for window in step.windows[mine::several]]
        groups = batches(trees, budget)
        yield _Work(
            sum(tree.supervised for tree in trees), tuple(decoder.inputs(group) for group in groups)
        )


def _fitting(decoder: Decoder, steps: Sequence[Step], build: BuildTree) -> int:
    """Return how many tokens the memory holds at once, from what some of the first step took.

    Gradients that the trial leaves are dropped. Where not even the trial fits, or where attention
    has a dense mask, whose memory grows with the square of the tokens, the answer is careful.
    """
    import torch

    if decoder.device.type != "cuda" or not steps:
        return CPU_TOKENS
    trees = (build(window, steps[0].draw) for window in steps[0].windows)
    inputs = decoder.inputs(next(batches(trees, TRIAL_TOKENS)))
    taken = 0
    try:
        for _ in range(2):  # the first one compiles, and takes memory for that
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            decoder.token_losses(inputs).sum().backward()  # type: ignore[no-untyped-call]
            taken = torch.cuda.max_memory_allocated() - before
            decoder.model.zero_grad(set_to_none=True)
    except torch.OutOfMemoryError:
        decoder.model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        return CPU_TOKENS
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    fitting = round(MEMORY_SHARE * free / (taken / len(inputs.batch.ids)))
    most = TRIAL_TOKENS if decoder.attention.name == "dense" else MOST_TOKENS
    return max(CPU_TOKENS, min(fitting, most))


def _gradients(
    decoder: Decoder, work: _Work, build: BuildTree, step: Step, index: int, seed: int
) -> float:
    """Leaves this process's part of a step's gradients in the weights; returns the loss of the
    whole step.
    """
    import torch

    mine = distributed.rank()
    torch.manual_seed(bits64("step", seed, index, *([mine] if mine else [])) % 2**63)
    tokens = distributed.summed(work.supervised, decoder.device)
    passes = list(work.batches)
    if decoder.config.shard and (missing := distributed.most(len(passes)) - len(passes)):
        # A layer is brought together by all or not at all: who has less to do computes along.
        passes += [decoder.inputs([build(step.windows[0], step.draw)])] * missing
    parts = []
    for number, inputs in enumerate(passes):
        part = decoder.token_losses(inputs).sum() / tokens * (number < len(work.batches))
        part.backward()  # type: ignore[no-untyped-call]
        parts.append(part.detach())
    # Asked for once: each question waits until the device has done what it was given.
    loss = distributed.summed(sum(map(float, parts)), decoder.device)
    if not math.isfinite(loss):
        ids = ", ".join(pair.pair_id for window in step.windows for pair in window)
        raise VVAEError(
            f"the loss is not a number at step {index} (pairs: {ids}); lower train.learning_rate"
        )
    return loss


def _enough(validation: Sequence[float], patience: int | None) -> bool:
    """Whether the best of the validation losses is `patience` checkpoints old."""
    return (
        patience is not None
        and len(validation) > patience
        and min(validation) < min(validation[-patience:])
    )


@contextmanager
def _training(decoder: Decoder, config: TrainConfig) -> Iterator[None]:
    """Training mode, with the activations computed again where memory matters."""
    decoder.model.train()
    if config.gradient_checkpointing:
        decoder.model.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    try:
        yield
    finally:
        if config.gradient_checkpointing:
            decoder.model.gradient_checkpointing_disable()


@contextmanager
def _tracker(
    decoder: Decoder, config: TrainConfig, folder: Path, description: Mapping[str, Any]
) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """What sends figures and the step's number to one of Accelerate's trackers,
    if one is chosen.
    """
    if config.tracker is None:
        yield lambda figures, step: None
        return
    from accelerate import Accelerator

    accelerator = Accelerator(
        cpu=decoder.device.type == "cpu", log_with=config.tracker, project_dir=folder / "logs"
    )
    accelerator.init_trackers(
        "vvae", {"variant": str(description.get("variant")), **config.model_dump(mode="json")}
    )
    try:
        yield lambda figures, step: accelerator.log(dict(figures), step=step)
    finally:
        accelerator.end_training()


def _save_adapter(decoder: Decoder, folder: Path, description: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    decoder.save_adapter(folder)
    write_json(folder / "vvae.json", description)
