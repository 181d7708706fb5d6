"""The shape of the package in figures: python scripts/structure.py [SOURCE] (default src/vvae).

entries      modules and packages at the top of the package
arrows       imports between modules of different rooms (a room is a top-level entry)
room arrows  pairs of rooms of which one imports the other
cycles       rooms that can be reached from themselves
function     lines of functions: median, ninth decile, longest
dict Any     lines with `dict[str, Any]` or `Mapping[str, Any]`, per thousand lines of code
public       names in `__all__`, of all modules
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from statistics import median

__all__ = ["measure"]


def _imports(tree: ast.AST) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vvae":
            path = tuple((node.module or "").split(".")[1:])
            found |= {(*path, alias.name) for alias in node.names}
    return found


def _reachable(arrows: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(arrows.get(start, ()))
    while waiting:
        room = waiting.pop()
        if room not in seen:
            seen.add(room)
            waiting += arrows.get(room, ())
    return seen


def measure(source: Path) -> dict[str, object]:
    """Return the figures of a package's source folder."""
    modules = {
        tuple(p.relative_to(source).with_suffix("").parts): ast.parse(p.read_text("utf-8"))
        for p in sorted(source.rglob("*.py"))
    }
    rooms = {path[0] for path in modules} - {"__init__", "__main__"}
    arrows: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    of_rooms: dict[str, set[str]] = {}
    lengths: list[int] = []
    public = 0
    for path, tree in modules.items():
        for target in _imports(tree):
            there = next(
                (t for t in (target, target[:-1], (*target, "__init__"), (*target[:-1], "__init__"))
                 if t in modules),
                None,
            )  # fmt: skip
            if there and path[0] in rooms and there[0] in rooms and path[0] != there[0]:
                arrows.add((path, there))
                of_rooms.setdefault(path[0], set()).add(there[0])
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths.append((node.end_lineno or node.lineno) - node.lineno + 1)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                public += len(getattr(node.value, "elts", ()))
    lines = [line for p in source.rglob("*.py") for line in p.read_text("utf-8").splitlines()]
    code = [line for line in lines if line.strip()]
    untyped = sum("dict[str, Any]" in line or "Mapping[str, Any]" in line for line in code)
    ordered = sorted(lengths)
    return {
        "entries": len(rooms),
        "arrows": len(arrows),
        "room arrows": sum(map(len, of_rooms.values())),
        "cycles": sum(room in _reachable(of_rooms, room) for room in rooms),
        "lines": len(lines),
        "functions": len(ordered),
        "function lines (median, p90, longest)": (
            median(ordered),
            ordered[int(0.9 * len(ordered))],
            ordered[-1],
        ),
        "dict[str, Any] lines": untyped,
        "dict[str, Any] per 1,000 lines": round(1000 * untyped / len(code), 1),
        "public names": public,
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "src/vvae")
    for name, value in measure(folder).items():
        print(f"{name:40} {value}")
