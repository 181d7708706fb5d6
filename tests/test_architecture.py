"""Imports go down the ladder of docs/architecture.md, never up or round; public names exist."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "vvae"
MODULES = sorted(
    ".".join(("vvae", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if path.name != "__main__.py"
)


def rungs() -> dict[str, int]:
    """The table of docs/architecture.md: room -> rung."""
    table = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", table, re.MULTILINE)
    return {room.rstrip("/"): int(rung) for rung, rooms in rows for room in re.findall(r"`([\w/]+)`", rooms)}


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


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_rungs_below_its_own(module: str) -> None:
    ladder = rungs()
    here = room(module)
    for target in imports(module):
        there = room(target)
        if here is None or there is None or here == there:
            assert here == there or here is None, f"{module} imports the package itself"
            continue
        assert here in ladder, f"{here} has no rung in docs/architecture.md"
        assert there in ladder, f"{there} has no rung in docs/architecture.md"
        assert ladder[there] < ladder[here], f"{module} (rung {ladder[here]}) imports {target} (rung {ladder[there]})"


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_declared_and_exist(module: str) -> None:
    loaded = importlib.import_module(module)
    if module == "vvae.cli":
        return
    for name in getattr(loaded, "__all__", []):
        assert hasattr(loaded, name), f"{module}.__all__ names {name}"
    assert hasattr(loaded, "__all__") or module in {
        "vvae.audit",
        "vvae.encoder",
        "vvae.endpoint",
        "vvae.privacy",
        "vvae.bench",
        "vvae.server",
        "vvae.stages",
    }, f"{module} has no __all__"


def test_every_room_of_the_readme_tree_exists() -> None:
    tree = (ROOT / "README.md").read_text("utf-8").split("<!-- tree -->")[1]
    for name in re.findall(r"^[ │├└─]*([\w.]+\.py|[\w]+/)\s", tree, re.MULTILINE):
        matches = list(SOURCE.rglob(name.rstrip("/"))) or list(ROOT.glob(name.rstrip("/")))
        assert matches, f"README's tree names {name}"
    for path in SOURCE.rglob("*.py"):
        if path.name != "__init__.py":
            assert path.name in tree, f"README's tree lacks {path.name}"
