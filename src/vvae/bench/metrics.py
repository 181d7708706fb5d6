"""The rates of HumanChatBench as pure functions on replies. Reconstructed: the paper gives CP's target and no
formula for EC and HM.

CP  share of replies that contain the catchphrase shown
EC  share of replies that contain the emoji (or emoticon) shown
HM  share of replies that mention the hobby shown, by name or alias
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from vvae.encoder.lexical import hobby_aliases
from vvae.language import emoji_spans, find_phrase, normal_form, words
from vvae.persona import Reader

__all__ = ["METRICS", "emoji_consistency", "repetition", "shows", "spoken_length"]

METRICS: dict[str, Reader] = {"CP": "catchphrase", "EC": "emoji", "HM": "hobby"}
"""Metric -> the labelling function whose dimension it scores."""


def shows(metric: str, value: str, reply: str) -> bool:
    """Whether a reply shows a value, as the metric counts it.

    >>> shows("CP", "oh no", "Oh no!!"), shows("EC", ":)", "fine :-("), shows("HM", "hiking", "went on a hike")
    (True, False, True)
    """
    match METRICS[metric]:
        case "emoji":
            wanted = normal_form(value)
            return any(normal_form(span.value) == wanted for span in emoji_spans(reply))
        case "hobby":
            return any(find_phrase(alias, reply) for alias in hobby_aliases(value))
        case _:
            return find_phrase(value, reply) is not None


def emoji_consistency(replies: Iterable[tuple[str, Sequence[str]]]) -> tuple[int, int]:
    """Of the replies with any emoji, how many hold one of the profile's: (such replies, replies with emoji).

    Args:
        replies: (reply, the profile's emoji).
    """
    own = bearing = 0
    for reply, profile in replies:
        found = {normal_form(span.value) for span in emoji_spans(reply)}
        bearing += bool(found)
        own += bool(found & {normal_form(value) for value in profile})
    return own, bearing


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
