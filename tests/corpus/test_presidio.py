from __future__ import annotations

import importlib.util

import pytest

from vvae.core.errors import ConfigError
from vvae.corpus.privacy.presidio import presidio_finder

INSTALLED = importlib.util.find_spec("presidio_analyzer") is not None


@pytest.mark.skipif(INSTALLED, reason="it is installed")
def test_without_it_one_line_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match="is not installed — pip install"):
        presidio_finder("en_core_web_lg")


@pytest.mark.skipif(not INSTALLED, reason="Presidio is not installed")
def test_names_that_no_export_lists_are_found() -> None:
    text, counts = presidio_finder("es_core_news_sm")(
        "llámame al <phone> y pregunta por Luis Buñuel"
    )
    assert text == "llámame al <phone> y pregunta por <name>"
    assert counts == {"name": 1}
