"""The public surface: every name is there, is documented with an example, and costs nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import vvae

NAMES = [name for name in vvae.__all__ if name != "__version__"]
PLAIN = {"Dialogue", "Message", "Pair", "Turn", "Span", "UserError", "VVAEError"}
"""Records and errors, whose fields say enough."""


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_defined_where_the_package_says(name: str) -> None:
    value = getattr(vvae, name)
    assert inspect.getdoc(value), name
    assert value.__module__.startswith("vvae."), name
    assert name in dir(vvae)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PLAIN])
def test_a_public_name_has_an_example(name: str) -> None:
    value = getattr(vvae, name)
    texts = [inspect.getdoc(value) or ""]
    if inspect.isclass(value):
        texts += [inspect.getdoc(m) or "" for _, m in inspect.getmembers(value, callable)]
    assert any(">>> " in text for text in texts), name


def test_importing_the_package_loads_nothing() -> None:
    heavy = "{'numpy', 'polars', 'torch', 'pydantic'}"
    code = f"import sys, vvae; print(sorted({heavy} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'chat'"):
        vvae.chat  # noqa: B018
