"""Text as people write it in chat, in any script: words, phrases in text, emoji, length.

The rules are meant for English and Chinese and are Unicode-wide where they can be: a script that
puts spaces between words has word boundaries, one that does not is searched by substring.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import emoji
import regex

__all__ = [
    "Span",
    "emoji_spans",
    "estimated_tokens",
    "find_phrase",
    "is_unspaced",
    "normal_form",
    "opening",
    "words",
]

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that write no spaces between words."""
WORD_BEGINS = rf"(?:(?<![\p{{L}}\p{{N}}])|(?<=[{UNSPACED}]))"
WORD_ENDS = rf"(?:(?![\p{{L}}\p{{N}}])|(?=[{UNSPACED}]))"
"""Where a word of a script with spaces begins and ends; it may stand beside one without: ok的."""

_WORD = regex.compile(rf"[{UNSPACED}]|[\p{{L}}\p{{N}}](?:[\p{{L}}\p{{M}}\p{{N}}]|['’](?=\p{{L}}))*")
_UNSPACED_CHARACTER = regex.compile(rf"[{UNSPACED}]")

# The faces people type. Longest first; a face must not touch a letter or digit, so "http://" and
# "10:3" are none.
_EMOTICON = regex.compile(
    r"""(?<!\p{N})[:;=]['-]?[)(]+(?![\p{L}\p{N}/])   # yes:) also right after a word
    | (?<![\p{L}\p{N}])(?:
      [<>}]?[:;=][\-'’o^*]?[)\](\[dDpPoO3/\\|@$*sSxXcC><]{1,4}   # :-) ;D =( :'( >:(
    | [8xX][\-'’^*][)\](\[dDpPoO3/\\|@$*<>]{1,4} | [8xX][)\](\[@$*<>]{1,4} | [xX]D+   # 8-) XD
    | [)\](\[dD/\\|>][\-'o^]?[:;=](?![\p{L}\p{N}/])               # (: D: reversed
    | <3+ | </3 | >[._]<
    | [\^\-><TtQqoOuUvV;=]_+[\^\-><TtQqoOuUvV;=.]                  # ^_^ -_- T_T o_O
    | \^{2} | \^-\^ | \\o/ | o/(?=\s|$)
    )(?![\p{L}\p{N}/])""",
    regex.VERBOSE,
)
_NOT_A_FACE = regex.compile(
    r"8[)\](\[]|[xX][)\](\[/\\|]|[)\]]:|\]=|\)=|\|:|/:|/=|>=|>:|[dD]=|[:;=][sScCxX]|<3{3,}"
)
_KAOMOJI = regex.compile(r"[(（ʕ][^()（）ʕʔ\n]{2,12}[)）ʔ](?:[ﾉノoシ]|︵ ?┻━┻|_/¯)?|¯\\_\(ツ\)_/¯")
_FACE_PART = regex.compile(r"[\^´｀`ω∀дД≧≦▽°□ツ╯╰•ᴥ﹏◕‿⊙ಠ益ﾟ；;><*･。¬_'=~～]")
_IN_A_FACE_NEVER = regex.compile(r"[a-zA-Z]{2}|\p{Han}{2}|\d|[.,!?，。！？]\s")
# WeChat and QQ write stickers as a bracketed name: [捂脸] [Facepalm] [doge].
_STICKER = regex.compile(
    r"\[(?!(?:图片|照片|相册|视频|语音|文件|链接|位置|名片|红包|转账|聊天记录|Photo|Image|Picture|Video"
    r"|Voice|Audio|File|Link|Location|Contact|Document)\])(?:\p{Han}{1,4}|[A-Z][a-z]{2,11}|doge|emm)\]|/:[:\w\-!@#$%^&*()<>]{1,10}(?=\s|$)"
)


class Span(NamedTuple):
    """A piece of text and where it stands: text[start:end] == value (up to case)."""

    value: str
    start: int
    end: int


def words(text: str) -> list[str]:
    """Return the words of a text, case-folded; a character each in scripts without spaces."""
    return [match.group().replace("’", "'") for match in _WORD.finditer(text.casefold())]


def opening(text: str, number: int) -> str:
    """Return a text as far as its `number`-th word, and what follows that without a letter; emoji,
    emoticons and stickers are no words, and stay whole.

    >>> opening("Oh no! Not again", 2), opening("哈哈 好的", 3), opening("ok :D bye", 1)
    ('Oh no! ', '哈哈 好', 'ok :D ')
    """
    starts = [match.start() for match in _WORD.finditer(text)]
    if len(starts) <= number:
        return text
    whole = emoji_spans(text)
    starts = [at for at in starts if not any(span.start <= at < span.end for span in whole)]
    return text if len(starts) <= number else text[: starts[number]]


def is_unspaced(phrase: str) -> bool:
    """Return whether a phrase is of a script without spaces, in which a word may begin and end
    anywhere.
    """
    return _UNSPACED_CHARACTER.search(phrase) is not None


def normal_form(phrase: str) -> str:
    """Return the form in which phrases are compared and counted: case-folded, plain apostrophes,
    single spaces.
    """
    return " ".join(phrase.casefold().replace("’", "'").split())


@lru_cache(maxsize=65536)
def _phrase_pattern(phrase: str) -> regex.Pattern[str]:
    body = r"\s+".join(regex.escape(word).replace("'", "['’]") for word in phrase.split())
    left, right = (
        "" if _UNSPACED_CHARACTER.match(end) or not end.isalnum() else beside
        for end, beside in ((phrase[0], WORD_BEGINS), (phrase[-1], WORD_ENDS))
    )
    return regex.compile(left + body + right, regex.IGNORECASE)


def find_phrase(phrase: str, text: str) -> Span | None:
    """Return the first occurrence of a phrase: at word boundaries, by substring in scripts without,
    case-folded.

    >>> find_phrase("oh no", "Ah. Oh  no!")
    Span(value='oh no', start=4, end=10)
    >>> find_phrase("no", "I know") is None
    True
    """
    phrase = normal_form(phrase)
    if not phrase:
        return None
    match = _phrase_pattern(phrase).search(text)
    return None if match is None else Span(phrase, match.start(), match.end())


def emoji_spans(text: str) -> list[Span]:
    """Return emoji (ZWJ sequences whole), emoticons, kaomoji and bracket stickers, in order of
    appearance.

    >>> [span.value for span in emoji_spans("ok 👩‍🚀 :) [捂脸] (^_^)")]
    ['👩\u200d🚀', ':)', '[捂脸]', '(^_^)']
    """
    if text.isascii() and not _EMOTICON_HINT.search(text):
        return []
    spans = (
        []
        if text.isascii()
        else [Span(e["emoji"], e["match_start"], e["match_end"]) for e in emoji.emoji_list(text)]
    )
    spans += [Span(m.group(), m.start(), m.end()) for m in _STICKER.finditer(text)]
    spans += [Span(m.group(), *m.span()) for m in _KAOMOJI.finditer(text) if _is_kaomoji(m.group())]
    for match in _EMOTICON.finditer(text):
        if not _NOT_A_FACE.fullmatch(match.group()):
            spans.append(Span(match.group(), *match.span()))
    spans.sort(key=lambda span: (span.start, -span.end))
    kept: list[Span] = []
    for span in spans:
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


def _is_kaomoji(text: str) -> bool:
    return len(_FACE_PART.findall(text)) >= 2 and not _IN_A_FACE_NEVER.search(text)


_EMOTICON_HINT = regex.compile(r"[:;=<>^_\\\[(]|\b[xX]D")


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a language model makes of a text, from above and without its
    tokenizer.

    One for each character of an unspaced script, else one per 3.5 characters, plus the turn's
    frame. It cuts windows: pairs must not change when the model does.
    """
    unspaced = len(_UNSPACED_CHARACTER.findall(text))
    return unspaced + -(-2 * (len(text) - unspaced) // 7) + 6
