"""Reads a COCO json file, or says which other kind of file it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fpt.annotations.foreign import describe_bytes, describe_content, describe_folder
from fpt.utils.errors import UserError

MAX_BYTES = 2**33
_START = 4096


def load_json(path: Path) -> dict[str, Any]:
    """Parse a json file whose top is an object.

    Raises:
        UserError: the file is missing, broken (the position is named), or of another format (which is named).
    """
    data = _read(path)
    if meaning := describe_bytes(data[:_START]):
        raise UserError(f"{path} is {meaning}")
    content = _parse(path, data)
    if meaning := describe_content(content):
        raise UserError(f"{path} is {meaning}")
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: the json's top is a {type(content).__name__}; COCO's format has an object with the keys "
            "images, annotations and categories"
        )
    return content


def load_json_list(path: Path) -> list[dict[str, Any]]:
    """Parse a json file whose top is a list of objects, such as COCO's results.

    Raises:
        UserError: the file is missing, broken (the position is named), or holds something else.
    """
    content = _parse(path, _read(path))
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise UserError(f"{path}: the json's top is no list of objects, as COCO's results are")
    return content


def _parse(path: Path, data: bytes) -> Any:
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        hint = ""
        if data.rstrip()[-1:] not in (b"}", b"]"):
            hint = "; the end of the file is missing: copy or export it again"
        elif error.msg == "Extra data" and error.lineno > 1:
            hint = "; if it holds one json object a line, put them into one COCO json"
        place = f"line {error.lineno}, column {error.colno} (character {error.pos})"
        raise UserError(f"{path}: broken json at {place}: {error.msg}{hint}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: broken json: byte {error.start} is no text ({error.reason})") from None
    except RecursionError:
        raise UserError(f"{path}: broken json: brackets are nested too deep") from None
    except ValueError:
        raise UserError(f"{path}: broken json: it holds a number of thousands of digits") from None
    except MemoryError:
        raise UserError(f"{path}: there is not enough memory to read its {len(data)} bytes") from None


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UserError(f"{path} is {describe_folder(path)}")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise UserError(f"{path}: {size} bytes are more than an annotation file can have ({MAX_BYTES})")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the annotation file cannot be read: {error.strerror or error}") from None
    if not data.strip():
        raise UserError(f"{path}: the annotation file is empty: copy or export it again")
    return data
