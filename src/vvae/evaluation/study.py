"""Named experiments over the stages: several variants and seeds in one run folder, and claims
judged on what they did.

A study is a small YAML file (`vvae/studies`): variants, seeds, claims. It shares the run folder's
chats, encodings, prior and profiles, and every variant that another study has made with the same
settings; a stopped study goes on where it was. Seed 0 of a variant is the variant itself; another
seed trains on other pairs in another order, from other first weights and draws, and replies to
the same held-out contexts with other draws of words.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import regex
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vvae.config import RunConfig
from vvae.core.errors import ConfigError, choose_from
from vvae.core.files import write_json, write_text
from vvae.core.reporting import Reporter
from vvae.core.yaml import read_yaml
from vvae.decoder.variants import Variant, resolve
from vvae.inference.endpoint.settings import EndpointConfig
from vvae.latent.space import LatentSpace
from vvae.metrics import human_chat
from vvae.metrics.bootstrap import Hit, tabulate
from vvae.metrics.claims import (
    DRAWS,
    HUMAN,
    Adjust,
    Claim,
    JudgedClaim,
    Predictions,
    Summary,
    Tables,
    judge,
    summarize,
)
from vvae.metrics.habits import Yardstick, compare
from vvae.metrics.latent_analysis import describe_prior
from vvae.metrics.metric import WrittenReply, scored, shows
from vvae.metrics.tables import MEASURED, Measured
from vvae.metrics.teacher_forcing import SHOWN
from vvae.metrics.text import spoken_length
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages
from vvae.pipeline.stages.measuring import likelihoods_of, replies_of
from vvae.pipeline.stages.training import check_patience
from vvae.report.pages import build_study

__all__ = [
    "POSITIVE_CONTROL",
    "Study",
    "habit_rows",
    "heldout_replies",
    "load_study",
    "measure_chatbot",
    "run_study",
    "studies",
    "tables_by_seed",
    "tables_of",
    "usefulness",
]

POSITIVE_CONTROL = "positive-control"
"""The study that has a corpus of its own, in which it is known what must come out."""


class Study(BaseModel):
    """An experiment: variants, seeds and claims."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    question: str
    seeds: int = Field(3, ge=1)
    variants: tuple[str | Variant, ...]
    leave_out: Literal["axes", "dimensions"] | None = Field(
        None, description="adds SP+FT without each of these"
    )
    grow: bool = Field(
        False, description="adds SP+FT with the first dimension, the first two, ... but the last"
    )
    order: tuple[str, ...] = Field(
        (), description="of dimensions that grow; empty: by usefulness, as far as measured"
    )
    replies: tuple[str, ...] | None = Field(
        None, description="the only variants that write replies; null: all"
    )
    adjust: Adjust = "holm"
    claims: tuple[Claim, ...] = ()

    def resolved(self, space: LatentSpace) -> tuple[Variant, ...]:
        """Return the variants of one seed."""
        return (
            *resolve(self.variants),
            *(variant for _, variant in (*self._left_out(space), *self._grown(space))),
        )

    def all_claims(self, space: LatentSpace) -> tuple[Claim, ...]:
        """Return the claims, and one for each thing left out: of its own z, as it was read, a reply
        is told less without it (what it is worth is too little for a loss under the profile).
        """
        return (
            *self.claims,
            *(
                Claim(
                    claim=f"{what} z tells less of the reply",
                    measure="loss_posterior_z",
                    of=variant.name,
                    against="SP+FT",
                    expect="above",
                )
                for what, variant in (*self._left_out(space), *self._grown(space))
            ),
        )

    def _left_out(self, space: LatentSpace) -> Iterator[tuple[str, Variant]]:
        groups = space.axes if self.leave_out == "axes" else space.names if self.leave_out else ()
        for group in groups:
            dimensions = tuple(d.name for d in space.dimensions if group not in (d.axis, d.name))
            yield (
                f"Without {group}",
                Variant(name=_without(group), dimensions=dimensions),
            )

    def _grown(self, space: LatentSpace) -> Iterator[tuple[str, Variant]]:
        order = self.order or space.names
        for n in range(1, len(order)) if self.grow else ():
            what = f"With {'only ' if n == 1 else ''}{', '.join(order[:n])}"
            yield what, Variant(name=f"first-{n}", dimensions=order[:n])


def _without(group: str) -> str:
    """The name of the variant without an axis or a dimension."""
    return f"without-{'-'.join(group.split())}"


def usefulness(run: Run) -> tuple[tuple[str, ...], str]:
    """Return the dimensions, most useful first, and what that was measured by.

    Where the study `ablation-dimensions` has been made: by how much the loss under z as it was read
    rises without each.
    Before that: by the bits that a reply tells on average, r times the entropy of the prior.
    """
    path = run.path("studies/ablation-dimensions/claims.json")
    measures = json.loads(path.read_text("utf-8"))["measures"] if path.is_file() else {}
    losses = measures.get("loss_posterior_z", {})
    left_out = {name: _without(name) for name in run.space.names}
    if losses.keys() >= set(left_out.values()):  # not of another space
        worth = {name: losses[variant]["estimate"] for name, variant in left_out.items()}
        measured_by = "the loss without each"
    else:
        bits = {name: describe_prior(run.prior[name]) for name in run.space.names}
        worth = {name: of["rate"] * (of["entropy"] or 0.0) for name, of in bits.items()}
        measured_by = "bits a reply tells, r H(prior)"
    return tuple(sorted(run.space.names, key=lambda name: -worth[name])), measured_by


def studies() -> list[str]:
    """Return the names of the studies that come with the package, but for the positive control."""
    folder = resources.files("vvae.evaluation").joinpath("studies")
    return sorted(
        file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")
    )


def load_study(name: str) -> Study:
    """Return a study by its name, or from a YAML file.

    Raises:
        ConfigError: there is none of this name, or a key is wrong.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        data = read_yaml(Path(name), "give a study's name or a YAML file")
    elif name in studies():
        file = resources.files("vvae.evaluation").joinpath(f"studies/{name}.yaml")
        data = yaml.safe_load(file.read_text("utf-8"))
    else:
        raise ConfigError(
            f"unknown study {name!r}", fix=choose_from(name, (*studies(), POSITIVE_CONTROL))
        )
    try:
        study = Study.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        keys = ".".join(str(part) for part in first["loc"] if str(part) not in ("str", "Variant"))
        raise ConfigError(
            str(first["msg"]), where=f"{name}: {keys}", fix="see docs/studies.md"
        ) from None
    resolve(study.variants)
    return study


class StudyResult(TypedDict):
    """The contents of claims.json."""

    title: str
    question: str
    adjusted_by: Adjust
    seeds: int
    model: str
    endpoint: str | None
    """The model that wrote the prompted variants, where one did."""
    pairs: int
    variants: list[str]
    predicted: Predictions
    """Variant -> rates of CP that training converges to: where the context does not tell who
    speaks, and where it does."""
    observation_rate: dict[str, float]
    claims: list[JudgedClaim]
    measures: dict[str, dict[str, Summary]]
    """Measure -> variant, or people -> its figures."""
    habits: dict[str, Any]
    folder: NotRequired[str]
    """Under `studies/`."""
    order: NotRequired[tuple[str, ...]]
    """Of dimensions that are added one by one, and what says that it is theirs."""
    ordered_by: NotRequired[str | None]


def measure_chatbot(
    run: Run | str | Path,
    *,
    base_url: str,
    model: str,
    key_env: str = "OPENAI_API_KEY",
    candidates: int = 1,
) -> StudyResult:
    """Measure the chatbot behind an OpenAI-compatible endpoint against a corpus's own people.

    It is prompted in several ways; nothing is trained.

    Args:
        run: a run, its folder, or a config: whose people are compared with.
        base_url: up to ``/v1``.
        model: its name there.
        key_env: the environment variable that holds the key.
        candidates: with more than one, it is also measured with the habits' rates met by choosing
            among so many replies (`vvae.encoders.in_the_loop`).

    Returns:
        What claims.json of the study ``endpoint`` holds: ``measures`` has, for each measure,
        people's estimate and that of each way of prompting, with intervals and deviations.

    Raises:
        EndpointError: the endpoint does not answer.

    Example:
        >>> found = measure_chatbot(  # doctest: +SKIP
        ...     "mine.yaml", base_url="http://127.0.0.1:8000/v1", model="m"
        ... )
        >>> found["measures"]["CP"]["zero-shot"]["deviation"]  # doctest: +SKIP
        0.41
    """
    run = run if isinstance(run, Run) else Run.open(run)
    endpoint = EndpointConfig(base_url=(base_url,), model=model, key_env=key_env)
    study = load_study("endpoint")
    return run_study(
        "endpoint",
        study,
        run.config,
        reporter=run.reporter,
        endpoint=endpoint,
        candidates=candidates,
    )


def run_study(
    name: str,
    study: Study,
    config: RunConfig,
    *,
    reporter: Reporter,
    endpoint: EndpointConfig | None = None,
    candidates: int = 1,
    on_ray: bool = False,
) -> StudyResult:
    """Make what is missing, judge the claims, and write `studies/<name>/` in the run folder.

    Args:
        endpoint: writes the replies of the prompted variants.
        candidates: of the endpoint's replies to a message, where they are also chosen from.
        on_ray: make variants and seeds as tasks of a Ray cluster.

    Returns:
        What claims.json holds.
    """
    title = Path(name).stem
    if endpoint:
        study, title = _at(study, endpoint, candidates), f"{title}@{_slug(endpoint.model)}"
    ordered_by = None
    if study.grow and not study.order:
        run = Run(config, reporter=reporter)
        run_stages(run, until="prior")
        order, ordered_by = usefulness(run)
        study = study.model_copy(update={"order": order})
    if on_ray:
        _make_on_ray(study, config, reporter)
    rows: list[Measured] = []
    for seed in range(study.seeds):
        run = Run(config, reporter=reporter)
        variants = [_seeded(variant, seed) for variant in study.resolved(run.space)]
        run = Run(config.model_copy(update={"variants": tuple(variants)}), reporter=reporter)
        silent = _silent(study, run.space)
        reporter.say(f"seed {seed}: {', '.join(v.name for v in variants)}")
        run_stages(run, until="losses", skip=silent, config=config)
        rows += measured(run, study, seed)
    folder = run.path(f"studies/{title}")
    MEASURED.write(folder / "rows.parquet", rows)
    report = _judged(study, run, rows, config)
    report |= {"folder": title, "order": study.order, "ordered_by": ordered_by}
    write_json(folder / "claims.json", report)
    write_text(folder / "report.html", build_study(report))
    return report


def _make_on_ray(study: Study, config: RunConfig, reporter: Reporter) -> None:
    """Makes what all variants need here, and then each of them, in a task of its own."""
    from vvae.evaluation.variants_on_ray import make_on_ray

    # A variant that nobody has to describe or train: only what all share is made.
    shared = config.model_copy(update={"variants": ("zero-shot",)})
    run = Run(shared, reporter=reporter)
    run_stages(run, until="profiles", config=config)
    resolved = study.resolved(run.space)
    # An endpoint's calls, and what they may cost, are counted by the process that asks.
    own = [v for v in resolved if not v.endpoint]
    check_patience(config, own)  # here: a task knows only its own variant
    variants = [_seeded(v, seed) for seed in range(study.seeds) for v in own]
    with reporter.task(f"{len(variants)} variants on Ray") as tick:
        make_on_ray(config, variants, _silent(study, run.space), progress=tick)


def _silent(study: Study, space: LatentSpace) -> set[str]:
    """The stages of variants that write no replies, of all seeds."""
    unheard = [
        _seeded(v, seed).name
        for seed in range(study.seeds)
        for v in study.resolved(space)
        if not _writes(study, v)
    ]
    return {f"{stage} {name}" for stage in ("replies", "readings", "phrases") for name in unheard}


def _seeded(variant: Variant, seed: int) -> Variant:
    """A variant as the run folder holds it: its name says the endpoint and the seed."""
    name = f"{variant.name}@{_slug(variant.endpoint.model)}" if variant.endpoint else variant.name
    return variant.model_copy(update={"name": f"{name}.seed{seed}" if seed else name, "seed": seed})


def _at(study: Study, endpoint: EndpointConfig, candidates: int = 1) -> Study:
    """A study whose prompted variants are written by an endpoint; with candidates, the first one
    that is told a persona stands there a second time, chosen from so many replies.
    """
    variants = [
        v if v.trained else v.model_copy(update={"endpoint": endpoint})
        for v in resolve(study.variants)
    ]
    claims = list(study.claims)
    if candidates > 1:
        told = next(v for v in variants if v.endpoint and v.shows_slots)
        name = f"{told.name}-of-{candidates}"
        variants.append(told.model_copy(update={"name": name, "candidates": candidates}))
        claims.append(
            Claim(
                claim=f"Taking of {candidates} replies one that shows a habit as often as the "
                "person does brings it nearer to people on catchphrases",
                measure="CP",
                how="distance",
                of=name,
                against=told.name,
                expect="below",
            )
        )
    return study.model_copy(update={"variants": tuple(variants), "claims": tuple(claims)})


def _slug(model: str) -> str:
    return regex.sub(r"[^\w+.\-]+", "-", model).strip("-.") or "model"


def _writes(study: Study, variant: Variant) -> bool:
    return study.replies is None or variant.name in study.replies


def measured(run: Run, study: Study, seed: int) -> list[Measured]:
    """Return what one seed's variants did, reply by reply; with seed 0 also what people did."""
    pairs = {pair.pair_id: pair for pair in run.valid_pairs}
    yardstick = Yardstick(run.valid_pairs, run.speakers)
    rows = habit_rows(HUMAN, seed, run, yardstick, heldout_replies(run)) if seed == 0 else []
    for variant in study.resolved(run.space):
        seeded = _seeded(variant, seed)
        wrote = _writes(study, variant)
        if wrote:
            rows += habit_rows(variant.name, seed, run, yardstick, replies_of(run, seeded))
        for likelihood in likelihoods_of(run, seeded, wrote=wrote):
            pair = pairs[likelihood.pair_id]
            row = Measured(
                variant.name, seed, "", pair.pair_id, pair.speaker, pair.dialogue, 0.0, 1.0
            )
            if likelihood.nats is not None and likelihood.tokens and likelihood.shown in SHOWN:
                rows.append(
                    replace(
                        row,
                        measure=f"loss_{likelihood.shown}_z",
                        value=likelihood.nats,
                        weight=float(likelihood.tokens),
                    )
                )
            if likelihood.phrase is not None:
                rows.append(
                    replace(row, measure=f"phrase_{likelihood.shown}", value=likelihood.phrase)
                )
    return rows


def heldout_replies(run: Run) -> list[WrittenReply]:
    """Return people's held-out replies, of the benchmarked speakers."""
    speakers = frozenset(run.speakers)
    held = (
        pair for pair in run.valid_pairs if pair.split == "heldout" and pair.speaker in speakers
    )
    return [WrittenReply(pair, pair.speaker, pair.response) for pair in held]


def habit_rows(
    variant: str, seed: int, run: Run, yardstick: Yardstick | None, replies: Sequence[WrittenReply]
) -> list[Measured]:
    """Return the rates of HumanChatBench and the other figures of replies.

    Args:
        yardstick: measures the other figures; without it they are left out.
    """
    scores = scored(run.space)
    rows = []
    measured = yardstick.measure(replies) if yardstick else [{} for _ in replies]
    for (pair, whose, text, _), figures in zip(replies, measured, strict=True):
        row = Measured(
            variant,
            seed,
            "length",
            pair.pair_id,
            pair.speaker,
            pair.dialogue,
            spoken_length([text]),
            1.0,
        )
        rows.append(row)
        rows += [
            replace(row, measure=name, value=v, weight=weight)
            for name, (v, weight) in figures.items()
        ]
        persona = run.profiles[whose].persona()
        rows += [
            replace(row, measure=metric, value=float(shows(metric, value, text)))
            for metric, dimension in scores.items()
            if (value := persona.value(dimension.name)) is not None
        ]
    return rows


def tables_of(rows: Sequence[Measured]) -> Tables:
    """Return measure -> variant -> sums by speaker and dialogue."""
    held: dict[str, dict[str, list[Hit]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        held[row.measure][row.variant].append(Hit(row.speaker, row.dialogue, row.value, row.weight))
    return {m: {v: tabulate(hits) for v, hits in variants.items()} for m, variants in held.items()}


def tables_by_seed(rows: Sequence[Measured]) -> list[Tables]:
    """Return the same of each seed alone, beside people."""
    seeds = sorted({row.seed for row in rows if row.variant != HUMAN})
    return [
        tables_of([row for row in rows if row.seed == seed or row.variant == HUMAN])
        for seed in seeds
    ]


def _judged(study: Study, run: Run, rows: Sequence[Measured], config: RunConfig) -> StudyResult:
    tables, alone = tables_of(rows), tables_by_seed(rows)
    claims, variants = study.all_claims(run.space), study.resolved(run.space)
    local = {
        v.name for v in variants if not v.endpoint
    }  # nobody says how large an endpoint's model is
    sized = any(claim.min_parameters and local.intersection(claim.variants) for claim in claims)
    parameters = dict.fromkeys(local, run.decoder.parameters) if sized else {}
    phrase = scored(run.space).get("CP")
    predicted = {
        v.name: human_chat.predicted(run.conditions(v), phrase.name, run.speakers)
        if phrase
        else None
        for v in variants
    }
    with run.reporter.task("judging the claims"):
        options: dict[str, Any] = {"resamples": config.bench.resamples, "seed": config.seed}
        judged = judge(
            claims,
            tables,
            predicted=predicted,
            by_seed=alone,
            parameters=parameters,
            adjust=study.adjust,
            resamples=max(DRAWS, config.bench.resamples),
            seed=config.seed,
        )
        summary = summarize(tables, by_seed=alone, **options)
    with run.reporter.task("comparing habits"):
        bodies = _bodies(study, run, **options)
    return {
        "title": study.title,
        "question": study.question,
        "adjusted_by": study.adjust,
        "seeds": study.seeds,
        "model": config.decoder.model,
        "endpoint": next((v.endpoint.model for v in variants if v.endpoint), None),
        "pairs": config.train.pairs * config.train.passes,
        "variants": [v.name for v in variants],
        "predicted": predicted,
        "observation_rate": {name: run.prior[name].rate for name in run.space.names},
        "claims": judged,
        "measures": summary,
        "habits": bodies,
    }


def _bodies(study: Study, run: Run, **options: Any) -> dict[str, Any]:
    """What the seeds' replies together are like beside people's;
    nothing where none were written.
    """
    replies: dict[str, list[WrittenReply]] = {}
    for variant in study.resolved(run.space):
        if _writes(study, variant):
            seeded = [_seeded(variant, seed) for seed in range(study.seeds)]
            replies[variant.name] = [reply for v in seeded for reply in replies_of(run, v)]
    figures = compare(run.corpus, run.speakers, replies, **options) if replies else {}
    return {
        name: figure.model_dump(mode="json", exclude_unset=True) for name, figure in figures.items()
    }
