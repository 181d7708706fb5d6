"""Is it like them? Replies against a person's own, of any text and of a run's variants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vvae.core.errors import DataError, choose_from
from vvae.core.files import write_json, write_text
from vvae.latent.readers import reader
from vvae.latent.space import Dimension, load_space
from vvae.metrics.likeness import (
    LEAST_BODIES,
    Difference,
    Likeness,
    LikenessResult,
    differences,
    within,
)
from vvae.pipeline.run import Run
from vvae.pipeline.stages.measuring import replies_of
from vvae.report.pages import build_likeness

__all__ = ["Mean", "PeopleLikeness", "RunLikeness", "likeness_of_variants"]

LEAST_TRAINING, LEAST_HELDOUT = 40, 10
"""Replies that a person needs to be compared with."""
TOGETHER = (1, 5, 20)
"""Replies in a body, of those that people are told apart by."""


class Mean(NamedTuple):
    """A mean over speakers, with a 95 % interval, each speaker drawn whole."""

    value: float
    low: float
    high: float
    speakers: int


class RunLikeness(NamedTuple):
    """How like its speakers a run's variants write, and what that is worth."""

    told: Mapping[int, Mean]
    """Replies together -> the area under the curve with which so many held-out replies of a
    person's own are told from others'."""
    variants: Mapping[str, Mean]
    """Variant -> how often a speaker's own held-out reply is more like them than one of the
    variant's; 0.5 where they cannot be told apart. Other people's replies: ``told[1]``."""
    differences: Mapping[str, Sequence[str]]
    """Variant -> in which ways the form of its replies differs from those people's own, in words,
    the most certain first."""


class PeopleLikeness:
    """A judge of how like the people of a run some replies are.

    Raises:
        DataError: there is nobody to compare with.
    """

    def __init__(self, run: Run) -> None:
        self._folder = str(run.folder)
        self._training, self._heldout = _replies(run)
        self._judge = Likeness(self._training, self._heldout)
        self._form = _form()

    def of(self, speaker: str, texts: Sequence[str]) -> tuple[LikenessResult, list[Difference]]:
        """Return how like a speaker's own replies some replies are, and how their form differs.

        Raises:
            DataError: there are no replies, or the speaker has too few of their own.
        """
        if not texts:
            raise DataError("no replies to score", fix="give a file with one reply a line")
        if speaker not in self._training:
            what = (
                f"{speaker} has too few replies, or is nobody here: {LEAST_TRAINING} for training "
                f"and {LEAST_HELDOUT} held out are needed"
            )
            fix = choose_from(speaker, self._training, shown=5)
            raise DataError(what, where=self._folder, fix=fix)
        different = differences(texts, self._heldout[speaker], self._form, speaker)
        return self._judge.of(speaker, texts), different


def likeness_of_variants(run: Run) -> RunLikeness:
    """Return how like the speakers the replies of each variant are, and write it down, with a page:
    ``likeness/likeness.json`` and ``likeness/report.html``.

    Raises:
        DataError: there is nobody to compare with.
    """
    training, heldout = _replies(run)
    judge = Likeness(training, heldout)
    written: dict[str, dict[str, list[str]]] = {}
    people: dict[str, list[str]] = defaultdict(list)
    for variant in run.variants:
        if run.path(f"replies/{variant.name}.parquet").is_file():
            of_variant: dict[str, list[str]] = defaultdict(list)
            for reply in replies_of(run, variant):
                if reply.profile in training:
                    of_variant[reply.profile].append(reply.text)
                    people[variant.name].append(reply.pair.response)
            if of_variant:
                written[variant.name] = of_variant
    judged = {speaker for of in written.values() for speaker in of} or set(training)
    told: dict[int, Mean] = {}
    with run.reporter.task("telling people apart") as tick:
        for number, size in enumerate(TOGETHER, start=1):
            worth = [judge.worth(speaker, size) for speaker in sorted(judged)]
            if able := [one.auc for one in worth if one.own >= LEAST_BODIES and one.others]:
                told[size] = _mean(able)
            tick(number, len(TOGETHER))
    form = _form()
    found = RunLikeness(
        told,
        {
            name: _mean([judge.beaten(speaker, texts) for speaker, texts in of.items()])
            for name, of in written.items()
        },
        {
            name: [
                one.says
                for one in differences(
                    [text for texts in of.values() for text in texts],
                    people[name],
                    form,
                    "people",
                )
            ]
            for name, of in written.items()
        },
    )
    data = {
        "told": {str(size): mean._asdict() for size, mean in told.items()},
        "variants": {name: mean._asdict() for name, mean in found.variants.items()},
        "differences": found.differences,
    }
    write_json(run.path("likeness/likeness.json"), data)
    write_text(run.path("likeness/report.html"), build_likeness(data, str(run.folder)))
    return found


def _form() -> list[Dimension]:
    """The dimensions of form, which rules read in every reply."""
    return [d for d in load_space().dimensions if reader(d.reader).exact]


def _mean(values: Sequence[float]) -> Mean:
    low, high = within(values)
    return Mean(round(sum(values) / len(values), 4), round(low, 4), round(high, 4), len(values))


def _replies(run: Run) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
    """Training and held-out replies of the people who have enough of both."""
    sides: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for pair in run.pairs:
        sides[pair.split][pair.speaker].append(pair.response)
    able = [
        speaker
        for speaker, replies in sides["train"].items()
        if len(replies) >= LEAST_TRAINING
        and len(sides["heldout"].get(speaker, ())) >= LEAST_HELDOUT
    ]
    if len(able) < 2:
        raise DataError(
            "nobody to compare with",
            where=str(run.folder),
            fix=f"two people with {LEAST_TRAINING} training and {LEAST_HELDOUT} held-out replies",
        )
    training, heldout = ({s: sides[side][s] for s in able} for side in ("train", "heldout"))
    return training, heldout
