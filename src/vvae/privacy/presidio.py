"""Presidio as a further search: names of people and places that no export lists (pip install 'vvae[presidio]')."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from vvae.errors import ConfigError

__all__ = ["presidio_finder"]

ENTITIES = {"PERSON": "name", "LOCATION": "address", "NRP": "name", "PHONE_NUMBER": "phone", "EMAIL_ADDRESS": "email"}
CERTAIN = 0.5


def presidio_finder(language: str = "en") -> Callable[[str], tuple[str, Counter[str]]]:
    """A function that puts <kind> in the place of what Presidio finds in a text.

    Raises:
        ConfigError: Presidio or its language model is not installed.
    """
    try:
        from presidio_analyzer import AnalyzerEngine

        analyzer = AnalyzerEngine(supported_languages=[language])
    except (ImportError, OSError, SystemExit) as error:
        fix = "pip install 'vvae[presidio]' and spaCy's model (python -m spacy download en_core_web_lg)"
        raise ConfigError(f"Presidio cannot be used ({error})", where="--presidio", fix=fix) from None

    def find(text: str) -> tuple[str, Counter[str]]:
        counts: Counter[str] = Counter()
        results = analyzer.analyze(text, language=language, entities=list(ENTITIES), score_threshold=CERTAIN)
        last = len(text)
        for found in sorted(results, key=lambda one: -one.end):
            if found.end <= last and "<" not in text[found.start : found.end]:
                kind = ENTITIES[found.entity_type]
                text = f"{text[: found.start]}<{kind}>{text[found.end :]}"
                counts[kind] += 1
                last = found.start
        return text, counts

    return find
