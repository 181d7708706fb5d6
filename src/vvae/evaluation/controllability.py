"""Does a value that is set come back? One dimension of z is set, the rest is kept, and the replies
are read again.

For each dimension some values are set in turn in the same contexts. What the encoder reads in the
replies is compared
with what was set: in the dimension itself (control) and in every other one (leakage), by
bias-corrected Cramer's V with a p-value by permutation within contexts; null counts as a value that
is read. Where the encoder scores labels, also by how much the score of the label that was set is
higher: a threshold sees little where it names little.

A rate that is asked for is realised by showing a value in some replies and hiding it in the others,
so the rate in replies is a line between two measured ends:

    rate(a)  =  a rate(shown) + (1 - a) rate(hidden)

All of it is measured for training alone, and in further folders for each `Way` that goes beyond:
a strength, or candidates of which the first that shows the value is taken.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, NotRequired, TypedDict

from vvae.core.dialogue import Pair
from vvae.core.errors import ConfigError, choose_from
from vvae.core.files import write_json, write_text
from vvae.decoder.variants import Variant
from vvae.encoders.in_the_loop import Judge, Task, write_accepted
from vvae.inference.prompts import PROMPT_VERSION
from vvae.latent.persona import Persona, Slot
from vvae.latent.space import Dimension
from vvae.latent.steering import Demand
from vvae.latent.tables import read_encodings, write_encodings
from vvae.metrics.association import association, benjamini_hochberg, shift
from vvae.metrics.bootstrap import Hit, bootstrap, interval, rate, tabulate
from vvae.metrics.metric import metric_of, shows
from vvae.metrics.tables import Reply, read_replies, write_replies
from vvae.pipeline.keys import contexts_key, sampling_key, test_z_key, variant_key
from vvae.pipeline.run import Run
from vvae.pipeline.runner import is_made, make, run_stages
from vvae.pipeline.stage import Stage
from vvae.pipeline.stages.corpus import READ
from vvae.report.pages import build_control

__all__ = ["STRENGTHS", "TRAINED", "Cell", "Way", "adjust", "control"]

STRENGTHS = (1.0, 2.0, 3.0)
"""What `vvae control --calibrate` measures beside training alone."""


class Way(NamedTuple):
    """A way in which a value that is set is made to show."""

    strength: float = 0.0
    candidates: int = 1

    @property
    def name(self) -> str:
        """Return what its folder is called; nothing for training alone.

        >>> Way(1.5).name, Way(candidates=16).name, Way().name
        ('strength-1.5', 'candidates-16', '')
        """
        parts = [f"strength-{self.strength:g}"] if self.strength else []
        parts += [f"candidates-{self.candidates}"] if self.candidates > 1 else []
        return "-".join(parts)

    def folder(self, variant: Variant) -> str:
        """Return where a variant's replies and figures stand in the run."""
        return "/".join(filter(None, ("control", variant.name, self.name)))


TRAINED = Way()
"""By training alone."""

HIDDEN = ""
"""In place of a value: the dimension is left out of z."""
VALUES = 4
"""Values set of an open dimension, the most frequent ones; of a closed one at most `LABELS`."""
LABELS = 8
ENDINGS = (".parquet", ".readings.parquet", ".candidates.json")
"""Files of a dimension: replies, what is read in them, how many were written."""


class Cell(TypedDict):
    """What setting one dimension does to what is read in one: Cramer's V, corrected for bias."""

    set: str
    read: str
    n: int
    v: NotRequired[float]
    """Where there were replies enough."""
    p: NotRequired[float]
    p_adjusted: NotRequired[float]


class LabelShift(TypedDict):
    """By how much the score of the label that is set is higher, in standard deviations."""

    shift: float
    p: float
    n: int


class ShownRate(TypedDict):
    """How often replies show a value."""

    rate: float
    low: float
    high: float
    n: int


class RateLine(TypedDict):
    """The two ends between which the rate of a value can be asked for."""

    values: list[str]
    asked_for: float
    """r of the dimension."""
    shown: ShownRate
    hidden: ShownRate
    by_value: dict[str, dict[str, ShownRate]]
    """Value -> ``shown`` and ``hidden`` of that value alone."""


class Control(TypedDict):
    """The contents of control.json."""

    variant: str
    model: str
    contexts: int
    strength: float
    candidates: int
    written: float
    """Candidates that were written for a reply, in the mean."""
    dimensions: list[str]
    read: list[str]
    matrix: list[Cell]
    shifts: dict[str, LabelShift]
    """Of dimensions whose labels the encoder scores."""
    confusion: dict[str, dict[str, dict[str, int]]]
    """Dimension -> value set -> value read -> replies."""
    rates: dict[str, RateLine]


def values_set(run: Run, dimension: Dimension) -> list[str]:
    """Return the values that a dimension is set to: its most frequent ones in the prior."""
    most = LABELS if dimension.labels else VALUES
    return [value for value, _ in run.prior[dimension.name].ordered[:most]]


def control(
    run: Run,
    variant: Variant,
    contexts: int,
    *,
    dimensions: Collection[str] | None = None,
    way: Way = TRAINED,
) -> Control:
    """Write and read the replies that are missing, and write `control/<variant>/` with control.json
    and report.html, in a folder of its own for each way beyond training; return what control.json
    holds.

    Args:
        contexts: in each of which every value is set.
        dimensions: names of those that are set; all where None.

    Raises:
        ConfigError: a name is no dimension's.
    """
    for name in dimensions or ():
        if name not in run.space.by_name:
            fix = choose_from(name, run.space.names)
            raise ConfigError(f"unknown dimension {name!r}", where="--dimension", fix=fix)
    run_stages(run, until="train")
    folder = way.folder(variant)
    settings = {
        "variant": variant_key(variant, whole=True),
        "contexts": contexts,
        "generate": run.config.generate,
        "seed": run.config.seed,
        "sampling": sampling_key(run.config.sampling),
        "prompts": PROMPT_VERSION,
        "values": VALUES,
        "labels": LABELS,
        **({"way": way._asdict()} if way != TRAINED else {}),
        **contexts_key(run.config.bench, run.config.pairs),
        **test_z_key(variant, run.config.bench),
    }
    able = [d for d in run.space.dimensions if len(values_set(run, d)) > 1]
    stages = {
        d.name: Stage(
            f"control {variant.name} {d.name} {way.name}".strip(),
            group="control",
            inputs=(*READ, "encoder.json", f"adapters/{variant.name}"),
            outputs=tuple(f"{folder}/{d.name}{end}" for end in ENDINGS[: 2 + (way != TRAINED)]),
            settings=settings,
            work=partial(_reply, variant=variant, dimension=d, contexts=contexts, way=way),
        )
        for d in able
    }
    make(run, (stage for name, stage in stages.items() if not dimensions or name in dimensions))
    # What was measured of other dimensions before, in the same way, stays in the summary.
    named = [d for d in able if is_made(run, stages[d.name])]
    summary = _summary(run, variant, named, contexts, way)
    write_json(run.path(f"{folder}/control.json"), summary)
    write_text(run.path(f"{folder}/report.html"), build_control(summary, str(run.folder)))
    return summary


def _reply(run: Run, *, variant: Variant, dimension: Dimension, contexts: int, way: Way) -> None:
    """The replies with each value of a dimension set, and what the encoder reads in them."""
    asked: list[tuple[Pair, Persona]] = []
    conditions = run.conditions(variant)
    decoder = run.with_adapter(variant)
    tasks: list[Task] = []
    for pair in run.benchmarked(contexts):
        base = conditions.test_persona(pair, pair.speaker)
        without = base.without(dimension.name)
        for value in (None, *values_set(run, dimension)):
            persona = without
            demands: dict[str, Demand] = {}
            if value is not None:
                persona = base.with_slots({dimension.name: Slot(value, "given")})
                demands = {dimension.name: Demand(value, True)} if way.candidates > 1 else {}
            block = conditions.line(pair, pair.speaker, without)
            request = decoder.prompter.request(
                run.dialogues[pair.dialogue],
                pair,
                conditions.line(pair, pair.speaker, persona),
                key=f"{pair.pair_id}|{dimension.name}|{value or HIDDEN}",
                set_off=[(block, way.strength)] if way.strength and value else (),
            )
            asked.append((pair, persona))
            tasks.append(Task(request, pair, demands))
    with run.reporter.task(f"{dimension.name} set {way.name}".strip()) as tick:
        accepted = write_accepted(
            decoder.engine,
            tasks,
            Judge(lambda: run.single_encoder, run.space),
            run.dialogues,
            run.generation,
            candidates=way.candidates,
            seed=run.config.seed,
            progress=tick,
        )
    completions = [one.completion for one in accepted]
    numbered = [
        replace(p, pair_id=f"{p.pair_id}|{i}", response=c.text)
        for i, ((p, _), c) in enumerate(zip(asked, completions, strict=True))
    ]
    replies = [
        Reply(
            variant.name,
            pair.pair_id,
            run.config.seed,
            pair.speaker,
            persona,
            pair.response,
            c.finish_reason,
        )
        for pair, (_, persona), c in zip(numbered, asked, completions, strict=True)
    ]
    folder = run.path(way.folder(variant))
    write_replies(folder / f"{dimension.name}.parquet", replies, run.space)
    with run.reporter.task(f"{dimension.name} read") as tick:
        encodings = run.encoder.encode(numbered, run.dialogues, progress=tick)
        write_encodings(folder / f"{dimension.name}.readings.parquet", encodings, run.space)
    if way != TRAINED:
        set_ones = [one for one, task in zip(accepted, tasks, strict=True) if task.demands]
        written = sum(one.written for one in set_ones) / len(set_ones) if set_ones else 1.0
        write_json(folder / f"{dimension.name}.candidates.json", {"written": round(written, 3)})


def _summary(
    run: Run, variant: Variant, named: Sequence[Dimension], contexts: int, way: Way
) -> Control:
    folder = run.path(way.folder(variant))
    pairs = {pair.pair_id: pair for pair in run.valid_pairs}
    matrix: list[Cell] = []
    confusion: dict[str, dict[str, dict[str, int]]] = {}
    rates: dict[str, RateLine] = {}
    shifts: dict[str, LabelShift] = {}
    written: list[float] = []
    for dimension in named:
        name = dimension.name
        replies = read_replies(folder / f"{name}.parquet")
        readings = {
            e.pair_id: e.persona
            for e in read_encodings(folder / f"{name}.readings.parquet")
            if e.status == "ok"
        }
        observations = [
            (r, readings[r.pair_id])
            for r in replies
            if r.persona and r.persona[name] and r.pair_id in readings
        ]
        set_to = [r.persona.value(name) or HIDDEN for r, _ in observations if r.persona]
        contexts_of = [r.pair_id.rpartition("|")[0] for r, _ in observations]
        texts = [r.reply for r, _ in observations]
        own = _read_back(run, dimension, texts, [z for _, z in observations])
        if moved := _shift(run, dimension, set_to, texts, contexts_of):
            shifts[name] = moved
        for other in run.space.dimensions:
            read = (
                own
                if other.name == name
                else [z.value(other.name) or HIDDEN for _, z in observations]
            )
            result = association(set_to, read, within=contexts_of, seed=run.config.seed)
            cell: Cell = {"set": name, "read": other.name, "n": len(observations)}
            if result:
                cell |= {"v": round(result.v, 4), "p": round(result.p, 4)}
            matrix.append(cell)
        came_back: dict[str, Counter[str]] = {
            value: Counter() for value in values_set(run, dimension)
        }
        for value, read_value in zip(set_to, own, strict=True):
            came_back[value][read_value] += 1
        confusion[name] = {
            value: dict(counter.most_common()) for value, counter in came_back.items()
        }
        metric = metric_of(dimension.reader)
        if metric:
            rates[metric] = _rates(run, metric, replies, name, pairs)
        if way != TRAINED:
            found = json.loads((folder / f"{name}.candidates.json").read_text("utf-8"))
            written.append(found["written"])
    adjust(matrix)
    return {
        "variant": variant.name,
        "model": run.config.decoder.model,
        "contexts": len(run.benchmarked(contexts)),
        "strength": way.strength,
        "candidates": way.candidates,
        "written": round(sum(written) / len(written), 3) if written else 1.0,
        "dimensions": [d.name for d in named],
        "read": list(run.space.names),
        "matrix": matrix,
        "shifts": shifts,
        "confusion": confusion,
        "rates": rates,
    }


def adjust(matrix: Sequence[Cell]) -> None:
    """Add adjusted p to the cells (Benjamini-Hochberg), to those of a dimension in itself by
    themselves: whether a knob turns is one question, what else moves another, and many leaks that
    are looked for shall not hide a knob that works.
    """
    own = [cell["set"] == cell["read"] for cell in matrix]
    for family in (True, False):
        tested = [c for c, is_own in zip(matrix, own, strict=True) if is_own == family and "p" in c]
        for cell, p in zip(tested, benjamini_hochberg([c["p"] for c in tested]), strict=True):
            cell["p_adjusted"] = round(p, 4)


def _read_back(
    run: Run, dimension: Dimension, texts: Sequence[str], read: Sequence[Persona]
) -> list[str]:
    """What is read of a dimension in each reply. Where a metric counts its values it is the first
    of those that were set which the reply shows: the encoder would look for a speaker's own ones.
    """
    metric = metric_of(dimension.reader)
    if not metric:
        return [z.value(dimension.name) or HIDDEN for z in read]
    values = values_set(run, dimension)
    return [next((v for v in values if shows(metric, v, text)), HIDDEN) for text in texts]


def _shift(
    run: Run,
    dimension: Dimension,
    set_to: Sequence[str],
    texts: Sequence[str],
    contexts: Sequence[str],
) -> LabelShift | None:
    scores_of = getattr(run.encoder, "scores", None)
    scores = scores_of(dimension.name, texts) if scores_of else None
    if scores is None:
        return None
    labels = list(dimension.labels or {})
    places = [labels.index(value) for value in set_to]
    found = shift(places, scores, contexts, seed=run.config.seed)
    return (
        LabelShift(shift=round(found.shift, 4), p=round(found.p, 4), n=found.n) if found else None
    )


def _rates(
    run: Run, metric: str, replies: Sequence[Reply], name: str, pairs: dict[str, Pair]
) -> RateLine:
    """How often a value stands in the replies when it is shown, and when it is hidden from the same
    contexts.
    """
    values = sorted({value for r in replies if r.persona and (value := r.persona.value(name))})
    hits: dict[str, list[Hit]] = defaultdict(list)
    for reply in replies:
        pair = pairs[reply.pair_id.rpartition("|")[0]]
        own = reply.persona.value(name) if reply.persona else None
        for value in [own] if own else values:
            hit = Hit(pair.speaker, pair.dialogue, shows(metric, value, reply.reply))
            end = "shown" if own else "hidden"
            hits[end].append(hit)
            hits[f"{end} {value}"].append(hit)
    tables = {ends: tabulate(of_end) for ends, of_end in hits.items()}
    samples = bootstrap(tables, resamples=run.config.bench.resamples, seed=run.config.seed)

    def rate_at(end: str) -> ShownRate:
        low, high = interval(samples[end])
        return {
            "rate": round(rate(tables[end]), 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "n": len(hits[end]),
        }

    return {
        "values": values,
        "asked_for": run.prior[name].rate,
        "shown": rate_at("shown"),
        "hidden": rate_at("hidden"),
        "by_value": {
            value: {end: rate_at(f"{end} {value}") for end in ("shown", "hidden")}
            for value in values
        },
    }
