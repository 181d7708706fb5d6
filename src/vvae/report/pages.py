"""The report: one self-contained HTML page with its figures inside, no outside assets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from vvae.config import RunConfig
from vvae.core.dialogue import context
from vvae.core.random import shuffled
from vvae.decoder.variants import resolve
from vvae.latent.encoded import EncodedCorpus
from vvae.latent.space import LatentSpace
from vvae.metrics.latent_analysis import FEATURES
from vvae.metrics.metric import get, metrics_of, scored, shows
from vvae.metrics.results import Results
from vvae.metrics.tables import Reply
from vvae.report import figures, verdict
from vvae.report.numbers import number, percent, points

__all__ = [
    "build_analysis",
    "build_control",
    "build_likeness",
    "build_memorisation",
    "build_positive_control",
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
    rates = {name: rate for name, rate in results.human.rates.items() if rate.measurable}
    own = _own(corpus, replies)
    shown, unread = _measured(data["habits"])
    page: str = _template("page.html").render(
        verdict=verdict.of_report(
            data,
            speakers=len({corpus.by_id[pair_id].speaker for pair_id, _ in own}),
            replies=config.bench.replies,
            run=str(config.run),
            trained=[v.name for v in resolve(config.variants) if v.trained and v.z != "none"],
        ),
        results=data,
        metrics=list(rates),
        names={name: get(name).title for name in rates},
        rates=figures.rates(data, list(rates)),
        losses=figures.losses(data),
        reading=figures.reading(data),
        found=verdict.beside_people(data),
        habits=shown,
        unread=unread,
        habits_figure=figures.habits(shown),
        prior_figure=figures.prior(corpus.prior, corpus.space),
        samples=_samples(corpus, own, list(results.variants)),
        audits=audits,
        of_nulls=verdict.of_nulls,
        used_share=verdict.used_share,
        audit_figures=[figures.confusion(audit) for audit in audits],
        config=config,
        config_text=config.to_yaml(),
        observation={d.name: corpus.prior[d.name].rate for d in corpus.space.dimensions},
    )
    return page


def _own(corpus: EncodedCorpus, replies: Sequence[Reply]) -> dict[tuple[str, str], Reply]:
    """Return (pair, variant) -> the reply written under the speaker's own profile."""
    by_id = corpus.by_id
    return {(r.pair_id, r.variant): r for r in replies if r.profile == by_id[r.pair_id].speaker}


def _measured(habits: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the figures that were measured in any variant, and the titles of the others."""
    shown = {
        name: of
        for name, of in habits.items()
        if any(one["value"] is not None for one in of["variants"].values())
    }
    return shown, [of["title"] for name, of in habits.items() if name not in shown]


def build_analysis(analysis: Mapping[str, Any], space: LatentSpace, run: str) -> str:
    """Return the page of `vvae analyze` as text."""
    page: str = _template("analysis.html").render(
        verdict=verdict.of_analysis(analysis, run),
        found=analysis,
        name=run,
        features=FEATURES,
        missing=figures.missingness(analysis),
        association=figures.association(analysis, space),
        drift=figures.drift(analysis),
    )
    return page


def build_study(study: Mapping[str, Any]) -> str:
    """Return the page of a study as text."""
    shown, unread = _measured(study["habits"] or {})
    page: str = _template("study.html").render(
        verdict=verdict.of_study(study),
        found=study,
        panels={m: title for m, title in PANELS.items() if m in study["measures"]},
        rows=[
            name
            for name in ("human", *study["variants"])
            if any(name in of for of in study["measures"].values())
        ],
        figure=figures.measures(study, PANELS),
        habits=shown,
        unread=unread,
        habits_figure=figures.habits(shown),
    )
    return page


def build_control(summary: Mapping[str, Any], run: str) -> str:
    """Return the page of `vvae control` as text."""
    own = {row["set"]: row for row in summary["matrix"] if row["set"] == row["read"] and "v" in row}
    page: str = _template("control.html").render(
        verdict=verdict.of_control(summary, run),
        found=summary,
        own=own,
        matrix=figures.leakage(summary),
        confusions={
            name: figures.set_and_read(table) for name, table in summary["confusion"].items()
        },
        rates=figures.asked_rates(summary["rates"]),
    )
    return page


def build_likeness(found: Mapping[str, Any], run: str) -> str:
    """Return the page of `vvae score` as text."""
    page: str = _template("likeness.html").render(
        verdict=verdict.of_run_likeness(found, run), found=found, figure=figures.likeness(found)
    )
    return page


def build_memorisation(probes: Mapping[str, Any], run: str) -> str:
    """Return the page of `vvae privacy` as text."""
    page: str = _template("memorisation.html").render(
        verdict=verdict.of_memorisation(probes, run),
        found=probes,
        runs=figures.verbatim_runs(probes),
        exposures=figures.exposures(probes) if probes["canaries"] else "",
    )
    return page


def build_positive_control(cells: Mapping[str, Any], model: str, contexts: int) -> str:
    """Return the page of `vvae study positive-control` as text."""
    page: str = _template("positive_control.html").render(
        verdict=verdict.of_positive_control(cells, model),
        cells=cells,
        model=model,
        contexts=contexts,
        figure=figures.positive_control(cells),
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
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vvae", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure"] = _figure
    environment.filters |= {
        "percent": percent,
        "points": points,
        "number": number,
        "named": lambda svg, label: Markup(
            svg.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(label), 1)
        ),
    }
    return environment.get_template(name)


def _figure(value: float | None, unit: str, *, signed: bool = False) -> str:
    """A figure of replies as text: a share in percent, anything else as a number."""
    share = unit == "%" and value is not None
    return number(100 * value if share and value else value, 1 if share else 2, signed=signed)


def _samples(
    corpus: EncodedCorpus, own: Mapping[tuple[str, str], Reply], variants: Sequence[str]
) -> list[dict[str, Any]]:
    """Return contexts with the human reply and each variant's, and the z shown.

    Speakers differ from sample to sample.
    """
    pairs, space = corpus.by_id, corpus.space
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
