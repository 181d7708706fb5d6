"""Labelling functions that look for words: emoji, catchphrase, nickname, hobby. No evidence gives
None.

Each takes a reply and returns the value with its evidence span. They are deterministic and read
English and Chinese.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import regex

from vvae.core.text import Span, emoji_spans, find_phrase, is_unspaced, normal_form, words
from vvae.latent.readers.lexicon import default_lexicon

if TYPE_CHECKING:
    from vvae.latent.space import Dimension

__all__ = [
    "find_habit",
    "find_hobby",
    "find_nickname",
    "hobby_aliases",
    "read_catchphrase",
    "read_cue",
    "read_emoji",
    "read_hobby",
    "read_nickname",
]


DEGREES = "so|very|really|pretty|kind of|kinda|such|quite|super|too|just|always|a bit|a little|more"
I_AM = (
    rf"(?:i'?m|i am|i'?ve always been)\s+(?:(?:{DEGREES}|of)\s+){{0,3}}(?:an?\s+)?"
    rf"(?:(?:{DEGREES})\s+)?"
)
I_AM_UNSPACED = (
    "我(?:这个?人|自己|就是|是个?|比较|一直|太|很|挺|真的?|特别|有点儿?|好|超|最|也|个){0,3}"
)
"""How one begins to describe oneself; a cue that follows is meant of oneself."""


def read_emoji(reply: str) -> Span | None:
    """Return the emoji, emoticon, kaomoji or sticker used most often, of several the first."""
    spans = emoji_spans(reply)
    if not spans:
        return None
    counts = Counter(span.value for span in spans)
    return max(spans, key=lambda span: counts[span.value])


def read_cue(reply: str, dimension: Dimension) -> Span | None:
    """Return the label whose cues stand in the reply most often, at the first of them; None without
    any, or when two tie. Of a dimension that is read by self-description, a cue counts only where
    the writer says it of themself.

    Example:
        >>> from vvae.latent.space import load_space
        >>> personality = load_space().by_name["personality"]
        >>> read_cue("sorry, i'm just so lazy", personality)
        Span(value='lazy', start=7, end=23)
        >>> read_cue("my cat is lazy", personality) is None
        True
    """
    if not dimension.cues:
        return None
    pattern, label_of = _cues(dimension.cues, dimension.reader == "self-description")
    spans = [
        Span(label_of[normal_form(m["cue"])], m.start(), m.end()) for m in pattern.finditer(reply)
    ]
    distinct = Counter(
        label for label, _ in {(span.value, reply[span.start : span.end]) for span in spans}
    )
    best = distinct.most_common(2)
    if not best or (len(best) > 1 and best[0][1] == best[1][1]):
        return None
    return next(span for span in spans if span.value == best[0][0])


@lru_cache(maxsize=64)
def _cues(
    cues: tuple[tuple[str, tuple[str, ...]], ...], of_oneself: bool
) -> tuple[regex.Pattern[str], dict[str, str]]:
    """One pattern for all cues of a dimension, and the label of each."""
    label_of = {normal_form(cue): label for label, words in cues for cue in words}
    spaced, unspaced = ([c for c in label_of if is_unspaced(c) is kind] for kind in (False, True))
    i_am, i_am_unspaced = (I_AM, I_AM_UNSPACED) if of_oneself else ("", "")
    parts = []
    if spaced:
        words = rf"{i_am}(?P<cue>{_alternatives(spaced)})"
        parts.append(rf"(?<![\p{{L}}\p{{N}}]){words}(?![\p{{L}}\p{{N}}])")
    if unspaced:
        parts.append(rf"{i_am_unspaced}(?P<cue>{_alternatives(unspaced)})")
    denied = r"(?<!\bnot\s)(?<!n['’]?t\s)(?<![不没])"
    return regex.compile(
        denied + f"(?:{'|'.join(parts)})".replace("'", "['’]"), regex.IGNORECASE
    ), label_of


def find_habit(phrase: str, reply: str) -> Span | None:
    """Return where a set phrase stands in a reply; some short Chinese ones are parts of other
    words, too, and count as a clause of their own alone.

    >>> find_habit("中", "我中午在公司吃") is None, find_habit("中", "中啊，明天见")
    (True, Span(value='中', start=0, end=1))
    """
    if phrase not in default_lexicon().chinese_alone:
        return find_phrase(phrase, reply)
    match = _alone(phrase).search(reply)
    return None if match is None else Span(phrase, match.start(), match.start() + len(phrase))


@lru_cache(maxsize=64)
def _alone(phrase: str) -> regex.Pattern[str]:
    again = f"{phrase[-1]}*"  # 冲冲冲
    return regex.compile(
        rf"(?<![\p{{L}}\p{{N}}]){phrase}{again}[啊呀哦吧呢嘛啦了呗哈]{{0,2}}(?![\p{{L}}\p{{N}}])"
    )


def read_catchphrase(reply: str, own: Sequence[str]) -> Span | None:
    """Return the first phrase of the speaker's own list that stands in the reply."""
    return next((span for phrase in own if (span := find_habit(phrase, reply))), None)


# --- nickname -------------------------------------------------------------------------------------


def _alternatives(terms: Sequence[str]) -> str:
    return "|".join(
        regex.escape(term).replace(r"\ ", r"\s+") for term in sorted(terms, key=len, reverse=True)
    )


class _Calls(NamedTuple):
    """The ways to call somebody, in the order in which they are tried."""

    greeted: regex.Pattern[str]
    """hey love!"""
    leading: regex.Pattern[str]
    """babe, ..."""
    trailing: regex.Pattern[str]
    """..., love"""
    chinese: regex.Pattern[str]
    """亲爱的, ..."""
    chinese_greeted: regex.Pattern[str]
    """晚安宝贝"""
    by_name: regex.Pattern[str]
    """hi Robin!"""


@lru_cache(maxsize=1)
def _calls() -> _Calls:
    lexicon = default_lexicon()
    terms = _alternatives(lexicon.address_terms)
    # "man, that hurts" and "girl, ..." are sighs; at the start only these call somebody.
    leading = _alternatives(
        [
            t
            for t in lexicon.address_terms
            if t not in {"man", "boy", "girl", "love", "baby", "dear"}
        ]
    )
    greetings = _alternatives(sorted(lexicon.greetings))
    chinese = _alternatives([t for t in lexicon.chinese_address_terms if len(t) > 1])
    stop = r"(?=\s*(?:[,.!?~…;:)\n]|$))"
    edge = r"(?:^|[.!?\n,;~…]\s*)"
    zh_edge = r"(?:^|[，。！？,.!?～~\s])"
    return _Calls(
        regex.compile(rf"{edge}(?:(?:{greetings})\s+)(?P<name>{terms}){stop}", regex.IGNORECASE),
        regex.compile(rf"{edge}(?P<name>{leading})\s*,", regex.IGNORECASE),
        regex.compile(rf",\s*(?P<name>{terms})\s*(?:[.!?~…;\n]|$)", regex.IGNORECASE),
        regex.compile(
            rf"{zh_edge}(?P<name>{chinese})(?=[，。！？,.!?～~\s]|$|我|你|今|早|晚|在|快|别|来)"
        ),
        regex.compile(
            rf"(?:谢谢|你好|早安|晚安|早啊|好的|拜拜|加油)(?P<name>{chinese})(?=[，。！？,.!?～~\s]|$)"
        ),
        regex.compile(
            rf"{edge}(?:[Hh]ey|[Hh]i|[Hh]ello|[Tt]hanks|[Bb]ye)\s+(?P<name>\p{{Lu}}\p{{Ll}}{{1,14}}){stop}"
        ),
    )


def read_nickname(reply: str) -> Span | None:
    """Return what the speaker calls the listener: a term of address at a clause's edge, or a name
    after a greeting.
    """
    lexicon = default_lexicon()
    calls = _calls()
    for pattern in calls:
        for match in pattern.finditer(reply):
            name, form = match.group("name"), normal_form(match.group("name"))
            if pattern is calls.by_name and form in lexicon.markers | lexicon.function_words:
                continue
            as_written = pattern is calls.by_name and form not in lexicon.address_terms
            return Span(name if as_written else form, match.start("name"), match.end("name"))
    return None


def find_nickname(name: str, reply: str) -> Span | None:
    """Return what somebody took for a nickname, where the reply calls the other by it.

    A known term of address wherever it stands; another name between the edges of a clause or after
    a greeting.

    >>> find_nickname("Sunny", "night Sunny!")
    Span(value='sunny', start=6, end=11)
    >>> find_nickname("sunny", "it is sunny!") is None
    True
    """
    lexicon = default_lexicon()
    if normal_form(name) in {*lexicon.address_terms, *lexicon.chinese_address_terms}:
        return find_phrase(name, reply)
    greetings = _alternatives([*sorted(lexicon.greetings), *_GREETINGS])
    before = rf"(?:^|[,.!?~…;，。！？～\n]\s*|(?<![\p{{L}}])(?:{greetings})\s*)"
    after = r"(?=\s*(?:[,.!?~…;)，。！？～\n]|\p{Extended_Pictographic}|$))"
    called = regex.search(
        rf"{before}(?P<name>{_alternatives([name])}){after}", reply, regex.IGNORECASE
    )
    return Span(normal_form(name), called.start("name"), called.end("name")) if called else None


_GREETINGS = (
    *("night", "good night", "thanks", "thank you", "love you", "miss you", "bye", "sorry"),
    *("谢谢", "你好", "早安", "晚安", "早啊", "拜拜", "加油"),
)


# --- hobby ----------------------------------------------------------------------------------------

_LIKING = regex.compile(
    r"""(?:
      \b(?:i|we|i've|i'm|im|i'd)\b (?:['’](?:m|ve|d))? (?:\s+[\w'’]+){0,3}? \s+
      (?: love|loved|like|liked|enjoy|enjoyed|adore|prefer|into|play|played|playing
          |practice|practise|practicing
        | do(?!\s+(?:have|not|miss|you)\b)|go|went|been|started|learning|learned
        |passionate\ about|obsessed\ with|addicted\ to|fan\ of )\b
    | \b(?:my|favou?rite)\s+(?:\w+\s+)? (?:hobby|hobbies|pastime|passion|free\ time|thing\ to\ do)\b
      [^.!?\n]{0,12}? \b(?:is|are|includes?|was)\b
    | (?:我|咱|人家)[^，。！？,.!?\n]{0,6}? (?:喜欢|爱|热爱|迷上|常去|经常|在学|会)
    | 爱好(?:是|就是)?
    )""",
    regex.IGNORECASE | regex.VERBOSE,
)
_THING = (
    r"(?:is|are)\s+(?:\w+\s+){0,2}?my\s+(?:thing|favou?rite|passion|hobby|hobbies|life|jam)\b"
    r"|in\s+my\s+(?:free|spare)\s+time\b"
)
_HABITUALLY = (
    r"(?:(?:also|still|really|usually|often|mostly|always|sometimes|do|actually|just"
    r"|(?:love|like)\s+to)\s+)*"
)
_NOT = regex.compile(
    r"""\b(?: not|never|(?:do|did|would|is)n['’]?t|can['’]?t|cannot|hate|hated|if|wish|would
        |was\ going\ to )\b
    | 不|没|讨厌|要是|如果""",
    regex.IGNORECASE | regex.VERBOSE,
)
_SENTENCE = regex.compile(r"[^.!?;\n。！？；]+")
_REACH = 40
"""Characters after the frame in which the hobby must begin."""


@lru_cache(maxsize=1)
def _hobby_pattern() -> tuple[regex.Pattern[str], dict[str, str]]:
    names = {
        normal_form(a): name
        for name, aliases in default_lexicon().hobbies.items()
        for a in (*aliases, name)
    }
    spaced = [a for a in names if a.isascii()]
    unspaced = [a for a in names if not a.isascii()]
    pattern = rf"\b(?:{_alternatives(spaced)})\b|(?:{_alternatives(unspaced)})"
    return regex.compile(pattern, regex.IGNORECASE), names


@lru_cache(maxsize=1)
def _told_otherwise() -> tuple[regex.Pattern[str], dict[str, str]]:
    """A hobby that is its own verb ("i hike a lot"), or that is called one afterwards ("chess is my
    thing").
    """
    names, verbs = _hobby_pattern()[1], default_lexicon().pursuits
    spaced = _alternatives([a for a in names if a.isascii()])
    pattern = (
        rf"\b(?:i|we)\s+{_HABITUALLY}(?P<hobby>{_alternatives(list(verbs))})\b(?!\s+(?:you|him|her|it|them|that|up)\b)"
        rf"|\b(?P<hobby>{spaced})\b[^.!?\n]{{0,12}}?\b(?:{_THING})"
    )
    return regex.compile(pattern, regex.IGNORECASE), {**names, **verbs}


@lru_cache(maxsize=1)
def _hobby_mention() -> regex.Pattern[str]:
    """Any hobby or pursuit, in whatever words around it."""
    verbs = _alternatives(list(default_lexicon().pursuits))
    return regex.compile(rf"{_hobby_pattern()[0].pattern}|\b(?:{verbs})\b", regex.IGNORECASE)


def hobby_aliases(hobby: str) -> tuple[str, ...]:
    """Return all ways to mention a hobby; the value itself where it is not in the gazetteer."""
    return (hobby, *default_lexicon().hobbies.get(hobby, ()))


def find_hobby(hobby: str, reply: str) -> Span | None:
    """Return a hobby that somebody named, where the reply shows it.

    One of the gazetteer wherever it is mentioned, under the gazetteer's name; another one where the
    speaker says to like or do it. A word that merely stands in the reply is no hobby, whoever says
    that it is.

    >>> find_hobby("playing the guitar", "just my ukulele lol")
    Span(value='guitar', start=8, end=15)
    >>> find_hobby("beekeeping", "honestly i love beekeeping")
    Span(value='beekeeping', start=16, end=26)
    >>> find_hobby("beekeeping", "beekeeping is mentioned") is None
    True
    """
    names = _hobby_pattern()[1]
    for entry in (names.get(part) for part in (normal_form(hobby), *words(hobby))):
        spans = (
            [span for alias in hobby_aliases(entry) if (span := find_phrase(alias, reply))]
            if entry
            else []
        )
        if entry and spans:
            first = min(spans, key=lambda span: (span.start, -span.end))
            return Span(entry, first.start, first.end)
    for sentence in _SENTENCE.finditer(reply):
        for end in _frames(sentence.group()):
            span = find_phrase(hobby, sentence.group()[end : end + _REACH + len(hobby)])
            if span:
                start = sentence.start() + end + span.start
                return Span(span.value, start, start + span.end - span.start)
    return None


def read_hobby(reply: str) -> Span | None:
    """Return the first hobby of the gazetteer that the speaker says to like or do, unless negated
    or wished.
    """
    pattern, names = _hobby_pattern()
    otherwise, verbs = _told_otherwise()
    if not _hobby_mention().search(reply):  # most replies end here
        return None
    for sentence in _SENTENCE.finditer(reply):
        text = sentence.group()
        for end in _frames(text):
            match = pattern.search(text, end, end + _REACH + 24)
            if (
                match
                and match.start() <= end + _REACH
                and not _NOT.search(text, end, match.start())
            ):
                return _hobby(match.group(), names, sentence.start() + match.start())
        statement = otherwise.search(text)
        if statement and not _NOT.search(text, endpos=statement.end()):
            return _hobby(
                statement.group("hobby"), verbs, sentence.start() + statement.start("hobby")
            )
    return None


def _frames(sentence: str) -> Iterator[int]:
    """The ends of the frames in which the speaker says to like or do something,
    up to a negation.
    """
    for frame in _LIKING.finditer(sentence, overlapped=True):
        if _NOT.search(sentence, endpos=frame.end()):
            return
        yield frame.end()


def _hobby(mention: str, names: Mapping[str, str], start: int) -> Span:
    return Span(names[normal_form(mention)], start, start + len(mention))
