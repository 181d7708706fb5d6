"""Readers: how a value of a dimension is found in a reply, and what follows from that.

A latent space names a reader for each dimension. Everything that depends on it stands here, in one
object of one registry: what the default encoder reads, what of a language model's answer is
accepted, what such a model is asked for, whose turns count in a conversation, and when a reply
counts as showing a value. `register` adds another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from vvae.core.errors import ConfigError, choose_from
from vvae.core.text import Span, emoji_spans, find_phrase, normal_form
from vvae.latent.readers.form import FORMS, read_form
from vvae.latent.readers.lexical import (
    find_habit,
    find_hobby,
    find_nickname,
    hobby_aliases,
    read_catchphrase,
    read_emoji,
    read_hobby,
    read_nickname,
)

__all__ = ["Reader", "known", "reader", "register"]


def _same(value: str, reply: str) -> bool:
    return find_phrase(value, reply) is not None


def _no_names(text: str) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Reader:
    """A way to find a dimension's value in a reply.

    Example:
        >>> reader("hobby").read("i love hiking", ()).value
        'hiking'
        >>> reader("emoji").shows(":)", "fine :)")
        True
    """

    name: str
    """What latent-space files call it."""
    read: Callable[[str, Sequence[str]], Span | None] | None
    """(reply, the speaker's own phrases) -> the value and where it stands; None: a reading by the
    signs of the dimension's labels, which is the encoder's own."""
    ground: Callable[[str, str, Sequence[str]], Span | str]
    """(value named by a language model, reply, the speaker's own phrases) -> where the reply shows
    it, or why the value is rejected. Labels of closed dimensions are not asked about."""
    asked_as: str
    """What a language model is told a value of an open dimension looks like."""
    owner: Literal["writer", "anyone"] = "anyone"
    """Whose turns say something of the persona in a conversation: only its own, or anybody's."""
    shows: Callable[[str, str], bool] = _same
    """(value, reply) -> whether the reply shows the value, as the metrics count it."""
    exact: bool = False
    """Whether it reads every reply, and is never wrong: no language model is asked then."""
    names_of: Callable[[str], tuple[str, ...]] = _no_names
    """A label file's words -> the names that this reader gives them."""

    @property
    def verbatim(self) -> bool:
        """Return whether a value is itself a piece of the reply that shows it."""
        return self.asked_as == VERBATIM


def _in_reply(span: Span | None) -> Span | str:
    return "not in the reply" if span is None else span


def _habit(value: str, reply: str, phrases: Sequence[str]) -> Span | str:
    """Accept only the speaker's own phrases: r is the rate that a trained decoder shows one at."""
    if find_habit(value, reply) is None:
        return "not in the reply"
    own = [
        phrase
        for phrase in phrases
        if find_phrase(phrase, normal_form(value)) or normal_form(value) == phrase
    ]
    span = read_catchphrase(reply, own)
    return "no habit of the speaker" if span is None else span


def _emoji_in(value: str, reply: str, _: Sequence[str]) -> Span | str:
    return _in_reply(next((span for span in emoji_spans(reply) if span.value in value), None))


def _shows_habit(value: str, reply: str) -> bool:
    return find_habit(value, reply) is not None


def _shows_emoji(value: str, reply: str) -> bool:
    form = normal_form(value)
    return any(normal_form(span.value) == form for span in emoji_spans(reply))


def _shows_hobby(value: str, reply: str) -> bool:
    return any(find_phrase(alias, reply) for alias in hobby_aliases(value))


def _hobby_names(text: str) -> tuple[str, ...]:
    span = find_hobby(text, text)  # "playing guitar" is the gazetteer's "guitar"
    return (span.value,) if span else ()


def _form(name: str) -> Reader:
    """A reader of a visible property of a reply: exact, so a model's reading of it is checked."""

    def ground(value: str, reply: str, _: Sequence[str]) -> Span | str:
        span = read_form(name, reply)
        return span if span.value == value else "not so in the reply"

    return Reader(
        name,
        lambda reply, _: read_form(name, reply),
        ground,
        "one of the labels",
        owner="writer",
        shows=lambda value, reply: read_form(name, reply).value == value,
        exact=True,
    )


VERBATIM = "copied from the reply, letter by letter"

_REGISTRY: dict[str, Reader] = {
    entry.name: entry
    for entry in (
        Reader(
            "catchphrase", read_catchphrase, _habit, VERBATIM, owner="writer", shows=_shows_habit
        ),
        Reader(
            "emoji", lambda reply, _: read_emoji(reply), _emoji_in, VERBATIM, shows=_shows_emoji
        ),
        Reader(
            "nickname",
            lambda reply, _: read_nickname(reply),
            lambda value, reply, _: _in_reply(find_nickname(value, reply)),
            VERBATIM,
            owner="writer",
        ),
        Reader(
            "hobby",
            lambda reply, _: read_hobby(reply),
            lambda value, reply, _: _in_reply(find_hobby(value, reply)),
            "one to three words",
            shows=_shows_hobby,
            names_of=_hobby_names,
        ),
        *(_form(name) for name in FORMS),
        *(
            Reader(
                name,
                None,
                lambda value, reply, _: _in_reply(find_phrase(value, reply)),
                "one to three words",
            )
            for name in ("prototype", "cue", "self-description")
        ),
    )
}


def reader(name: str) -> Reader:
    """Return the reader of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _REGISTRY:
        raise ConfigError(f"unknown reader {name!r}", fix=choose_from(name, _REGISTRY))
    return _REGISTRY[name]


def known() -> tuple[str, ...]:
    """Return the names of all readers."""
    return tuple(_REGISTRY)


def register(new: Reader) -> Reader:
    """Make a reader known to latent spaces, encoders and metrics; return it.

    Raises:
        ConfigError: another one has its name.

    Example:
        >>> import re
        >>> def find_year(reply, phrases):
        ...     found = re.search("(19|20)[0-9]{2}", reply)
        ...     return Span(found[0], *found.span()) if found else None
        >>> year = Reader("year", find_year, lambda v, r, p: find_year(r, p) or "no year", "a year")
        >>> register(year).read("back in 1999", ())
        Span(value='1999', start=8, end=12)
    """
    if _REGISTRY.get(new.name, new) is not new:
        raise ConfigError(f"a reader {new.name!r} is there already", fix="give it another name")
    _REGISTRY[new.name] = new
    return new
