"""How often an adapter shows a value that is in its prompt, and one that is not: as measured, else
as predicted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from vvae.core.random import shuffled
from vvae.decoder.variants import Variant
from vvae.latent.sampling import predicted_rate
from vvae.latent.steering import Reach
from vvae.metrics.association import FEW
from vvae.metrics.metric import metric_of, shows
from vvae.pipeline.run import Run

__all__ = ["reaches"]

ALL = ""
"""In place of a value: of all values together."""
OTHERS, SPEAKERS = 400, 50
"""Replies and speakers' values that tell how often others say a value."""


def reaches(run: Run, variant: Variant) -> dict[str, Reach]:
    """Return dimension -> what can be had of it, from the best there is:

    A knob's strengths are those that `vvae control --calibrate` has measured.

    1. `vvae control`: the same contexts with the value set and left out; of dimensions whose value
    no metric counts,
       how often the encoder reads the value that was set, and how often it reads it where another
       was; of each value by itself where it was counted in enough replies;
    2. the benchmark's rate under the speakers' own profiles, and that of the true speaker's value
       under another's;
    3. r / (r + (1 - r) s), what training converges to (`predicted_rate`), and how often others say
       a speaker's value.
    """
    controlled = _read(run, f"control/{variant.name}/control.json")
    benched = _read(run, "results.json").get("variants", {}).get(variant.name, {})
    result: dict[str, Reach] = {}
    for dimension in run.space.dimensions:
        name = dimension.name
        metric = metric_of(dimension.reader) or ""
        rates, scores = controlled.get("rates", {}).get(metric), benched.get(metric)
        if rates and rates["shown"]["n"]:
            basis = f"measured by vvae control, n = {rates['shown']['n']}"
            result[name] = Reach(
                rates["shown"]["rate"],
                rates["hidden"]["rate"],
                basis,
                _each(rates.get("by_value", {})),
            )
        elif not metric and (reach := _read_back(controlled.get("confusion", {}).get(name, {}))):
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
            shown = predicted_rate(run.prior[name].rate, s)
            result[name] = Reach(shown, hidden, "predicted from r, not measured")
    curves = _strengths(run, variant)
    return {name: _stronger(reach, curves.get(name, {})) for name, reach in result.items()}


def _stronger(reach: Reach, curves: Mapping[str, Mapping[float, float]]) -> Reach:
    """A reach with the strengths that were measured: of all values together, and of each alone."""
    by_value = {
        value: own._replace(by_strength=tuple(sorted(curves.get(value, {}).items())))
        for value, own in reach.by_value.items()
    }
    of_all = tuple(sorted(curves.get(ALL, {}).items()))
    return reach._replace(by_strength=of_all, by_value=by_value)


def _strengths(run: Run, variant: Variant) -> dict[str, dict[str, dict[float, float]]]:
    """Return dimension -> value, or `ALL` -> strength -> how often a value that is set shows, as
    measured.
    """
    result: dict[str, dict[str, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    for path in run.path(f"control/{variant.name}").glob("strength-*/control.json"):
        found: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        strength = float(found["strength"])
        if found["candidates"] > 1 or strength <= 0:
            continue
        for dimension in run.space.dimensions:
            name, metric = dimension.name, metric_of(dimension.reader) or ""
            rates = found["rates"].get(metric)
            read = _read_back(found["confusion"].get(name, {}))
            if rates and rates["shown"]["n"]:
                result[name][ALL][strength] = rates["shown"]["rate"]
                for value, ends in _each(rates.get("by_value", {})).items():
                    result[name][value][strength] = ends.shown
            elif not metric and read:
                result[name][ALL][strength] = read.shown
    return result


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
    total = sum(sum(counts.values()) for counts in confusion.values())
    if not total or len(confusion) < 2:
        return None
    own = sum(counts.get(value, 0) for value, counts in confusion.items())
    others = (
        sum(
            n
            for value, counts in confusion.items()
            for other, n in counts.items()
            if other in confusion
        )
        - own
    )
    return Reach(
        own / total,
        others / total / (len(confusion) - 1),
        f"read back by vvae control, n = {total}",
    )


def _read(run: Run, name: str) -> dict[str, Any]:
    path = run.path(name)
    content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return content
