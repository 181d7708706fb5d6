"""The report: one self-contained HTML page with its figures inside, no outside assets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from vvae.config import RunConfig
from vvae.core.dialogue import context
from vvae.core.random import shuffled
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.space import LatentSpace
from vvae.metrics.latent_analysis import FEATURES
from vvae.metrics.metric import get, metrics_of, scored, shows
from vvae.metrics.results import Results
from vvae.metrics.tables import Reply
from vvae.report import figures

__all__ = [
    "build_analysis",
    "build_control",
    "build_memorisation",
    "build_report",
    "build_study",
    "build_turing",
]

PANELS = {
    **{metric.name: f"{metric.name}: {metric.title}" for metric in metrics_of("value")},
    "phrase_profile": "P(catchphrase)",
    "loss_profile_z": "loss, profile z",
    "loss_posterior_z": "loss, posterior z",
}
"""Measure of a study -> title of its panel."""

SAMPLES = 8
CONTEXT_TURNS = 4


def build_report(
    results: Results,
    corpus: EncodedCorpus,
    replies: Sequence[Reply],
    config: RunConfig,
    audits: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the page of a run's results as text.

    Args:
        audits: what `vvae audit` wrote for this run.
    """
    data = results.to_json()
    rates = results.human.rates
    page: str = _template("page.html").render(
        results=data,
        metrics=list(rates),
        names={name: get(name).title for name in rates},
        rates=figures.rates(data, [name for name, rate in rates.items() if rate.measurable]),
        losses=figures.losses(data),
        reading=figures.reading(data),
        found=_found(data),
        habits=data["habits"],
        habits_figure=figures.habits(data["habits"]),
        prior_figure=figures.prior(corpus.prior, corpus.space),
        samples=_samples(corpus, replies, list(results.variants)),
        audits=audits,
        audit_figures=[figures.confusion(audit) for audit in audits],
        config=config,
        config_text=config.to_yaml(),
        observation={d.name: corpus.prior[d.name].rate for d in corpus.space.dimensions},
    )
    return page


def _found(results: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Return (variant, verdict, what it rests on) of each variant whose catchphrase was measured
    both by its probability and by counting; none where people show too few.
    """
    found: list[tuple[str, str, list[str]]] = []
    if not results["human"].get("CP", {}).get("measurable"):
        return found
    for name, variant in results["variants"].items():
        phrase, counted = variant.get("forced"), variant.get("CP")
        if not phrase or not phrase.get("people") or not counted:
            continue
        by_probability = {end: 100 * phrase["people"][end] for end in ("value", "low", "high")}
        by_count = {"value": counted["deviation"], **{e: counted[e] for e in ("low", "high")}}
        verdict = _against_people(by_probability, by_count)
        if phrase["read"]["low"] > 0:
            verdict += "; reads it from the profile"
        basis = [
            f"by probability {_beside(phrase['profile'], by_probability, phrase['n'])}",
            f"counted {_beside(counted['rate'], by_count, counted['n'])}",
        ]
        found.append((name, verdict, basis))
    return found


def _against_people(
    by_probability: Mapping[str, float | None], by_count: Mapping[str, float | None]
) -> str:
    """Return in words what the intervals of two deviations from people say together.

    The probability follows people's words and is the lower of the two, so it may say that a variant
    is above people, but not alone that it is below.
    """
    above = [m["low"] is not None and m["low"] > 0 for m in (by_probability, by_count)]
    below = [m["high"] is not None and m["high"] < 0 for m in (by_probability, by_count)]
    if any(above) and not any(below):
        return "says it more often than people"
    if all(below):
        return "says it more rarely than people"
    return "cannot be told from people"


def _beside(rate: float, deviation: Mapping[str, float | None], n: int) -> str:
    if deviation["low"] is None:
        return f"{100 * rate:.1f} %, n\u00a0=\u00a0{n}"
    value, low, high = (f"{deviation[end]:+.1f}" for end in ("value", "low", "high"))
    return f"{100 * rate:.1f} %, {value} points ({low} … {high}), n\u00a0=\u00a0{n}"


def build_analysis(analysis: Mapping[str, Any], space: LatentSpace, name: str) -> str:
    """Return the page of `vvae analyze` as text."""
    page: str = _template("analysis.html").render(
        found=analysis,
        name=name,
        features=FEATURES,
        missing=figures.missingness(analysis),
        association=figures.association(analysis, space),
        drift=figures.drift(analysis),
    )
    return page


def build_study(study: Mapping[str, Any]) -> str:
    """Return the page of a study as text."""
    page: str = _template("study.html").render(
        found=study,
        panels={m: title for m, title in PANELS.items() if m in study["measures"]},
        figure=figures.measures(study, PANELS),
        habits=study["habits"],
        habits_figure=figures.habits(study["habits"]) if study["habits"] else "",
    )
    return page


def build_control(summary: Mapping[str, Any]) -> str:
    """Return the page of `vvae control` as text."""
    own = {row["set"]: row for row in summary["matrix"] if row["set"] == row["read"]}
    page: str = _template("control.html").render(
        found=summary,
        own=own,
        matrix=figures.leakage(summary),
        confusions={
            name: figures.set_and_read(table) for name, table in summary["confusion"].items()
        },
        rates=figures.asked_rates(summary["rates"]),
    )
    return page


def build_memorisation(probes: Mapping[str, Any]) -> str:
    """Return the page of `vvae privacy` as text."""
    page: str = _template("memorisation.html").render(
        found=probes,
        runs=figures.verbatim_runs(probes),
        exposures=figures.exposures(probes) if probes["canaries"] else "",
    )
    return page


def build_turing(items: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of a blind test as text.

    Args:
        items: id, context as (is it the one who replies, text), replies a and b.
    """
    # In a script element only "<" could end the data early.
    data = json.dumps(list(items), ensure_ascii=False).replace("<", "\\u003c")
    name = blake2b(data.encode(), digest_size=6).hexdigest()
    page: str = _template("turing.html").render(items=data, page=name)
    return page


def _template(name: str) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vvae", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure"] = _figure
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.1f} %"
    environment.filters["points"] = lambda value: "–" if value is None else f"{value:+.1f}"
    environment.filters["signed"] = lambda value, digits=1: (
        f"{round(value, digits) + 0.0:+.{digits}f}"
    )
    environment.filters["number"] = lambda value, digits=2: (
        "–" if value is None else f"{value:.{digits}f}"
    )
    return environment.get_template(name)


def _figure(value: float | None, unit: str, *, signed: bool = False) -> str:
    """A figure of replies as text: a share in percent, anything else as a number."""
    if value is None:
        return "–"
    scaled = 100 * value if unit == "%" else value
    digits = 1 if unit == "%" else 2
    return f"{round(scaled, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def _samples(
    corpus: EncodedCorpus, replies: Sequence[Reply], variants: Sequence[str]
) -> list[dict[str, Any]]:
    """Return contexts with the human reply and each variant's, and the z shown.

    Speakers differ from sample to sample.
    """
    pairs, space = corpus.by_id, corpus.space
    own = {(r.pair_id, r.variant): r for r in replies if r.profile == pairs[r.pair_id].speaker}
    personas = {pair_id: r.persona for (pair_id, _), r in own.items() if r.persona}
    phrases = [d.name for d in space.read_by("catchphrase")]
    chosen: dict[str, str] = {}
    for pair_id in shuffled(sorted({pair_id for pair_id, _ in own}), "report samples"):
        z = personas.get(pair_id)
        if z and all((slot := z[name]) and slot.source == "observed" for name in phrases):
            chosen.setdefault(pairs[pair_id].speaker, pair_id)
    samples = []
    for pair_id in list(chosen.values())[:SAMPLES]:
        pair, z = pairs[pair_id], personas[pair_id]
        turns = context(corpus.dialogues[pair.dialogue], pair)[-CONTEXT_TURNS:]
        marks = {m: z.value(d.name) for m, d in scored(space).items()}
        texts = [("human", pair.response)]
        texts += [(v, own[pair_id, v].reply) for v in variants if (pair_id, v) in own]
        samples.append(
            {
                "context": [(t.speaker == pair.speaker, t.text) for t in turns],
                "persona": [
                    (name, slot.value, slot.source) for name in space.names if (slot := z[name])
                ],
                "rows": [
                    (
                        who,
                        text,
                        [m for m, value in marks.items() if value and shows(m, value, text)],
                    )
                    for who, text in texts
                ],
            }
        )
    return samples
