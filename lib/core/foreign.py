"""Files of other programs: they are named, with what the most frequent of their keys are called here."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from fpt.core.assignments import Assignment
from fpt.core.foreign_tables import PROGRAMS, Program
from fpt.core.legacy import is_legacy
from fpt.core.values import shown
from fpt.utils.errors import UserError

_MIN_SIGNS = 2
_MAX_ROWS = 12
_MAX_DEPTH = 6
_MAX_VALUE = 40
_ADVICE = 'README.md ("Your own images") has a whole file to start from'


def refuse_foreign(given: Sequence[Assignment], path: Path, known: Collection[str]) -> None:
    """Raise where a file is that of another program, or of none that has options like these.

    Args:
        given: the values of the file.
        path: the file.
        known: full dotted keys of all options.

    Raises:
        UserError: names the program, and what those keys that the file holds are called here.
    """
    own = [item for item in given if _is_own(item.key, known)]
    program = max(PROGRAMS, key=lambda program: len(_signs(program, given)))
    signs = _signs(program, given)
    only_own = [item for item in own if item.key not in program.equals]
    if len(signs) >= _MIN_SIGNS and len(signs) > len({item.key for item in only_own}):
        raise UserError(_describe(program, given, path))
    groups = {name.partition(".")[0] for name in known}
    if len(given) > 1 and not own and not any(item.key.partition(".")[0].upper() in groups for item in given):
        first = ", ".join(dict.fromkeys(item.key.partition(".")[0] for item in given[:4]))
        raise UserError(f"config file {path} is not of this program: none of its keys ({first}) is known; {_ADVICE}")


def refuse_python(path: Path, text: str) -> None:
    """Raise UserError: a Python file is no yaml; mmdetection's are named with their keys."""
    given = [Assignment(key, value, str(path)) for key, value in _python_values(text)]
    program = max(PROGRAMS, key=lambda program: len(_signs(program, given)))
    if len(_signs(program, given)) >= _MIN_SIGNS:
        raise UserError(_describe(program, given, path))
    raise UserError(f"config file {path} is a Python program, but a yaml file is due; {_ADVICE}")


def _is_own(key: str, known: Collection[str]) -> bool:
    return key in known or is_legacy(key) or (key.startswith("DATASETS.") and key.count(".") > 1)


def _signs(program: Program, given: Sequence[Assignment]) -> set[str]:
    """The program's words that the file holds; none where it lacks a decisive one."""
    keys = {item.key for item in given}
    groups = {key[: index + 1] for key in keys for index, letter in enumerate(key) if letter == "."}
    signs = {sign for sign in program.signs if sign in keys or sign in groups}
    return signs if not program.decisive or signs & set(program.decisive) else set()


def _describe(program: Program, given: Sequence[Assignment], path: Path) -> str:
    values = {item.key: item.value for item in given}
    rows = [f"{key}{_value(values[key])}: {ours}" for key, ours in program.equals.items() if key in values]
    remark = f"; {program.remark}" if program.remark else ""
    head = f"config file {path} is a file of {program.name}, not of this program{remark}; {_ADVICE}"
    if not rows:
        return head
    return "\n  ".join([f"{head}. What it says is called here:", *rows[:_MAX_ROWS]])


def _value(value: Any) -> str:
    text = shown(value)
    return f" ({text})" if len(text) <= _MAX_VALUE and value is not None else ""


def _python_values(text: str) -> Iterator[tuple[str, Any]]:
    """Names that a Python file gives values to, those of dicts with dots; nothing is run."""
    try:
        statements = list(ast.iter_child_nodes(ast.parse(text)))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            yield from _walk(statement.targets[0].id, statement.value, _MAX_DEPTH)


def _walk(key: str, node: ast.expr, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(node, ast.Call) and depth:
        for keyword in node.keywords:
            yield from _walk(f"{key}.{keyword.arg}", keyword.value, depth - 1)
    elif isinstance(node, ast.Dict) and depth:
        for name, value in zip(node.keys, node.values, strict=True):
            if isinstance(name, ast.Constant):
                yield from _walk(f"{key}.{name.value!s}", value, depth - 1)
    else:
        yield key, node.value if isinstance(node, ast.Constant) else None
