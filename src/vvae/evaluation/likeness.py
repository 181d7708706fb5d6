"""Is it like them? Replies against a person's own, of any text and of a run's variants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vvae.core.errors import DataError, choose_from
from vvae.latent.readers import reader
from vvae.latent.space import load_space
from vvae.metrics.bootstrap import Interval
from vvae.metrics.likeness import Difference, Likeness, LikenessResult, differences, within
from vvae.pipeline.run import Run
from vvae.pipeline.stages.measuring import replies_of

__all__ = ["PeopleLikeness", "VariantLikeness", "likeness_of_variants"]

LEAST_TRAINING, LEAST_HELDOUT = 40, 10
"""Replies that a person needs to be compared with."""


class VariantLikeness(NamedTuple):
    """How often a speaker's own held-out reply is more like them than a variant's is.

    The mean over speakers; 0.5 where they cannot be told apart.
    """

    beaten: float
    spread: Interval
    speakers: int


class PeopleLikeness:
    """A judge of how like the people of a run some replies are.

    Raises:
        DataError: there is nobody to compare with.
    """

    def __init__(self, run: Run) -> None:
        self._folder = str(run.folder)
        self._training, self._heldout = _replies(run)
        self._judge = Likeness(self._training, self._heldout)
        self._form = [d for d in load_space().dimensions if reader(d.reader).exact]

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


def likeness_of_variants(run: Run) -> dict[str, VariantLikeness]:
    """Return variant -> how like the speakers its replies are, with ``others``, other people's own
    replies, for comparison.

    Raises:
        DataError: there is nobody to compare with.
    """
    training, heldout = _replies(run)
    judge = Likeness(training, heldout)
    written: dict[str, dict[str, list[str]]] = {}
    for variant in run.variants:
        if run.path(f"replies/{variant.name}.parquet").is_file():
            of_variant = written.setdefault(variant.name, defaultdict(list))
            for reply in replies_of(run, variant):
                if reply.profile in training:
                    of_variant[reply.profile].append(reply.text)
    result = {
        name: _mean([judge.beaten(speaker, texts) for speaker, texts in of.items()])
        for name, of in written.items()
        if of
    }
    judged = {speaker for of in written.values() for speaker in of} or set(training)
    others = [judge.worth(speaker).auc for speaker in sorted(judged)]
    return {"others": _mean(others), **result}


def _mean(values: Sequence[float]) -> VariantLikeness:
    return VariantLikeness(round(sum(values) / len(values), 4), within(values), len(values))


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
