"""Checkpoints of format 1: their backbone is called ``body``, and their count of images ``pictures``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RENAMED_FIELDS = {"pictures": "images"}
_RENAMED_PREFIXES = {"body.": "backbone."}


def upgrade_format_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint of format 1 under the names of format 2; values stay the same objects."""
    upgraded = {_RENAMED_FIELDS.get(name, name): value for name, value in content.items()}
    for name in ("model", "average"):
        if isinstance(upgraded.get(name), Mapping):
            upgraded[name] = {rename_parameter(key): value for key, value in upgraded[name].items()}
    return {**upgraded, "format": 2}


def rename_parameter(name: Any) -> Any:
    """The present name of a parameter, or of a pattern of names, as format 1 wrote it; anything but text stays."""
    for old, new in _RENAMED_PREFIXES.items():
        if isinstance(name, str) and name.startswith(old):
            return new + name.removeprefix(old)
    return name
