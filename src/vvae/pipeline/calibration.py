"""How often an adapter shows a value that is in its prompt, and one that is not: as measured, else
as predicted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from vvae.core.random import shuffled
from vvae.decoder.variants import Variant
from vvae.latent.sampling import predicted_rate
from vvae.latent.space import Dimension
from vvae.latent.steering import Reach
from vvae.metrics.association import FEW
from vvae.metrics.metric import metric_of, shows
from vvae.pipeline.run import Run

__all__ = ["reaches"]

OTHERS, SPEAKERS = 400, 50
"""Replies and speakers' values that tell how often others say a value."""


def reaches(run: Run, variant: Variant, *, strengths: bool = True) -> dict[str, Reach]:
    """Return dimension -> what can be had of it, from the best there is:

    1. `vvae control`: the same contexts with the value set and left out; of dimensions whose value
    no metric counts,
       how often the encoder reads the value that was set, and how often it reads it where another
       was; of each value by itself where it was counted in enough replies;
    2. the benchmark's rate under the speakers' own profiles, and that of the true speaker's value
       under another's;
    3. r / (r + (1 - r) s), what training converges to where the context does not tell who speaks
       (`predicted_rate`), and how often others say a speaker's value.

    Args:
        strengths: with the rates at strengths that `vvae control` has measured; without, what an
            engine can do that gives a knob none.
    """
    controlled = _read(run, f"control/{variant.name}/control.json")
    benched = _read(run, "results.json").get("variants", {}).get(variant.name, {})
    result: dict[str, Reach] = {}
    for dimension in run.space.dimensions:
        name = dimension.name
        metric = metric_of(dimension.reader) or ""
        scores = benched.get(metric)
        if reach := _controlled(controlled, dimension):
            result[name] = reach
        elif scores and scores.get("n"):
            swapped = (scores.get("swapped") or {}).get("true")
            hidden = _said_by_others(run, name, metric) if swapped is None else swapped
            basis = f"measured by the benchmark, n = {scores['n']}"
            result[name] = Reach(scores["rate"], hidden, basis)
        elif not variant.trained:
            result[name] = Reach(1.0, 0.0, "assumed of a prompted model, not measured")
        else:
            s = (
                variant.sampling(run.config.sampling).probability(name)
                if variant.z == "sampled"
                else 0.0
            )
            hidden = _said_by_others(run, name, metric) if metric else 0.0
            told = predicted_rate(run.prior[name].rate, s)
            shown = told + (1 - told) * hidden  # a drawn value may stand there by chance
            result[name] = Reach(shown, hidden, "predicted from r, not measured")
    stronger = _stronger(run, variant) if strengths else {}
    return {name: _with(reach, stronger.get(name, ())) for name, reach in result.items()}


def _controlled(found: Mapping[str, Any], dimension: Dimension) -> Reach | None:
    """Return what a control.json says of a dimension: how often its values were counted, or read
    back where no metric counts them.
    """
    metric = metric_of(dimension.reader)
    if metric is None:
        return _read_back(found.get("confusion", {}).get(dimension.name, {}))
    rates = found.get("rates", {}).get(metric)
    if not rates or not rates["shown"]["n"]:
        return None
    return Reach(
        rates["shown"]["rate"],
        rates["hidden"]["rate"],
        f"measured by vvae control, n = {rates['shown']['n']}",
        _each(rates.get("by_value", {})),
    )


def _stronger(run: Run, variant: Variant) -> dict[str, list[tuple[float, Reach]]]:
    """Return dimension -> (strength, what was measured at it), the weakest first."""
    result: dict[str, list[tuple[float, Reach]]] = defaultdict(list)
    found = [
        json.loads(path.read_text("utf-8"))
        for path in run.path(f"control/{variant.name}").glob("strength-*/control.json")
    ]
    for one in sorted(found, key=lambda one: float(one["strength"])):
        for dimension in run.space.dimensions if one["candidates"] == 1 else ():
            if one["strength"] > 0 and (reach := _controlled(one, dimension)):
                result[dimension.name].append((float(one["strength"]), reach))
    return result


def _with(reach: Reach, stronger: Sequence[tuple[float, Reach]]) -> Reach:
    """A reach with what was measured at strengths: of all values together, and of each alone."""
    by_value = {
        value: own._replace(
            by_strength=tuple(
                (strength, at.by_value[value].shown)
                for strength, at in stronger
                if value in at.by_value
            )
        )
        for value, own in reach.by_value.items()
    }
    of_all = tuple((strength, at.shown) for strength, at in stronger)
    return reach._replace(by_strength=of_all, by_value=by_value)


def _each(by_value: Mapping[str, Mapping[str, Any]]) -> dict[str, Reach]:
    """Return the rates of values that were counted in enough replies by themselves."""
    return {
        value: Reach(
            ends["shown"]["rate"],
            ends["hidden"]["rate"],
            f"measured by vvae control for {value!r}, n = {ends['shown']['n']}",
        )
        for value, ends in by_value.items()
        if min(ends["shown"]["n"], ends["hidden"]["n"]) >= FEW
    }


def _said_by_others(run: Run, dimension: str, metric: str) -> float:
    """Return how often people say a value that is another speaker's: what an adapter that is not
    shown it is expected to do.
    """
    if not all(run.path(name).is_file() for name in ("pairs.parquet", "encodings.parquet")):
        return 0.0  # a run may be served without its corpus
    train = [pair for pair in run.valid_pairs if pair.split == "train"]
    names = [pair.pair_id for pair in train]
    sample = shuffled(train, "said by others", run.config.seed, name=names)[:OTHERS]
    own = {name: profile.persona().value(dimension) for name, profile in run.profiles.items()}
    rates = [
        sum(shows(metric, value, pair.response) for pair in sample if pair.speaker != speaker)
        / max(1, sum(pair.speaker != speaker for pair in sample))
        for speaker, value in sorted(own.items())[:SPEAKERS]
        if value is not None
    ]
    return round(sum(rates) / len(rates), 4) if rates else 0.0


def _read_back(confusion: Mapping[str, Mapping[str, int]]) -> Reach | None:
    """How often the value that was set is read, and how often it is where another was set; of all
    values together and of each that was set often enough.

    >>> reach = _read_back({"a": {"a": 60, "": 40}, "b": {"a": 10, "b": 90}})
    >>> reach[:2], reach.of("a")[:2]
    ((0.75, 0.05), (0.6, 0.1))
    """
    if len(confusion) < 2 or not any(map(sum, (of.values() for of in confusion.values()))):
        return None
    number = {value: sum(read.values()) for value, read in confusion.items()}
    own = {value: read.get(value, 0) for value, read in confusion.items()}
    elsewhere = {
        value: sum(read.get(value, 0) for other, read in confusion.items() if other != value)
        for value in confusion
    }
    total = sum(number.values())
    basis = "read back by vvae control"
    return Reach(
        sum(own.values()) / total,
        sum(elsewhere.values()) / total / (len(confusion) - 1),
        f"{basis}, n = {total}",
        {
            value: Reach(own[value] / n, elsewhere[value] / (total - n), f"{basis}, n = {n}")
            for value, n in number.items()
            if min(n, total - n) >= FEW
        },
    )


def _read(run: Run, name: str) -> dict[str, Any]:
    path = run.path(name)
    content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return content
