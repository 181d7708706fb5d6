"""The encoder in the loop: of several replies written, the first that shows what is asked.

Rejection sampling. Candidates are independent draws from p(x | c, z), so the first one that meets
the demands is a draw from p(x | c, z, demands met), whatever the model; the price is 1 / P(met)
candidates in the mean. Where none of n meets them all, the one that meets most is taken (the
earliest of those), and the answer says so: the rate then falls short by what was not found.

What is a phrase or an emoji need not be waited for. Where an engine sees what its model finds
likely and the first few candidates lack nothing but such a value, one of them is cut where the
model would have said it, the value put there, and the rest written anew (`PlacingEngine`).

Candidates are numbered, and a demand is looked at in their order, so that the reply does not depend
on how many are written at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from vvae.core.dialogue import Dialogue, Pair
from vvae.core.errors import EndpointError
from vvae.core.random import uniform
from vvae.core.reporting import Progress
from vvae.encoders.base import Encoder
from vvae.inference.engine import (
    Completion,
    Engine,
    GenerationConfig,
    PlacingEngine,
    Request,
)
from vvae.latent.readers import reader
from vvae.latent.space import Dimension, LatentSpace
from vvae.latent.steering import Demand

__all__ = [
    "FIRST_ROUND",
    "Accepted",
    "Candidates",
    "Judge",
    "Placement",
    "Task",
    "candidate_key",
    "needs_encoder",
    "opened",
    "placeable",
    "rounds",
    "write_accepted",
]

FIRST_ROUND = 4
"""Candidates of one reply that are written at once, where somebody waits for it; of many replies it
is one, as there is enough to write at once. Then as many as there are already.
"""


PLACED_FROM = 4
"""Candidates in which the place of a value is looked for."""
PLACED_AGAIN = 4
"""Times that a value is put in: what is written on may take it back (oh, ohh)."""
LONGEST_PUT = 64
"""Characters of a value that is put into a reply."""


class Task(NamedTuple):
    """A reply to be written: what the engine is asked, the pair that it answers, its demands."""

    request: Request
    pair: Pair
    demands: Mapping[str, Demand]


class Accepted(NamedTuple):
    """A reply that was taken."""

    completion: Completion
    number: int
    """Of the candidate, from 0."""
    written: int
    """Candidates that were written, those of its round among them that came too late."""
    met: frozenset[str]
    """Dimensions whose demand it meets."""
    placed: frozenset[str] = frozenset()
    """Dimensions whose value was put into it."""


class Placement(NamedTuple):
    """What is to be put into one of some candidates, which lack nothing else, or the least."""

    dimension: str
    value: str
    candidates: tuple[int, ...]
    """Their numbers."""
    attempt: int = 0


def _is_read_by_words(dimension: Dimension) -> bool:
    """Return whether a value of a dimension is found in a reply by its words or its form alone;
    else an encoder must read it.
    """
    return not dimension.labels or reader(dimension.reader).exact


def needs_encoder(names: Iterable[str], space: LatentSpace) -> bool:
    """Return whether an encoder must read a value of any of some dimensions."""
    return any(not _is_read_by_words(space.by_name[name]) for name in names)


def placeable(demands: Mapping[str, Demand], space: LatentSpace) -> frozenset[str]:
    """Return the dimensions whose demand a value that is put into a reply would meet."""
    return frozenset(
        name
        for name, demand in demands.items()
        if demand.shown
        and reader(space.by_name[name].reader).verbatim
        and len(demand.value) <= LONGEST_PUT
    )


def rounds(candidates: int, first: int) -> Iterator[range]:
    """Yield the numbers of the candidates that are written together, round by round.

    >>> [len(part) for part in rounds(16, 4)], [len(part) for part in rounds(16, 1)]
    ([4, 4, 8], [1, 1, 2, 4, 8])
    """
    start = 0
    while start < candidates:
        stop = min(candidates, max(first, 2 * start))
        yield range(start, stop)
        start = stop


def candidate_key(key: str, number: int) -> str:
    """Return the key of a candidate's draws; the first one is the reply as it would be without."""
    return key if number == 0 else f"{key}|{number}"


def opened(
    engine: PlacingEngine, request: Request, found: Placement, lacking: Sequence[str], *, seed: int
) -> Request:
    """Return the request for a reply that begins as one of some candidates and goes on with the
    value that they lack.

    Args:
        lacking: the candidates' texts.
    """
    key = f"{request.key}|{found.dimension}|{found.attempt}"
    draw = uniform("place", seed, key)
    opening = engine.place(request, lacking, found.value, draw=draw)
    return replace(request, key=key, opening=opening)


class Judge:
    """A reader of candidates: which demands each of them meets.

    Args:
        encoder: called once, when a demand is on a dimension that only an encoder can read.
    """

    def __init__(self, encoder: Callable[[], Encoder], space: LatentSpace) -> None:
        self._load, self.space = encoder, space

    @cached_property
    def _encoder(self) -> Encoder:
        return self._load()

    def met(
        self,
        candidates: Sequence[tuple[Pair, Mapping[str, Demand]]],
        dialogues: Mapping[str, Dialogue],
    ) -> list[frozenset[str]]:
        """Return, for each candidate, the dimensions whose demand it meets.

        Args:
            candidates: (pair with the candidate as its response, demands). An empty reply meets
                none.
        """
        read = self._read(candidates, dialogues)  # None where the reading failed
        result: list[frozenset[str]] = []
        for number, (pair, demands) in enumerate(candidates):
            met: set[str] = set()
            for name, demand in demands.items():
                dimension = self.space.by_name[name]
                values = read.get(number)
                if _is_read_by_words(dimension):
                    shown = reader(dimension.reader).shows(demand.value, pair.response)
                elif values is None:
                    continue
                else:
                    shown = values.get(name) == demand.value
                if shown == demand.shown and pair.response.strip():
                    met.add(name)
            result.append(frozenset(met))
        return result

    def _read(
        self,
        candidates: Sequence[tuple[Pair, Mapping[str, Demand]]],
        dialogues: Mapping[str, Dialogue],
    ) -> dict[int, dict[str, str]]:
        """What the encoder reads of the candidates that it is needed for; none of those that it
        fails to read.
        """
        places = [
            number
            for number, (_, demands) in enumerate(candidates)
            if needs_encoder(demands, self.space)
        ]
        if not places:
            return {}
        # Two candidates of one context have one pair id; an encoder tells its answers by ids.
        pairs = [
            replace(candidates[number][0], pair_id=f"{candidates[number][0].pair_id}|{number}")
            for number in places
        ]
        encodings = list(self._encoder.encode(pairs, dialogues))
        ok = {e.pair_id: e.persona for e in encodings if e.status == "ok"}
        if all(e.status == "error" for e in encodings):
            raise EndpointError("the encoder answers nothing", fix="see that its server is there")
        return {
            number: {name: slot.value for name, slot in ok[pair.pair_id]}
            for number, pair in zip(places, pairs, strict=True)
            if pair.pair_id in ok
        }


class Candidates:
    """The candidates of one reply, and which of them is taken.

    Args:
        most: candidates that may be written.
        put: dimensions whose value can be put into a candidate.
    """

    def __init__(
        self, demands: Mapping[str, Demand], most: int, put: frozenset[str] = frozenset()
    ) -> None:
        self._demands, self._put, self._enough = demands, put, min(PLACED_FROM, most)
        self._met: list[frozenset[str]] = []
        self._blank: list[bool] = []
        self._placed: dict[int, frozenset[str]] = {}

    def add(self, met: Sequence[frozenset[str]], *, blank: Sequence[bool] = ()) -> bool:
        """Take what further candidates meet, in order; return whether one meets all.

        Args:
            blank: which of them say nothing; one is taken only where no other was written.
        """
        self._blank += blank or [False] * len(met)
        self._met += met
        return self.complete

    def add_placed(self, placement: Placement, met: frozenset[str]) -> bool:
        """Take what a candidate meets into which a value was put; return whether it is all."""
        earlier = self._placed.get(placement.candidates[0], frozenset())
        self._placed[len(self._met)] = earlier | {placement.dimension}
        return self.add([met])

    @property
    def placement(self) -> Placement | None:
        """Return which value is best put into a candidate, once so many are there that its place
        can be chosen; None where candidates lack something else, or it was tried.
        """
        missing = [frozenset(self._demands) - met for met in self._met]
        fit = [
            number
            for number, lacks in enumerate(missing)
            # One that took back what was put into it is no draw of those that lack it.
            if lacks and lacks <= self._put and not lacks & self._placed.get(number, frozenset())
        ]
        tries = len(self._placed)
        tried = tries >= PLACED_AGAIN * len(self._put)
        if self.complete or not fit or tried or self.written < self._enough:
            return None
        least = missing[min(fit, key=lambda number: (len(missing[number]), number))]
        name = next(name for name in self._demands if name in least)
        those = tuple(number for number in fit if missing[number] == least)
        return Placement(name, self._demands[name].value, those, tries)

    @property
    def placed(self) -> frozenset[str]:
        """Return the dimensions whose value was put into the candidate that is taken."""
        return self._placed.get(self.best[0], frozenset())

    @property
    def complete(self) -> bool:
        """Return whether a candidate meets all demands."""
        return frozenset(self._demands) in self._met

    @property
    def written(self) -> int:
        """Return how many were written."""
        return len(self._met)

    @property
    def best(self) -> tuple[int, frozenset[str]]:
        """Return the number of the candidate that is taken, and what it meets."""
        number = max(
            range(len(self._met)),
            key=lambda place: (len(self._met[place]), not self._blank[place], -place),
        )
        return number, self._met[number]


def write_accepted(
    engine: Engine,
    tasks: Sequence[Task],
    judge: Judge,
    dialogues: Mapping[str, Dialogue],
    config: GenerationConfig,
    *,
    candidates: int,
    seed: int,
    progress: Progress | None = None,
) -> list[Accepted]:
    """Return a reply to each task, in their order: the first candidate that meets its demands.

    A task without demands takes its first candidate. Values that are words are put into one of the
    first candidates where the engine can (`PlacingEngine`).

    Raises:
        ModelError: the engine fails.
    """
    places = isinstance(engine, PlacingEngine)
    chosen = [
        Candidates(
            task.demands,
            candidates,
            placeable(task.demands, judge.space) if places else frozenset(),
        )
        for task in tasks
    ]
    completions: list[list[Completion]] = [[] for _ in tasks]

    def write(asked: Sequence[tuple[int, Request]]) -> list[frozenset[str]]:
        """Writes further candidates of some tasks, and reads them."""
        requests = [request for _, request in asked]
        written = engine.complete(requests, config, seed=seed, progress=progress)
        for (place, _), one in zip(asked, written, strict=True):
            completions[place].append(one)
        texts = [
            (replace(tasks[place].pair, response=one.text), tasks[place].demands)
            for (place, _), one in zip(asked, written, strict=True)
        ]
        return judge.met(texts, dialogues)

    for numbers in rounds(candidates, FIRST_ROUND if len(tasks) == 1 else 1):
        waiting = [place for place, one in enumerate(chosen) if not one.complete]
        if not waiting:
            break
        # Of a task without demands the first candidate is the reply.
        asked = [
            (
                place,
                replace(tasks[place].request, key=candidate_key(tasks[place].request.key, number)),
            )
            for place in waiting
            for number in (numbers if tasks[place].demands else range(1))
        ]
        for (place, _), met in zip(asked, write(asked), strict=True):
            text = completions[place][chosen[place].written].text
            chosen[place].add([met], blank=[not text.strip()])
        while isinstance(engine, PlacingEngine) and (
            placements := {
                place: found for place, one in enumerate(chosen) if (found := one.placement)
            }
        ):
            asked = []
            for place, found in placements.items():
                lacking = [completions[place][number].text for number in found.candidates]
                request = opened(engine, tasks[place].request, found, lacking, seed=seed)
                asked.append((place, request))
            for (place, _), met in zip(asked, write(asked), strict=True):
                chosen[place].add_placed(placements[place], met)
    result: list[Accepted] = []
    for of_task, candidate in zip(completions, chosen, strict=True):
        number, best = candidate.best
        result.append(Accepted(of_task[number], number, candidate.written, best, candidate.placed))
    return result
