"""A metric: one object that says how a figure is computed, aggregated, named and reported.

There are three kinds, by what a figure is of:

    value  of a reply and a value of z: does the reply show it? (CP, EC, HM)
    reply  of one reply: does it ask something, how long is it?
    body   of many replies together, whose number then matters: how varied are their beginnings?

Figures of values and of replies are averaged, speakers weighted equally, with a bootstrap over
speakers; figures of bodies are compared at equal numbers of replies, each speaker left out once. A
metric that is registered here appears in results, reports, studies and claims; `docs/extending.md`
has an example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from vvae.core.dialogue import Pair
from vvae.core.errors import ConfigError, choose_from
from vvae.latent.persona import Persona
from vvae.latent.readers import reader
from vvae.latent.space import Dimension, LatentSpace

if TYPE_CHECKING:
    from vvae.metrics.habits import Yardstick

__all__ = [
    "MEASURABLE",
    "Measured",
    "Metric",
    "Unit",
    "WrittenReply",
    "body_metric",
    "get",
    "metric_of",
    "metrics_of",
    "register",
    "reply_metric",
    "scored",
    "shows",
]

MEASURABLE = 30
"""Human positives below which a rate says nothing on a corpus."""

Unit = Literal["%", "words", "messages", "nats", ""]
"""Of a figure; a share in percent is a rate, whose differences are points."""
Measured = float | tuple[float, float] | None
"""A figure of one reply; or value and weight, where a mean is the ratio of their sums; or None
where it says nothing of this reply."""


class WrittenReply(NamedTuple):
    """A reply somebody wrote to a pair's context, and under whose profile."""

    pair: Pair
    profile: str
    text: str
    z: Persona | None = None
    """What was read in it; None where it was not read."""


@dataclass(frozen=True)
class Metric:
    """A figure of replies."""

    name: str
    """In results, tables and claims."""
    title: str
    """What it says, in a report."""
    unit: Unit
    of: Literal["value", "reply", "body"]
    reader: str | None = None
    """Of a value: the reader whose dimension is scored."""
    measure: Callable[[WrittenReply, Yardstick], Measured] | None = None
    """Of a reply: its figure."""
    part: Callable[[WrittenReply], Sequence[Any]] | None = None
    """Of a body: what a reply adds to it."""
    statistic: Callable[[Sequence[Any]], float] | None = None
    """Of a body: the figure of all parts."""
    of_equal_size: bool = False
    """Of a body: whether it depends on the number of parts, so that of each body as many are taken,
    of each speaker in proportion.
    """
    by_chance: Callable[[Sequence[Any]], float] | None = None
    """Of a body: how likely a figure as great is of people's own replies."""

    def shows(self, value: str, reply: str) -> bool:
        """Return whether a reply shows a value, as this metric counts it."""
        return reader(self.reader or "").shows(value, reply)


_REGISTRY: dict[str, Metric] = {}


def register(metric: Metric) -> Metric:
    """Make a metric known; return it.

    Raises:
        ConfigError: another one has its name.
    """
    if metric.name in _REGISTRY:
        raise ConfigError(f"a metric {metric.name!r} is there already", fix="give it another name")
    _REGISTRY[metric.name] = metric
    return metric


def reply_metric(
    name: str, *, title: str, unit: Unit
) -> Callable[[Callable[[WrittenReply, Yardstick], Measured]], Metric]:
    """Register the decorated function as a metric of replies.

    The function returns a figure of one reply; or a value and its weight, where a mean is the ratio
    of their sums; or None where it says nothing of this reply.

    Example:
        >>> @reply_metric("shouting", title="shouts", unit="%")
        ... def shouting(reply, yardstick):
        ...     return float(reply.text.isupper())
        >>> shouting.of, shouting.unit
        ('reply', '%')
        >>> del _REGISTRY["shouting"]
    """
    return lambda measure: register(Metric(name, title, unit, "reply", measure=measure))


def body_metric(
    name: str,
    *,
    title: str,
    unit: Unit,
    part: Callable[[WrittenReply], Sequence[Any]],
    of_equal_size: bool = False,
) -> Callable[[Callable[[Sequence[Any]], float]], Metric]:
    """Register the decorated statistic as a metric of bodies of replies."""
    return lambda statistic: register(
        Metric(
            name, title, unit, "body", part=part, statistic=statistic, of_equal_size=of_equal_size
        )
    )


def get(name: str) -> Metric:
    """Return the metric of a name.

    Raises:
        ConfigError: there is none.
    """
    _load()
    if name not in _REGISTRY:
        raise ConfigError(f"unknown metric {name!r}", fix=choose_from(name, _REGISTRY))
    return _REGISTRY[name]


def metrics_of(of: Literal["value", "reply", "body"]) -> list[Metric]:
    """Return the metrics of a kind, in the order in which they are reported."""
    _load()
    return [metric for metric in _REGISTRY.values() if metric.of == of]


def scored(space: LatentSpace) -> dict[str, Dimension]:
    """Return metric -> the dimension that it scores, for the values that a space has."""
    candidates = ((m.name, space.read_by(m.reader or "")) for m in metrics_of("value"))
    return {name: dimensions[0] for name, dimensions in candidates if dimensions}


def metric_of(reader_name: str) -> str | None:
    """Return the metric that scores what a reader reads, where one does."""
    return next((m.name for m in metrics_of("value") if m.reader == reader_name), None)


def shows(metric: str, value: str, reply: str) -> bool:
    """Return whether a reply shows a value, as a metric counts it.

    >>> shows("CP", "oh no", "Oh no!!"), shows("EC", ":)", "fine :-(")
    (True, False)
    >>> shows("HM", "hiking", "went on a hike")
    True
    """
    return get(metric).shows(value, reply)


def _load() -> None:
    """Have the metrics of this package registered; each stands in the file of its kind."""
    from vvae.metrics import habits, rates  # noqa: F401
