"""The word lists of the labelling functions, read once from `lexicon.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import yaml

__all__ = ["Lexicon", "default_lexicon", "is_torn"]


@dataclass(frozen=True)
class Lexicon:
    """A lexicon of words and phrases, all in the form `language.normal_form` gives."""

    markers: frozenset[str]
    function_words: frozenset[str]
    never_alone: frozenset[str]
    not_first: frozenset[str]
    not_last: frozenset[str]
    whole_after_all: frozenset[str]
    chinese_markers: tuple[str, ...]
    chinese_alone: frozenset[str]
    address_terms: tuple[str, ...]
    chinese_address_terms: tuple[str, ...]
    greetings: frozenset[str]
    hobbies: Mapping[str, tuple[str, ...]]
    pursuits: Mapping[str, str]


@lru_cache(maxsize=1)
def default_lexicon() -> Lexicon:
    """Return the lexicon of the package."""
    data = yaml.safe_load(
        resources.files("vvae.latent.readers").joinpath("lexicon.yaml").read_text("utf-8")
    )

    def listed(key: str) -> list[str]:
        return [word.replace("_", " ") for word in data[key].split()]

    return Lexicon(
        markers=frozenset(listed("markers")),
        function_words=frozenset(listed("function_words")),
        never_alone=frozenset(listed("never_alone")),
        not_first=frozenset(listed("not_first")),
        not_last=frozenset(listed("not_last")),
        whole_after_all=frozenset(data["whole_after_all"]),
        chinese_markers=tuple(listed("chinese_markers")),
        chinese_alone=frozenset(listed("chinese_alone")),
        address_terms=tuple(dict.fromkeys(listed("address_terms"))),
        chinese_address_terms=tuple(listed("chinese_address_terms")),
        greetings=frozenset(listed("greetings")),
        hobbies={
            str(name): tuple(str(alias) for alias in aliases)
            for name, aliases in data["hobbies"].items()
        },
        pursuits=data["pursuits"],
    )


def is_torn(phrase: str, lexicon: Lexicon) -> bool:
    """Return whether a phrase of several words begins or ends inside a sentence ("think that",
    "yeah i").
    """
    tokens = phrase.split()
    if len(tokens) == 1 or phrase in lexicon.whole_after_all:
        return False
    return tokens[0] in lexicon.not_first or tokens[-1] in lexicon.not_last
