"""Typed reading of option values, as yaml files, old yaml files and the command line write them."""

from __future__ import annotations

import ast
import math
from typing import Any

from fpt.core.option import Option
from fpt.utils.errors import UserError


def convert(value: Any, option: Option) -> Any:
    """The value in the option's type.

    Text is read as a Python literal where the option is not text itself: yaml takes ``1e-4`` and ``(1200, 800)`` for
    strings, and so does the command line with everything.

    Args:
        value: what the file or the command line holds.
        option: the option that it is meant for.

    Raises:
        UserError: the value is of another type; the message says which type is due, not yet for which key.
    """
    default = option.default
    if value is False and "off" in (option.choices or ()):
        return "off"  # yaml reads the bare word off as False
    if isinstance(default, tuple):
        return _to_tuple(value, option)
    return _to_scalar(value, type(default))


def parse_literal(value: Any) -> Any:
    """Python's reading of a text, or the text itself where it is no literal; anything but text is returned as is."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def _to_scalar(value: Any, kind: type) -> Any:
    if kind is str:
        return _to_str(value)
    parsed = parse_literal(value)
    if kind is bool:
        return _to_bool(parsed)
    if kind is int:
        return _to_int(parsed)
    return _to_float(parsed)


def _to_str(value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(f"is {value!r}, but text is due; put it in quotes (or give '' for none)")
    parsed = parse_literal(value) if value[:1] in ("'", '"') else value
    return parsed if isinstance(parsed, str) else value


def _to_bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise UserError(f"is {value!r}, but True or False is due")
    return value


def _to_int(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"is {value!r}, but a whole number is due")
    return value


def _to_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"is {value!r}, but a number is due")
    if not math.isfinite(value):
        raise UserError(f"is {value!r}, but a finite number is due")
    return float(value)


def _to_tuple(value: Any, option: Option) -> tuple[Any, ...]:
    kind = element_type(option)
    parsed = parse_literal(value)
    if isinstance(parsed, str) and kind is str and parsed[:1] not in ("(", "["):
        parsed = (parsed,)
    if option.is_scalar_accepted and isinstance(parsed, (int, float)):
        parsed = (parsed,)
    if not isinstance(parsed, (tuple, list)):
        example = "('a', 'b')" if kind is str else "(1, 2)" if kind is int else "(0.5, 2)"
        raise UserError(f'is {value!r}, but a sequence is due: write it as "{example}", one alone as "(x,)"')
    while len(parsed) == 1 and isinstance(parsed[0], (tuple, list)):
        parsed = parsed[0]  # old files write the pixel means as [[[b, g, r]]]
    try:
        return tuple(_to_scalar(item, kind) for item in parsed)
    except UserError as error:
        raise UserError(f"is {value!r}: one element {error}") from None


def element_type(option: Option) -> type:
    """Type of the elements of an option that holds a sequence."""
    return option.element or type(option.default[0])
