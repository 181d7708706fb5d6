"""One process, or several that train together (`torchrun`, `accelerate launch`): who they are, and
what they agree on.

Each process computes its share of a step's trees; gradients are added over all before the
optimizer's step, which every process takes alike. What is done once, files above all, process 0
does, while the others wait.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vvae.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

__all__ = [
    "barrier",
    "is_first",
    "local_device",
    "most",
    "rank",
    "shard",
    "sum_gradients",
    "summed",
    "world_size",
]

TIMEOUT = timedelta(hours=12)
"""How long processes wait for the first one, which may be encoding a large corpus."""


def rank() -> int:
    """Return this process's number among all, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return how many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Return whether this is the process that does what is done once."""
    return rank() == 0


def local_device() -> str:
    """Return where this process computes: its own GPU, if there are any."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def barrier() -> None:
    """Wait until all processes have come here."""
    if _together():
        import torch.distributed as dist

        dist.barrier()


def summed(value: float, device: torch.device) -> float:
    """Return the sum of a number over all processes."""
    if not _together():
        return value
    import torch
    import torch.distributed as dist

    kind = torch.float32 if device.type == "mps" else torch.float64
    summed = torch.tensor(value, dtype=kind, device=device)
    dist.all_reduce(summed)
    return float(summed)


def most(number: int) -> int:
    """Return the largest of the processes' numbers."""
    if not _together():
        return number
    import torch
    import torch.distributed as dist

    largest = torch.tensor(number, device=local_device())
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def shard(model: Any) -> None:
    """Spread the weights of a model's layers over all processes (FSDP2), and move the rest to this
    process's device.

    A layer is brought together while it computes, forward and backward. Embeddings, head and
    last norm stay whole everywhere, and so does an adapter, which is put on later.

    Args:
        model: a transformers causal language model, on the CPU.

    Raises:
        ConfigError: there is one process only.
    """
    if not _together():
        raise ConfigError(
            "one process has nobody to share the weights with",
            where="decoder.shard",
            fix="start it with torchrun --nproc-per-node N -m vvae.cli train CONFIG",
        )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = local_device()
    mesh = init_device_mesh(device.split(":")[0], (world_size(),))
    inner = getattr(model, model.base_model_prefix)
    for layer in inner.layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    layers = {id(parameter) for parameter in inner.layers.parameters()}
    whole = {p for p in model.parameters() if id(p) not in layers}
    fully_shard(inner, mesh=mesh, ignored_params=whole)
    for parameter in whole:
        parameter.data = parameter.data.to(device)
    for buffer in inner.buffers():
        buffer.data = buffer.data.to(device)


def sum_gradients(weights: Sequence[torch.Tensor]) -> None:
    """Add the gradients of all processes, in one message; those of a process without a share count
    as zero.
    """
    if not _together():
        return
    import torch
    import torch.distributed as dist

    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    flat = torch.cat([weight.grad.reshape(-1) for weight in weights if weight.grad is not None])
    dist.all_reduce(flat)
    start = 0
    for weight in weights:
        assert weight.grad is not None
        weight.grad.copy_(flat[start : start + weight.numel()].view_as(weight))
        start += weight.numel()


def _together() -> bool:
    """Whether there are several processes; they are brought together at the first call."""
    if world_size() == 1:
        return False
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(local_device())
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    return True
