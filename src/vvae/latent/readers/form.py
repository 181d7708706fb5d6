"""Form: what is visible in every reply, whatever it says. Read by rules, in any script, never null.

Each function returns a value of a closed dimension whose labels stand in the space file; the
evidence is the whole reply. A value is a word that a person would choose: ``length: short``.
"""

from __future__ import annotations

from collections.abc import Callable

import regex

from vvae.core.dialogue import BURST
from vvae.core.text import Span, emoji_spans, is_unspaced, words

__all__ = ["FORMS", "read_form"]

LENGTHS = ((3, "a word or two"), (8, "short"), (16, "medium"), (32, "long"))
"""Most words of a class; above the last one a reply is very long."""
CHARACTERS_A_WORD = 1.6
"""Of Chinese and other scripts without spaces: a rough mean of running text."""

_SHOUTED = regex.compile(r"\b\p{Lu}{2,}(?:\W+\p{Lu}{2,})+\b")
FEWEST_SHOUTED = 4
"""Capital letters of a shouted reply that has no two such words in a row."""
_SENTENCE = regex.compile(r"(?:^|[.!?]\s+|\n)\W*(\p{L})")
_STRETCHED = regex.compile(r"(\p{L})\1{2,}|[!?！？]{2,}|([~～])\2+", regex.IGNORECASE)
_LAUGHTER = {
    "haha": (
        r"(?<![a-z])(?:(?:b|m|mu)?w?a?(?:ha[ -]?){2,}h?|(?:he[ -]?){2,}h?|a?haha+[a-z]*|hihi+|hh+"
        r"|(?:ja){2,}j?)(?![a-z])|[哈嘿呵嘻]{2,}|[ㅋㅎ]{2,}"
        r"|(?<=[\p{Han}\p{Hiragana}\p{Katakana}])(?-i:w+)(?![a-z])|(?m:^w{2,}$)"
    ),
    "lol": (
        r"(?<![a-z])(?:(?:lo)+l+|lo+l+|lmf?ao+|rofl|lolz|xd+)(?![a-z])|笑死|xswl|(?<!\d)233+(?!\d)"
        r"|😂|🤣|😆"
    ),
}
_LAUGHS = [(name, regex.compile(pattern, regex.IGNORECASE)) for name, pattern in _LAUGHTER.items()]
_SHORTHAND = regex.compile(
    r"(?<![a-z0-9]|[a-z]['’])(?:(?<![&.\-])[urynk](?![&.\-'’][a-z])|ur|kk|pls|plz|thx|ty|np|idk"
    r"|idc|ikr|imo|imho|tbh|btw|omg|omfg|wtf|wth|ffs|fyi|brb|gtg|g2g|ttyl|rn|nvm|smh|ngl|bc|cuz|coz|tho|thru|gonna|wanna|gotta|kinda|sorta"
    r"|lemme|gimme|dunno|ya|yea|yeh|nah|dont|didnt|doesnt|cant|wont|wasnt|isnt|arent|couldnt|im"
    r"|ive|thats|whats|youre|theyre|2day|2moro|tmrw|l8r|gr8|b4|emo"
    r"|(?<!(?:the|a|no|any|good|great|root|main|worthy) )cause(?! (?:of|for)\b))(?![a-z0-9'’])"
    r"|yyds|xswl|nsdd|awsl|zqsg|u1s1|dbq|plmm",
    regex.IGNORECASE,
)
_QUESTION = regex.compile(r"[?？]|(?:[吗呢嘛]|(?<![什怎这那多要])么)(?:[。.!！~～\s]*$|\n)|吗[，,]")
# Chinese asks without a mark, too: what, who, how; or "is or is not". Not "whatever ... all", nor
# "there is still what".
_ASKING_WORD = regex.compile(
    r"(?<!不(?:知道|晓得|清楚|明白|记得)[^，。,.!！?？\s]{0,6})"
    r"(?:(?<!没|没有|不管|不论|无论|管他|管你|随便|还有|不|个|好|十|这|那|前)"
    r"(?:为什么|为啥|干什么|干啥|什么|啥|怎么(?!可能|能|会|也|都)|咋|谁(?!知道|都)"
    r"|哪(?!都|怕|有(?!什么))|几点|几个|几岁|多少(?!有|会|还)|多大|多久|多长|多远|干嘛|干吗)(?![^，。,.!！?？\s]{0,4}[都也])"
    r"|(?<!管|论)(?:(?<!不)是不是(?!的)|有没有|能不能|要不要|好不好|行不行|对不对|可不可以|会不会"
    r"|知不知道|认不认识|想不想|去不去|吃不吃|来不来))"
)
_LAUGHED = regex.compile(r"[哈嘿呵嘻]{2,}|(?<![a-z])(?:lo+l+|xd+)(?![a-z])", regex.IGNORECASE)
"""What may stand behind a question without making it none."""


def _length(reply: str) -> str:
    count = sum(1 / CHARACTERS_A_WORD if is_unspaced(word) else 1 for word in words(reply))
    return next((name for most, name in LENGTHS if count <= most), "very long")


def _messages(reply: str) -> str:
    return ("one", "two", "three or more")[min(reply.strip(BURST).count(BURST), 2)]


def _case(reply: str) -> str:
    letters = [letter for letter in reply if letter.isupper() or letter.islower()]
    if not letters:
        return "no letters"
    capital = sum(letter.isupper() for letter in letters)
    every = sum(map(str.isalpha, reply))  # Chinese ones, too: 我在IKEA does not shout
    if _SHOUTED.search(reply) or (capital >= FEWEST_SHOUTED and 3 * capital > 2 * every):
        return "shouted"
    begins = [letter for letter in _SENTENCE.findall(reply) if letter.isupper() or letter.islower()]
    return "lower" if begins and not any(letter.isupper() for letter in begins) else "usual"


def _ending(reply: str) -> str:
    end = reply.rstrip()
    if any(span.end == len(end) for span in emoji_spans(end)):
        return "emoji"
    if regex.search(r"(?:\.\.+|…|。。+)$", end):
        return "dots"
    last = end[-1:]
    if last in ("?", "？"):
        return "question mark"
    if last in ("!", "！"):
        return "exclamation mark"
    return "full stop" if last in (".", "。") else "none"


def _stretching(reply: str) -> str:
    return "some" if _STRETCHED.search(reply) else "none"


def _laughter(reply: str) -> str:
    return next((name for name, pattern in _LAUGHS if pattern.search(reply)), "none")


def _shorthand(reply: str) -> str:
    return "some" if _SHORTHAND.search(reply) else "none"


def _question(reply: str) -> str:
    said = reply
    for span in reversed(emoji_spans(reply)):
        said = said[: span.start] + said[span.end :]
    said = _LAUGHED.sub("", said)
    asks = _QUESTION.search(said) or _ASKING_WORD.search(said)
    return "asks" if asks else "does not ask"


FORMS: dict[str, Callable[[str], str]] = {
    "length": _length,
    "messages": _messages,
    "case": _case,
    "ending": _ending,
    "stretching": _stretching,
    "laughter": _laughter,
    "shorthand": _shorthand,
    "question": _question,
}
"""Reader name -> the value of a reply."""


def read_form(name: str, reply: str) -> Span:
    """Return the value of a dimension of form; the evidence is the reply.

    Example:
        >>> reply = "sooo good lol"
        >>> [read_form(name, reply).value for name in ("length", "case", "stretching", "laughter")]
        ['a word or two', 'lower', 'some', 'lol']
    """
    return Span(FORMS[name](reply), 0, len(reply))
