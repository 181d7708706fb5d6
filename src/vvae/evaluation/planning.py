"""What a study can decide, before it is run: from people's own replies, and from what an earlier
run of it has measured.

If every variant wrote exactly as people do, how well would each claim's figure be known? People's
held-out replies, drawn as many and from the same speakers as the study would have them, say so
without a model. What the values of a profile can tell of a reply stands beside it. It is no bound
on how far two variants' losses lie apart: what each lost by its own training is in that, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NotRequired, Required, TypedDict

from vvae.config import RunConfig
from vvae.core.random import shuffled
from vvae.core.reporting import Reporter
from vvae.evaluation.study import (
    Study,
    habit_rows,
    heldout_replies,
    tables_by_seed,
    tables_of,
)
from vvae.metrics.audit.information import per_token, profile_worth
from vvae.metrics.claims import (
    HUMAN,
    Claim,
    JudgedClaim,
    Tables,
    detectable,
    judge,
    level_of,
    out_of_reach,
    standard_error,
    too_few,
    too_rare,
)
from vvae.metrics.habits import Yardstick
from vvae.metrics.metric import WrittenReply
from vvae.metrics.tables import MEASURED, Measured
from vvae.pipeline.run import Run
from vvae.pipeline.runner import run_stages

__all__ = ["PlannedClaim", "StudyPlan", "plan_study"]


class PlannedClaim(TypedDict, total=False):
    """A claim and how well it could be known."""

    claim: Required[str]
    unit: str
    n: int
    error: float
    """Standard error, in the unit."""
    detectable: float
    """The smallest effect that would be found in four of five studies."""
    basis: Required[str]
    why_not: NotRequired[str]
    """Of a claim that cannot be decided at this size."""


class StudyPlan(TypedDict):
    """What `--plan` prints."""

    claims: list[PlannedClaim]
    told: float
    """What the values of a profile tell of those read in a reply, in nats a token of it."""
    worth: dict[str, float]
    """The same by dimension, in nats a reply."""
    replies: int
    """Of each variant, over the seeds."""
    speakers: int


def plan_study(name: str, study: Study, config: RunConfig, *, reporter: Reporter) -> StudyPlan:
    """Return for each claim how well it would be known, made of the chats and their encodings
    alone.

    Where the study was run in this folder before, perhaps smaller, its own rows are the basis.
    """
    untrained = config.model_copy(update={"variants": ("FT",)})  # whom nobody has to describe
    run = Run(untrained, reporter=reporter)
    run_stages(run, until="profiles", config=config)
    claims = study.all_claims(run.space)
    worth = profile_worth(run.corpus, run.speakers)
    people = heldout_replies(run)
    told = per_token(worth, [reply.text for reply in people])
    wanted = len(run.benchmarked(config.bench.replies)) * study.seeds
    pilot = run.path(f"studies/{Path(name).stem}/rows.parquet")
    rows = MEASURED.read(pilot) if pilot.is_file() else []
    with reporter.task("planning"):
        errors = _from_rows(claims, rows) if rows else {}
        errors |= {
            claim: found
            for claim, found in _from_people(study, run, claims, people, wanted).items()
            if claim not in errors
        }
    shown = tables_of(habit_rows(HUMAN, 0, run, None, people))
    planned = [
        _planned(claim, level_of(claim, claims), errors.get(claim.claim), shown) for claim in claims
    ]
    return StudyPlan(
        claims=planned,
        told=round(told, 5),
        worth=worth,
        replies=wanted,
        speakers=len(run.speakers),
    )


PEOPLE = "people's own replies, as if seeds did not vary"


class Known(NamedTuple):
    """What is known of a claim beforehand."""

    error: float
    """Standard error, in the unit."""
    unit: str
    n: int
    basis: str
    why_not: str | None
    """Why nothing of so few could be known."""


def _planned(
    claim: Claim,
    level: float,
    known: Known | None,
    people: Tables,
) -> PlannedClaim:
    if known is None:
        basis = "not from people's replies: run it once, with one seed, and plan again"
        row = PlannedClaim(claim=claim.claim, basis=basis)
        return row
    row = PlannedClaim(
        claim=claim.claim,
        unit=known.unit,
        n=known.n,
        error=round(known.error, 4),
        detectable=round(detectable(known.error, level), 4),
        basis=known.basis,
    )
    why = known.why_not or out_of_reach(claim, known.error) or too_rare(claim, people)
    return row | {"why_not": why} if why else row


def _from_rows(claims: Sequence[Claim], rows: Sequence[Measured]) -> dict[str, Known]:
    """What an earlier run of the study says. Where its seeds vary, so few of them make the smallest
    effect that is told a lower bound.
    """
    tables = tables_of(rows)
    found = judge(claims, tables, by_seed=tables_by_seed(rows))
    return _known(claims, found, tables, "measured before")


def _known(
    claims: Sequence[Claim], found: Sequence[JudgedClaim], tables: Tables, basis: str
) -> dict[str, Known]:
    return {
        row["claim"]: Known(
            standard_error(row), row["unit"], row["n"], basis, too_few(claim, tables)
        )
        for claim, row in zip(claims, found, strict=True)
        if "low" in row
    }


def _from_people(
    study: Study,
    run: Run,
    claims: Sequence[Claim],
    people: Sequence[WrittenReply],
    wanted: int,
) -> dict[str, Known]:
    """What people's replies say, each variant's being so many of them, other ones for each. How
    training seeds vary they cannot say, so that what they give are lower bounds.
    """
    yardstick = Yardstick(run.valid_pairs, run.speakers)
    rows = habit_rows(HUMAN, 0, run, yardstick, people)
    ids = [reply.pair.pair_id for reply in people]
    for variant in study.resolved(run.space):
        order = shuffled(people, "plan", run.config.seed, variant.name, name=ids)
        taken: list[WrittenReply] = []
        for reply in order:
            of_speaker = sum(other.pair.speaker == reply.pair.speaker for other in taken)
            if of_speaker < run.config.bench.per_speaker * study.seeds:
                taken.append(reply)
            if len(taken) == wanted:
                break
        rows += habit_rows(variant.name, 0, run, yardstick, taken)
    asked = [_as_deviation(claim) for claim in claims if claim.than != "predicted"]
    tables = tables_of(rows)
    return _known(asked, judge(asked, tables), tables, PEOPLE)


def _as_deviation(claim: Claim) -> Claim:
    """The claim about signed deviations: those of people's own replies are near zero, where their
    sizes are folded."""
    return claim.model_copy(update={"how": "deviation"}) if claim.how == "distance" else claim
