"""Progress on a terminal: bars with time left; plain lines where the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["ConsoleReporter", "console_reporter"]

SECONDS_BETWEEN_LINES = 15.0


class ConsoleReporter:
    """A `Reporter` for the pipeline, on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """Print one line, as it is."""
        self._console.print(text, highlight=False, markup=False)

    @contextmanager
    def task(self, title: str) -> Iterator[Callable[..., None]]:
        """Yield the ticker of a bar: counts, loss where there is one, time spent and time left."""
        started = time.monotonic()
        if self._console.is_terminal:
            with self._bar(title) as tick:
                yield tick
        else:
            yield self._lines(title, started)
        duration = _clock(time.monotonic() - started)
        self._console.print(f"[green]✓[/] {escape(title)} [dim]{duration}[/]", highlight=False)

    @contextmanager
    def _bar(self, title: str) -> Iterator[Callable[..., None]]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}{task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(title, total=None, loss="", rate="")
            started, first = time.monotonic(), None

            def tick(done: int, total: int, loss: float | None = None) -> None:
                nonlocal first
                first = done if first is None else first
                loss_text = "" if loss is None else f" loss {loss:.3f}"
                rate = _rate((done - first) / max(time.monotonic() - started, 1e-9))
                progress.update(task, completed=done, total=total, loss=loss_text, rate=rate)

            yield tick

    def _lines(self, title: str, started: float) -> Callable[..., None]:
        first: list[int] = []
        last = [started]

        def tick(done: int, total: int, loss: float | None = None) -> None:
            first.append(done) if not first else None
            now = time.monotonic()
            if now - last[0] < SECONDS_BETWEEN_LINES:
                return
            last[0] = now
            speed = (done - first[0]) / (now - started)
            time_left = (
                f", {_rate(speed)}, {_clock((total - done) / speed)} left" if speed > 0 else ""
            )
            loss_text = "" if loss is None else f", loss {loss:.3f}"
            self.say(f"  {title}: {done} of {total}{loss_text}{time_left}")

        return tick


def console_reporter() -> ConsoleReporter:
    """Return the reporter of the command line."""
    return ConsoleReporter(Console())


def _rate(speed: float) -> str:
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
