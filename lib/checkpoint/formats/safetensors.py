"""The safetensors format: 8 bytes with the length of a json header, the header, and the numbers one after another."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from fpt.utils.errors import UserError
from fpt.utils.files import write_atomic

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_MAX_HEADER = 100 << 20
_MAX_TENSORS = 1_000_000


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as the format does."""
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and 2 <= length <= min(path.stat().st_size - 8, _MAX_HEADER)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the texts of ``__metadata__``.

    Raises:
        UserError: the header is no json, or a tensor lies outside the file, over another one, or is not as long as its
            shape says.
    """
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged: the header of a safetensors file is json ({type(error).__name__})"
        ) from None
    if not isinstance(header, dict) or len(header) > _MAX_TENSORS:
        raise UserError(f"{path} is damaged: its header is no list of tensors by name")
    metadata = header.pop("__metadata__", {})
    numbers = memoryview(data)[8 + length :]
    tensors, spans = {}, []
    for name, entry in header.items():
        dtype, shape, start, end = _entry(path, name, entry, len(numbers))
        spans.append((start, end))
        if end == start:
            tensors[name] = torch.zeros(shape, dtype=dtype)
        else:
            tensors[name] = torch.frombuffer(bytearray(numbers[start:end]), dtype=dtype).reshape(shape)
    spans.sort()
    if any(later[0] < earlier[1] for earlier, later in zip(spans, spans[1:], strict=False)):
        raise UserError(f"{path} is refused: its tensors lie over each other")
    texts = metadata if isinstance(metadata, dict) else {}
    return tensors, {str(key): str(value) for key, value in texts.items()}


def _entry(path: Path, name: str, entry: Any, size: int) -> tuple[torch.dtype, list[int], int, int]:
    try:
        dtype, shape, (start, end) = _TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        counts = [*shape, start, end]
        is_whole = all(type(count) is int and count >= 0 for count in counts)
    except (KeyError, TypeError, ValueError):
        is_whole = False
    if not is_whole:
        raise UserError(f"{path} is damaged: the header's entry of {name[:80]!r} is not dtype, shape and data_offsets")
    wanted = math.prod(shape) * torch.empty(0, dtype=dtype).element_size()
    if end > size or end - start != wanted:
        raise UserError(
            f"{path} is refused: {name[:80]!r} of shape {str(shape)[:80]} needs {str(wanted)[:20]} bytes, but lies at "
            f"{str(start)[:20]} to {str(end)[:20]} of {size}; the file is cut off, or its sizes lie"
        )
    return dtype, shape, start, end


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors by name, in the order of their names, and texts; an existing file is replaced by a whole one."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    names = sorted(tensors)
    for name in names:
        value = tensors[name]
        size = value.numel() * value.element_size()
        header[name] = {
            "dtype": _NAMES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [position, position + size],
        }
        position += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def write(file: BinaryIO) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(tensors[name].detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())

    write_atomic(path, write)
