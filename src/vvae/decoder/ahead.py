"""What the processor prepares while the device computes: items made ahead, arrays on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["made_ahead", "on_device"]

T = TypeVar("T")


def made_ahead(items: Iterator[T], number: int = 2) -> Generator[T]:
    """Yield items in order, up to so many of them made by a thread before they are asked for; with
    0 there is no thread.

    An error comes where its item would have come. A reader that stops early lets the thread finish
    the item that it is at.

    >>> list(made_ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    if not number:
        yield from items
        return
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        waiting = deque(pool.submit(next, items, end) for _ in range(number))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield cast("T", item)
    finally:
        pool.shutdown(cancel_futures=True)


def on_device(array: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    """Return an array as a tensor on a device; to a GPU it travels while the caller goes on."""
    import torch

    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
