"""tests/bad_inputs.md names tests and cases that exist, and all cases there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = re.split(r"^## ", (ROOT / "tests" / "bad_inputs.md").read_text(encoding="utf-8"), flags=re.M)[1:]
COMPLETE = ("test_bad_configs.py", "test_bad_annotations.py", "test_bad_images.py", "test_lost_workers.py")


def _names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """The tests of a file, and the keys of its tables."""
    tests = {
        node.name
        for node in ast.iter_child_nodes(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    values = [node.value for node in ast.iter_child_nodes(tree) if isinstance(node, (ast.Assign, ast.AnnAssign))]
    tables = [value for value in values if isinstance(value, ast.Dict)]
    return tests, {key.value for table in tables for key in table.keys if isinstance(key, ast.Constant)}


@pytest.mark.parametrize("section", SECTIONS, ids=[section.split(":")[0] for section in SECTIONS])
def test_rows_are_tested(section: str) -> None:
    file = ROOT / re.search(r"`(tests/\S+\.py)`", section.splitlines()[0]).group(1)
    tests, cases = _names(ast.parse(file.read_text(encoding="utf-8")))
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, flags=re.M)
    rows = [row for row in rows if row != "Input"]
    assert rows
    assert len(set(rows)) == len(rows)
    assert not set(rows) - tests - cases
    if file.name in COMPLETE:
        assert not cases - set(rows)


def test_there_are_many() -> None:
    assert sum(section.count("\n| ") for section in SECTIONS) > 100
