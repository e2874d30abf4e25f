"""Typed reading of option values, as yaml files, old yaml files and the command line write them."""

from __future__ import annotations

import ast
import math
import re
import warnings
from typing import Any

from fpt.core.option import Option
from fpt.utils.errors import UserError

_MAX_LITERAL = 20_000
_MAX_SIGNS = 10_000
_MAX_SHOWN = 120
_MAX_BITS = 256
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
    if option.element is not None and isinstance(default, str) and parse_literal(value) == default:
        return default
    if isinstance(default, tuple) or option.element is not None:
        return _to_tuple(value, option)
    return _to_scalar(value, type(default))


def parse_literal(value: Any) -> Any:
    """Python's reading of a text, or the text itself where it is no literal; anything but text is returned as is."""
    if not isinstance(value, str) or not _is_within_bounds(value):
        return value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # 'C:\\data' has an escape that Python does not know
            return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def shown(value: Any) -> str:
    """The value as a message names it, on one line of moderate length."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"a number of about {int((value.bit_length() - 1) * math.log10(2)) + 1} digits"
    try:
        text = repr(value)
    except ValueError:  # a huge number inside
        return f"a {type(value).__name__} with a number that is too long to be shown"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}... ({len(text)} characters)"


def _is_within_bounds(text: str) -> bool:
    """Whether Python's parser can read a text without exhausting the stack."""
    return len(text) <= _MAX_LITERAL and sum(text.count(sign) for sign in "([{-+~") <= _MAX_SIGNS


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
        raise UserError(f"is {shown(value)}, but text is due; put it in quotes (or give '' for none)")
    parsed = parse_literal(value) if value[:1] in ("'", '"') else value
    text = parsed if isinstance(parsed, str) else value
    if _CONTROL.search(text):
        raise UserError(f"is {shown(text)}, but text without control characters is due")
    return text


def _to_bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise UserError(f"is {shown(value)}, but True or False is due")


def _to_int(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"is {shown(value)}, but a whole number is due")
    return value


def _to_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"is {shown(value)}, but a number is due")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"is {shown(value)}, but a finite number is due")
    return number


def _to_tuple(value: Any, option: Option) -> tuple[Any, ...]:
    kind = element_type(option)
    parsed = parse_literal(value)
    if isinstance(parsed, str) and kind is str and parsed[:1] not in ("(", "["):
        parsed = (parsed,)
    if option.is_scalar_accepted and isinstance(parsed, (int, float)):
        parsed = (parsed,)
    if not isinstance(parsed, (tuple, list)):
        example = "('a', 'b')" if kind is str else "(1, 2)" if kind is int else "(0.5, 2)"
        raise UserError(f'is {shown(value)}, but a sequence is due: write it as "{example}", one alone as "(x,)"')
    while len(parsed) == 1 and isinstance(parsed[0], (tuple, list)):
        parsed = parsed[0]  # old files write the pixel means as [[[b, g, r]]]
    try:
        return tuple(_to_scalar(item, kind) for item in parsed)
    except UserError as error:
        raise UserError(f"is {shown(value)}: one element {error}") from None


def element_type(option: Option) -> type:
    """Type of the elements of an option that holds a sequence."""
    return option.element or type(option.default[0])
