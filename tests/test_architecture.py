"""A package imports only from those below it, and nothing in it from outside what they offer."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "vvae"
LAYERS = (
    "core",
    "corpus",
    "latent",
    "inference",
    "encoders",
    "decoder",
    "metrics",
    "config",
    "report",
    "pipeline",
    "evaluation",
    "serving",
    "cli",
)
"""The packages of vvae (and its one module) from the cellar up; each imports only from those before
it.
"""
MODULES = sorted(
    ".".join(("vvae", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if path.name != "__main__.py"
)


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imports(module: str) -> set[str]:
    path = SOURCE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vvae":
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else node.module for name in inner}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "vvae"}
    return found


def test_every_package_has_its_place() -> None:
    entries = {
        path.stem
        for path in SOURCE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert entries - {"__init__", "__main__"} == set(LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_packages_below_its_own(module: str) -> None:
    here = room(module)
    for target in imports(module):
        there = room(target)
        if here is None or here == there:
            continue
        assert there is not None, f"{module} imports the package itself"
        assert LAYERS.index(there) < LAYERS.index(here), (
            f"{module} imports {target}, which lies above it"
        )


def constants_and_functions(module: str) -> list[str]:
    """The functions and constants that a module offers: what `__all__` names, but for types."""
    loaded = importlib.import_module(module)
    names: list[str] = getattr(loaded, "__all__", [])
    return [n for n in names if n.isupper() or inspect.isfunction(getattr(loaded, n))]


def test_what_a_module_offers_is_taken() -> None:
    texts = {
        path: path.read_text("utf-8")
        for folder in ("src", "tests", "benchmarks", "examples", "scripts")
        for path in (ROOT / folder).rglob("*.py")
    }
    for module in MODULES:
        stem = SOURCE.joinpath(*module.split(".")[1:])
        own = {stem / "__init__.py", stem.with_suffix(".py")}
        elsewhere = "\n".join(text for path, text in texts.items() if path not in own)
        words = set(re.findall(r"\w+", elsewhere))
        for name in constants_and_functions(module):
            assert name in words, f"{module} offers {name}, and nobody takes it"
