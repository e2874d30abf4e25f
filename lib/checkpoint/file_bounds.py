"""Bounds of a torch file, checked before anything in it is unpacked, and of what came out of it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fpt.utils.errors import UserError

_MAX_PARTS = 1_000_000
_MAX_PICKLE = 256 << 20
_MAX_OBJECTS = 10_000_000
_SLACK = 16 << 20
_MAX_COPIES = 8
"""So many times the file's size its tensors may have together: parameters share storage, but not without end."""


def check_archive(path: Path) -> None:
    """Check the directory of a zip file, as torch writes them; any other file passes.

    torch stores the parts as they are, so that they cannot be larger than the file.

    Raises:
        UserError: a part is compressed, or the parts unfold to more than the file holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return
    size = path.stat().st_size
    unpacked = sum(part.file_size for part in parts)
    if unpacked > size or len(parts) > _MAX_PARTS:
        raise UserError(
            f"{path} is refused: its {len(parts)} parts would unfold to {unpacked} bytes, but the file has {size}; "
            "torch writes no such file"
        )
    packed = [part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise UserError(f"{path} is refused: its part {packed[0]} is compressed; torch writes no such file")
    pickles = [part for part in parts if part.filename.endswith("data.pkl")]
    if any(part.file_size > _MAX_PICKLE for part in pickles):
        raise UserError(f"{path} is refused: its list of tensors has over {_MAX_PICKLE} bytes")


def check_pickle(path: Path, pickled: bytes) -> None:
    """Raise UserError for a pickle that reserves memory by itself, without anything in the file to fill it."""
    if b"bytearray" in pickled:
        raise UserError(f"{path} is refused: it asks for a bytearray, which is neither a tensor nor a plain value")


def check_content(path: Path, content: Any) -> None:
    """Raise UserError for tensors that pretend to be larger than what the file holds, or that are no plain ones."""
    total = 0
    for tensor in tensors_in(path, content):
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            kind = "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
            raise UserError(f"{path} holds a {kind} tensor on {tensor.device}; save plain tensors on the CPU")
        num_bytes = tensor.numel() * tensor.element_size()
        if num_bytes > tensor.untyped_storage().nbytes():
            raise UserError(
                f"{path} is refused: a tensor of shape {tuple(tensor.shape)} would unfold to {num_bytes} bytes, but "
                f"the file holds {tensor.untyped_storage().nbytes()} of it"
            )
        total += num_bytes
    if total > _MAX_COPIES * path.stat().st_size + _SLACK:
        raise UserError(f"{path} is refused: its tensors would unfold to {total} bytes")


def tensors_in(path: Path, content: Any) -> Iterator[Tensor]:
    """Every tensor in nested dicts, lists and tuples; each container is entered once."""
    stack, seen = [content], set()
    while stack:
        value = stack.pop()
        if isinstance(value, Tensor):
            yield value
        if not isinstance(value, (dict, list, tuple)) or id(value) in seen:
            continue
        seen.add(id(value))
        if len(seen) > _MAX_OBJECTS:
            raise UserError(f"{path} is refused: it holds over {_MAX_OBJECTS} groups")
        stack.extend(value.values() if isinstance(value, dict) else value)
