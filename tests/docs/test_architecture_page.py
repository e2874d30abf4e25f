"""What docs/architecture.md names exists: files, and the classes and functions in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path


def test_every_file_and_name_of_the_page_exists(root: Path) -> None:
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_/]+\.py)(?:: (\w+))?`", page)
    assert len(named) > 30
    missing = []
    for file, name in named:
        path = next((path for path in (root / "lib" / file, *(root / "lib").rglob(file)) if path.is_file()), None)
        if path is None:
            missing.append(file)
        elif name:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            defined = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
            missing += [] if name in defined else [f"{file}: {name}"]
    assert not missing


def test_every_room_is_on_the_page(root: Path) -> None:
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.name for path in (root / "lib").iterdir() if path.is_dir() and (path / "__init__.py").is_file()}
    assert {room for room in rooms if f"| `{room}` |" not in page} == set()
    assert (root / "tests" / "layers" / "dense.py").is_file()
