"""Presidio as a further search: names of people and places that no export lists (pip install
'vvae[presidio]').

It brings a language model of spaCy's, which must be installed already: nothing is downloaded here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from vvae.core.errors import ConfigError

__all__ = ["presidio_finder"]

ENTITIES = {
    "PERSON": "name",
    "LOCATION": "address",
    "NRP": "name",
    "PHONE_NUMBER": "phone",
    "EMAIL_ADDRESS": "email",
}
CERTAIN = 0.5


def presidio_finder(model: str) -> Callable[[str], tuple[str, Counter[str]]]:
    """Return a function that puts <kind> in the place of what Presidio finds in a text, and says
    how much of each kind.

    Args:
        model: a package of spaCy, such as en_core_web_lg; its first two letters are the language.

    Raises:
        ConfigError: Presidio or the model is not installed.
    """
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider
    except ImportError as error:
        fix = "pip install 'vvae[presidio]'"
        raise ConfigError(f"{error.name} is not installed", where="--presidio", fix=fix) from None
    if not spacy.util.is_package(model):
        fix = "name one that is: python -m spacy download en_core_web_lg"
        raise ConfigError(f"spaCy's model {model!r} is not installed", where="--presidio", fix=fix)
    language = model[:2]
    named = {"nlp_engine_name": "spacy", "models": [{"lang_code": language, "model_name": model}]}
    engine = NlpEngineProvider(nlp_configuration=named).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=[language])

    def find(text: str) -> tuple[str, Counter[str]]:
        counts: Counter[str] = Counter()
        results = analyzer.analyze(
            text, language=language, entities=list(ENTITIES), score_threshold=CERTAIN
        )
        last = len(text)
        for entity in sorted(results, key=lambda result: -result.end):
            if entity.end <= last and "<" not in text[entity.start : entity.end]:
                kind = ENTITIES[entity.entity_type]
                text = f"{text[: entity.start]}<{kind}>{text[entity.end :]}"
                counts[kind] += 1
                last = entity.start
        return text, counts

    return find
