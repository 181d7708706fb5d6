"""How often an adapter shows a value that is in its prompt, and one that is not: as measured, else
as predicted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vvae.decoder.variants import Variant
from vvae.latent.sampling import predicted_rate
from vvae.latent.steering import Reach
from vvae.metrics.metric import metric_of
from vvae.pipeline.run import Run

__all__ = ["reaches"]


def reaches(run: Run, variant: Variant) -> dict[str, Reach]:
    """Return dimension -> what can be had of it, from the best there is:

    1. `vvae control`: the same contexts with the value set and left out; of dimensions whose value
    no metric counts,
       how often the encoder reads the value that was set, and how often it reads it where another
       was;
    2. the benchmark's rate under the speakers' own profiles (0 where the value is not shown);
    3. r / (r + (1 - r) s), what training converges to (`prior.predicted_rate`).
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
            result[name] = Reach(rates["shown"]["rate"], rates["hidden"]["rate"], basis)
        elif not metric and (reach := _read_back(controlled.get("confusion", {}).get(name, {}))):
            result[name] = reach
        elif scores and scores.get("n"):
            result[name] = Reach(
                scores["rate"], 0.0, f"measured by the benchmark, n = {scores['n']}"
            )
        elif not variant.trained:
            result[name] = Reach(1.0, 0.0, "assumed of a prompted model, not measured")
        else:
            s = (
                variant.sampling(run.config.sampling).probability(name)
                if variant.z == "sampled"
                else 0.0
            )
            result[name] = Reach(
                predicted_rate(run.prior[name].rate, s), 0.0, "predicted from r, not measured"
            )
    return result


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
