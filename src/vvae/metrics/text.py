"""Figures of texts, as pure functions: what one reply does, and what a body of replies does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import regex

from vvae.core.text import is_unspaced, words

__all__ = [
    "asks",
    "bigrams",
    "distinct",
    "jensen_shannon",
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
    """Mean number of words (characters in scripts without spaces) of a reply; 0 for none."""
    return sum(len(words(reply)) for reply in replies) / len(replies) if replies else 0.0


def repetition(replies: Sequence[str]) -> float:
    """Share of word trigrams that have been said before, in the replies together: 1 - distinct-3.

    It grows with the amount of text, so compare equal numbers of replies.

    >>> repetition(["a b c", "a b c"]), repetition(["a b c d"])
    (0.5, 0.0)
    """
    counts: Counter[tuple[tuple[str, str], tuple[str, str]]] = Counter()
    for reply in replies:
        counts.update(pairwise(pairwise(words(reply))))
    return 1 - len(counts) / counts.total() if counts else 0.0


def asks(reply: str) -> bool:
    """Whether a reply asks something: it has a question mark.

    >>> asks("and you?"), asks("你呢？"), asks("why not")
    (True, True, False)
    """
    return "?" in reply or "\uff1f" in reply


def laughs(reply: str) -> bool:
    """Whether somebody laughs in a reply, in letters, characters or emoji.

    >>> laughs("hahaha no"), laughs("Lol"), laughs("哈哈哈"), laughs("he has a hat")
    (True, True, True, False)
    """
    return _LAUGHTER.search(reply) is not None


def opener(reply: str) -> str:
    """The first word of a reply; two characters in scripts without spaces.

    >>> opener("Oh no, not again"), opener("今天好冷")
    ('oh', '今天')
    """
    said = words(reply)[:2]
    return "".join(said) if said and is_unspaced(said[0]) else "".join(said[:1])


def longest_overlaps(replies: Sequence[str], training: Sequence[str]) -> list[int]:
    """Of each reply, the words in the longest run that stands, verbatim but for case, in one
    training reply.

    >>> longest_overlaps(["we went to the zoo", "Bye"], ["they went to the beach", "to the zoo"])
    [3, 0]
    """
    codes: dict[str, int] = {}

    def flat(texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Word codes from 1, and 0 behind each text."""
        said = [
            code
            for text in texts
            for code in (*(codes.setdefault(w, len(codes) + 1) for w in words(text)), 0)
        ]
        return np.asarray(said, dtype=np.int64)

    known, asked = flat(training), flat(replies)
    owners = np.cumsum(asked == 0) - (asked == 0)
    longest = np.zeros(len(replies), dtype=np.int64)
    run = 0
    # Starts of runs of `run` words that stand on both sides, each with its run's number; longer
    # runs from shorter ones.
    starts = [np.flatnonzero(known), np.flatnonzero(asked)]
    numbers = [np.zeros(len(s), dtype=np.int64) for s in starts]
    while all(map(len, starts)):
        longest[owners[starts[1]]] = run
        following = [side[s + run] for side, s in zip((known, asked), starts, strict=True)]
        keys = [n * (len(codes) + 1) + w for n, w in zip(numbers, following, strict=True)]
        goes_on = [w > 0 for w in following]
        shared = np.intersect1d(keys[0][goes_on[0]], keys[1][goes_on[1]])
        kept = [g & np.isin(k, shared) for k, g in zip(keys, goes_on, strict=True)]
        starts = [s[k] for s, k in zip(starts, kept, strict=True)]
        numbers = [np.searchsorted(shared, key[k]) for key, k in zip(keys, kept, strict=True)]
        run += 1
    return [int(n) for n in longest]


def simpson_diversity(counts: Iterable[int]) -> float:
    """The probability that two of the things counted, drawn without return, differ; it does not
    grow with their number.

    >>> simpson_diversity([2, 2])
    0.6666666666666667
    """
    held = list(counts)
    n = sum(held)
    return 1 - sum(c * (c - 1) for c in held) / (n * (n - 1)) if n > 1 else float("nan")


def bigrams(reply: str) -> list[tuple[str, str]]:
    """The pairs of neighbouring words.

    >>> bigrams("so far so good")
    [('so', 'far'), ('far', 'so'), ('so', 'good')]
    """
    return list(pairwise(words(reply)))


def distinct(grams: Sequence[object], among: int) -> float:
    """distinct-n (Li et al., arXiv 1510.03055): different n-grams of the first `among`, as a share.

    It shrinks with the amount of text, so compare equal numbers.

    >>> distinct(["so far", "far so", "so far"], 3)
    0.6666666666666666
    """
    some = grams[:among]
    return len(set(some)) / len(some) if some else float("nan")


def jensen_shannon(p: Mapping[str, int], q: Mapping[str, int]) -> float:
    """The Jensen-Shannon distance of two counts, base 2: 0 for equal shares, 1 where nothing is
    shared.

    >>> jensen_shannon({"a": 3}, {"b": 1}), jensen_shannon({"a": 1, "b": 1}, {"a": 2, "b": 2})
    (1.0, 0.0)
    """
    names = sorted({*p, *q})
    a, b = (np.asarray([counts.get(name, 0) for name in names], dtype=float) for counts in (p, q))
    if not a.sum() or not b.sum():
        return float("nan")
    a, b = a / a.sum(), b / b.sum()
    middle = (a + b) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = sum(
            np.where(side > 0, side * np.log2(side / middle), 0).sum() / 2 for side in (a, b)
        )
    return float(np.sqrt(max(0.0, divergence)))
