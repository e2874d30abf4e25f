"""Keys of older Detectron-style files that this project has renamed or dropped."""

from __future__ import annotations

from typing import Any


def translate(key: str, value: Any, source: str) -> list[tuple[str, Any]]:
    """The (key, value) pairs of this project that an older one stands for."""
    return [(key, value)]
