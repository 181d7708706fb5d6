"""Figures of texts, as pure functions: what one reply does, and what a body of replies does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from vvae.core.random import bits64
from vvae.core.text import is_unspaced, words

__all__ = [
    "as_far_by_chance",
    "asks",
    "bigrams",
    "distinct",
    "excess_divergence",
    "laughs",
    "longest_overlaps",
    "opener",
    "repetition",
    "simpson_diversity",
    "spoken_length",
]

_LAUGHTER = regex.compile(
    r"(?<![\p{L}])(?:a*(?:ha){2,}h?|(?:he){2,}|(?:hi){2,}|a*(?:ja){2,}|lo+l(?:ol)*|lmf?ao+|rofl|233+|w{3,})(?![\p{L}\p{N}]|\.\p{L})"
    r"|哈{2,}|嘿{2,}|呵{2,}|嘻{2,}|h{4,}|红红火火|笑死|[😂🤣😆😹]",
    regex.IGNORECASE,
)


def spoken_length(replies: Sequence[str]) -> float:
    """Return the mean number of words (characters in scripts without spaces) of a reply; 0 for
    none.
    """
    return sum(len(words(reply)) for reply in replies) / len(replies) if replies else 0.0


def repetition(replies: Sequence[str]) -> float:
    """Return the share of word trigrams that have been said before, in the replies together: 1 -
    distinct-3.

    It grows with the amount of text, so compare equal numbers of replies.

    >>> repetition(["a b c", "a b c"]), repetition(["a b c d"])
    (0.5, 0.0)
    """
    counts: Counter[tuple[tuple[str, str], tuple[str, str]]] = Counter()
    for reply in replies:
        counts.update(pairwise(pairwise(words(reply))))
    return 1 - len(counts) / counts.total() if counts else 0.0


def asks(reply: str) -> bool:
    """Return whether a reply asks something: it has a question mark.

    >>> asks("and you?"), asks("你呢？"), asks("why not")
    (True, True, False)
    """
    return "?" in reply or "\uff1f" in reply


def laughs(reply: str) -> bool:
    """Return whether somebody laughs in a reply, in letters, characters or emoji.

    >>> laughs("hahaha no"), laughs("Lol"), laughs("哈哈哈"), laughs("he has a hat")
    (True, True, True, False)
    """
    return _LAUGHTER.search(reply) is not None


def opener(reply: str) -> str:
    """Return the first word of a reply; its first two characters in scripts without spaces.

    >>> opener("Oh no, not again"), opener("今天好冷")
    ('oh', '今天')
    """
    first_words = words(reply)[:2]
    return (
        "".join(first_words)
        if first_words and is_unspaced(first_words[0])
        else "".join(first_words[:1])
    )


def longest_overlaps(replies: Sequence[str], training: Sequence[str]) -> list[int]:
    """Return of each reply the number of words in its longest run that stands, verbatim but for
    case, in one training reply.

    Each side is one array of word codes, with a 0 behind each text, which no run crosses::

        place      0     1     2   3    4      5  6   7    8    9
        training   they  went  to  the  beach  .  to  the  zoo  .
                   1     2     3   4    5      0  3   4    6    0
        replies    we    went  to  the  zoo    .  bye .
                   7     2     3   4    6      0  8   0

    The runs that both sides have are found by length. A run is known by the place where it starts,
    and has the same number wherever it stands, on either side. A run of one word more starts at
    the same place; the shorter run's number and the next word's code tell whether two are equal::

        length     starts in training  starts in replies   runs
        0          at every word       at every word       the empty one
        1          1 2 3 6 7 8         1 2 3 4             went, to, the, zoo
        2          1 2 6 7             1 2 3               went to, to the, the zoo
        3          1 6                 1 2                 went to the, to the zoo
        4          none                none

    >>> longest_overlaps(["we went to the zoo", "Bye"], ["they went to the beach", "to the zoo"])
    [3, 0]
    >>> longest_overlaps(["to the zoo", "The zoo", ""], ["go to the", "ZOO"])
    [2, 1, 0]
    """
    codes: dict[str, int] = {}

    def laid_out(texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the texts' word codes, from 1, with a 0 behind each text."""
        side: list[int] = []
        for text in texts:
            side += [codes.setdefault(word, len(codes) + 1) for word in words(text)]
            side.append(0)
        return np.asarray(side, dtype=np.int64)

    sides = [laid_out(training), laid_out(replies)]
    ends = sides[1] == 0
    reply_at = np.cumsum(ends) - ends  # which reply each place of the replies belongs to
    longest = np.zeros(len(replies), dtype=np.int64)
    length = 0
    starts = [np.flatnonzero(side) for side in sides]
    numbers = [np.zeros(len(start), dtype=np.int64) for start in starts]
    while all(map(len, starts)):
        longest[reply_at[starts[1]]] = length
        # No start leads past an end: a run is followed by a word or by the 0 behind its text.
        next_words = [side[start + length] for side, start in zip(sides, starts, strict=True)]
        keys = [
            number * (len(codes) + 1) + word
            for number, word in zip(numbers, next_words, strict=True)
        ]
        training_keys, reply_keys = (
            key[word > 0] for key, word in zip(keys, next_words, strict=True)
        )
        shared = np.intersect1d(training_keys, reply_keys)
        continued = [np.isin(key, shared) for key in keys]  # a key with word 0 is never shared
        starts = [start[goes_on] for start, goes_on in zip(starts, continued, strict=True)]
        numbers = [
            np.searchsorted(shared, key[goes_on])
            for key, goes_on in zip(keys, continued, strict=True)
        ]
        length += 1
    return [int(n) for n in longest]


def simpson_diversity(counts: Iterable[int]) -> float:
    """Return the probability that two of the things counted, drawn without return, differ; it does
    not grow with their number.

    >>> simpson_diversity([2, 2])
    0.6666666666666667
    """
    numbers = list(counts)
    n = sum(numbers)
    return 1 - sum(c * (c - 1) for c in numbers) / (n * (n - 1)) if n > 1 else float("nan")


def bigrams(reply: str) -> list[tuple[str, str]]:
    """Return the pairs of neighbouring words.

    >>> bigrams("so far so good")
    [('so', 'far'), ('far', 'so'), ('so', 'good')]
    """
    return list(pairwise(words(reply)))


def distinct(grams: Sequence[object]) -> float:
    """Return distinct-n (Li et al., arXiv 1510.03055): different n-grams as a share of all.

    It shrinks with the amount of text, so compare equal numbers.

    >>> distinct(["so far", "far so", "so far"])
    0.6666666666666666
    """
    return len(set(grams)) / len(grams) if grams else float("nan")


def excess_divergence(p: Mapping[str, int], q: Mapping[str, int], *, draws: int = 200) -> float:
    """Return the Jensen-Shannon divergence of two counts in bits, less what p would have by chance.

    A divergence of counts is never negative and grows as they get fewer, so that people themselves
    are at a distance from people. What it has by chance is the mean over as many labels as p holds,
    drawn from q: about 0 is then as near as can be, and n no longer matters.

    >>> excess_divergence({"a": 500, "b": 500}, {"a": 5000, "b": 5000}) <= 0
    True
    """
    observed, by_chance = _beside_chance(p, q, draws)
    return float(observed - by_chance.mean()) if len(by_chance) else float("nan")


def as_far_by_chance(p: Mapping[str, int], q: Mapping[str, int], *, draws: int = 2000) -> float:
    """Return the probability that as many labels as p holds, each drawn from q, are as far from q.

    >>> as_far_by_chance({"a": 90, "b": 10}, {"a": 50, "b": 50}) < 0.001
    True
    """
    observed, by_chance = _beside_chance(p, q, draws)
    if not len(by_chance):
        return float("nan")
    return float((1 + (by_chance >= observed).sum()) / (1 + len(by_chance)))


def _beside_chance(
    p: Mapping[str, int], q: Mapping[str, int], draws: int
) -> tuple[float, npt.NDArray[np.float64]]:
    """The divergence of p from q, and those of draws from q, shape (draws,); no draws without
    labels.
    """
    names = sorted({*p, *q})
    n, total = sum(p.values()), sum(q.values())
    if not n or not total:
        return float("nan"), np.empty(0)
    shares = np.asarray([q.get(name, 0) / total for name in names])
    chance = np.random.default_rng(bits64("excess divergence", n, *names)).multinomial(
        n, shares, size=draws
    )
    observed = np.asarray([p.get(name, 0) / n for name in names])
    return float(_divergence(observed, shares)), _divergence(chance / n, shares)


def _divergence(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> Any:
    """The Jensen-Shannon divergence of shares, in bits: of a row, or of each row of `a`."""
    middle = (a + b) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        halves = [np.where(side > 0, side * np.log2(side / middle), 0).sum(-1) for side in (a, b)]
    return np.maximum(0.0, sum(halves) / 2)
