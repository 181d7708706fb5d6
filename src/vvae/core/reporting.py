"""Where progress goes: a `Reporter`, which long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Progress", "Reporter", "Silent"]

Progress = Callable[..., None]
"""Called with (done, total), and by training with (done, total, loss)."""


class Reporter(Protocol):
    """A place where progress goes."""

    def task(self, title: str) -> AbstractContextManager[Progress]:
        """Return the context of a piece of long work; its ticker is called as the work goes on."""
        ...

    def say(self, text: str) -> None:
        """Print one line."""
        ...


class Silent:
    """A reporter that says nothing."""

    @contextmanager
    def task(self, title: str) -> Iterator[Progress]:
        """Ignore progress."""
        yield lambda *_: None

    def say(self, text: str) -> None:
        """Ignore the line."""
