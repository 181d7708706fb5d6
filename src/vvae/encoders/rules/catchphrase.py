"""Catchphrases: phrases a speaker uses far more than others do, mined on the training split.

A phrase is a set phrase and no content: a run of function words and discourse markers ("to be
honest", "oh my gosh"); in Chinese a marker or a whole short clause (真的假的). Its use is
measured in replies, by the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi
and Quinn 2008, "Fightin' Words", eq. 16-22): with y replies of n by the speaker, y' of n' by all
others, and a prior of `strength` replies at the corpus rate,

    delta = logit((y + a) / (n + A)) - logit((y' + a) / (n' + A))
    z     = delta / sqrt(1 / (y + a) + 1 / (y' + a))

Who has chats with one friend alone has one person to be compared with, and whatever that one does
not say would be a habit. So the language at large counts among the others, as `background` replies
(`weights/background.json`: rates of set phrases in public chat, English and Chinese).

A habit must not be the echo of one friend or one subject, so a phrase also needs several partners
and topics.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

import regex
from pydantic import BaseModel, ConfigDict, Field

from vvae.core.dialogue import Pair
from vvae.core.text import UNSPACED, normal_form
from vvae.latent.readers.lexical import find_habit
from vvae.latent.readers.lexicon import Lexicon, default_lexicon, is_torn

__all__ = [
    "Catchphrase",
    "CatchphraseConfig",
    "background_rate",
    "candidates",
    "lists_from",
    "log_odds",
    "mine",
]


class CatchphraseConfig(BaseModel):
    """A set of thresholds that make a phrase a catchphrase."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_z: float = Field(3.0, description="smallest z-score of the log-odds ratio")
    min_replies: int = Field(5, ge=2, description="replies of the speaker that contain it")
    min_rate: float = Field(
        0.02, ge=0, lt=1, description="share of the speaker's replies that contain it"
    )
    min_partners: int = Field(
        3, ge=1, description="partners it is said to (all of them, when the speaker has fewer)"
    )
    min_topics: int = Field(
        2, ge=1, description="prompts it is said under (dialogues, where there are none)"
    )
    max_words: int = Field(4, ge=1)
    # r counts replies with any phrase of the list, the benchmark the first one: longer lists
    # raise r above what people do with the phrase shown. Two brings both to one size (BYU corpus).
    max_phrases: int = Field(2, ge=1, description="length of a speaker's list")
    strength: float = Field(500.0, gt=0, description="weight of the Dirichlet prior, in replies")
    background: float = Field(
        2000.0, ge=0, description="weight of the language at large among the others, in replies"
    )


class Catchphrase(NamedTuple):
    """A phrase on a speaker's list."""

    phrase: str
    z: float
    replies: int
    """Training replies of the speaker that contain it."""
    partners: int


def lists_from(data: Mapping[str, Sequence[Sequence[Any]]]) -> dict[str, tuple[Catchphrase, ...]]:
    """Return lists of catchphrases by speaker, from plain data."""
    return {speaker: tuple(Catchphrase(*c) for c in phrases) for speaker, phrases in data.items()}


_CLAUSE = regex.compile(r"[^.,!?;:~…。，！？；：、～\n()\"“”*\-–—/]+")
_WORD = regex.compile(r"[\p{L}\p{N}]+(?:['’][\p{L}]+)*")
_UNSPACED_CLAUSE = regex.compile(rf"[{UNSPACED}]{{2,6}}")
_HAS_UNSPACED = regex.compile(rf"[{UNSPACED}]")


def candidates(reply: str, *, max_words: int = 4, lexicon: Lexicon | None = None) -> set[str]:
    """Return the set phrases in a reply, in normal form.

    >>> sorted(candidates("Oh my gosh! Fair enough, the pizza was cold", max_words=3))
    ['enough', 'fair', 'fair enough', 'gosh', 'my', 'my gosh', 'oh', 'oh my', 'oh my gosh']
    """
    lexicon = lexicon or default_lexicon()
    phrases: set[str] = set()
    for clause in _CLAUSE.findall(reply):
        there = (marker for marker in lexicon.chinese_markers if marker in clause)
        phrases |= {marker for marker in there if find_habit(marker, clause)}
        if _HAS_UNSPACED.search(clause):
            if _UNSPACED_CLAUSE.fullmatch(clause.strip()):
                phrases.add(clause.strip())
            continue
        tokens = [normal_form(word) for word in _WORD.findall(clause)]
        set_words = [t in lexicon.markers or t in lexicon.function_words for t in tokens]
        for start in range(len(tokens)):
            if not set_words[start]:
                continue
            for end in range(start + 1, min(start + max_words, len(tokens)) + 1):
                if not set_words[end - 1]:
                    break
                if any(t in lexicon.markers for t in tokens[start:end]):
                    phrases.add(" ".join(tokens[start:end]))
    return phrases


@lru_cache(maxsize=1)
def _background() -> Mapping[str, Any]:
    file = resources.files("vvae.encoders.rules").joinpath("weights/background.json")
    rates: Mapping[str, Any] = json.loads(file.read_text("utf-8"))
    return rates


def background_rate(phrase: str) -> float:
    """Return the share of replies of chat at large that contain a phrase, in its kind of script; 0
    where it stands in hardly any of them.

    >>> background_rate("of course") > background_rate("oh my gosh") > 0
    True
    """
    rates = _background()["unspaced" if _HAS_UNSPACED.search(phrase) else "spaced"]
    return float(rates["phrases"].get(phrase, 0) / rates["replies"])


def log_odds(y: int, n: int, y_rest: float, n_rest: float, strength: float) -> float:
    """Return the z-score of a phrase's log-odds ratio (module docstring).

    Args:
        y, n: replies of the speaker that contain the phrase, and all of them.
        y_rest, n_rest: the same of everybody else, the language at large among them.
        strength: weight A of the prior; a = A times the phrase's rate in the whole corpus.
    """
    a = min(strength * (y + y_rest) / (n + n_rest), strength - 0.5)
    own = math.log((y + a) / (n + strength - y - a))
    rest = math.log((y_rest + a) / (n_rest + strength - y_rest - a))
    return (own - rest) / math.sqrt(1 / (y + a) + 1 / (y_rest + a))


def mine(
    pairs: Iterable[Pair],
    topics: Mapping[str, str],
    config: CatchphraseConfig,
    lexicon: Lexicon | None = None,
) -> dict[str, tuple[Catchphrase, ...]]:
    """Return the list of each speaker who has one, mined on training pairs only.

    Args:
        topics: dialogue id -> its prompt or topic; a dialogue without one is a topic of its own.

    Returns:
        speaker -> catchphrases by falling z, at most `max_phrases`, none contained in a better one.
    """
    lexicon = lexicon or default_lexicon()
    train = [pair for pair in pairs if pair.split == "train"]
    replies = Counter(pair.speaker for pair in train)
    partners: dict[str, set[str]] = defaultdict(set)
    uses: dict[str, Counter[str]] = defaultdict(Counter)
    heard: dict[tuple[str, str], tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for pair in train:
        partners[pair.speaker].update(pair.listeners)
        for phrase in candidates(pair.response, max_words=config.max_words, lexicon=lexicon):
            uses[pair.speaker][phrase] += 1
            said_to, about = heard[pair.speaker, phrase]
            said_to.update(pair.listeners)
            about.add(topics.get(pair.dialogue, pair.dialogue))
    everybody: Counter[str] = Counter()
    for counter in uses.values():
        everybody.update(counter)
    lists: dict[str, tuple[Catchphrase, ...]] = {}
    for speaker in sorted(replies):
        n = replies[speaker]
        catchphrases = []
        for phrase, y in uses[speaker].items():
            said_to, about = heard[speaker, phrase]
            enough = (
                y >= config.min_replies
                and y >= config.min_rate * n
                and len(about) >= config.min_topics
            )
            if not enough or len(said_to) < min(config.min_partners, len(partners[speaker])):
                continue
            if (
                phrase in lexicon.never_alone
                or phrase in lexicon.function_words
                or is_torn(phrase, lexicon)
            ):
                continue
            others: float = everybody[phrase] - y
            n_others: float = len(train) - n
            if config.background:
                at_large = background_rate(phrase)
                others, n_others = (
                    others + config.background * at_large,
                    n_others + config.background,
                )
            z = log_odds(y, n, others, n_others, config.strength)
            if z >= config.min_z:
                catchphrases.append(Catchphrase(phrase, round(z, 3), y, len(said_to)))
        catchphrases.sort(key=lambda c: (-c.z, c.phrase))
        if best := _without_parts(catchphrases)[: config.max_phrases]:
            lists[speaker] = tuple(best)
    return lists


def _without_parts(catchphrases: Sequence[Catchphrase]) -> list[Catchphrase]:
    """Of two phrases of which one contains the other, keeps one.

    The longer, if it makes up most of the shorter's uses ("oh my gosh" and "gosh"), else the one
    with the higher z.
    """
    whole = [
        candidate
        for candidate in catchphrases
        if not any(
            _contains(other, candidate) and other.replies >= 0.8 * candidate.replies
            for other in catchphrases
        )
    ]
    result: list[Catchphrase] = []
    for candidate in whole:
        if not any(_contains(candidate, k) or _contains(k, candidate) for k in result):
            result.append(candidate)
    return result


def _contains(longer: Catchphrase, shorter: Catchphrase) -> bool:
    if _HAS_UNSPACED.search(shorter.phrase):
        return longer != shorter and shorter.phrase in longer.phrase
    return longer != shorter and f" {shorter.phrase} " in f" {longer.phrase} "
