"""Where progress goes: a `Reporter`, which long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Progress", "Reporter", "Silent"]

Progress = Callable[..., None]
"""Called with (done, total), and by training with (done, total, loss)."""


class Reporter(Protocol):
    """Where progress goes."""

    def task(self, title: str) -> AbstractContextManager[Progress]:
        """A piece of long work; the ticker is called as it goes on."""
        ...

    def say(self, text: str) -> None:
        """One line."""
        ...


class Silent:
    """A reporter that says nothing."""

    @contextmanager
    def task(self, title: str) -> Iterator[Progress]:
        """Ignores progress."""
        yield lambda *_: None

    def say(self, text: str) -> None:
        """Ignores the line."""
