"""Pickles of numpy arrays, as Detectron and Detectron2 write them, read without running what they ask for.

A pickle is a program for a small machine. Here it may build dicts, lists, numbers, texts and arrays, and nothing else:
every name that it asks for is looked up in a table of stand-ins, which hold values and compute nothing.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fpt.checkpoint.file_kinds import describe_owner
from fpt.utils.errors import UserError

_MAX_OPERATIONS = 1_000_000
_DTYPES = frozenset("f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1 bool".split())


def read_numpy_pickle(path: Path, *, max_operations: int = _MAX_OPERATIONS) -> Any:
    """What a pickle of arrays holds.

    Args:
        path: the file.
        max_operations: so many steps its program may have.

    Raises:
        UserError: it asks for anything that is neither an array nor a plain value, is cut off, or reserves more memory
            than it fills.
    """
    data = path.read_bytes()
    unpickler = _Unpickler(io.BytesIO(data), encoding="latin1")
    try:
        _check_operations(path, data, max_operations)
        content = unpickler.load()
    except UserError:
        raise
    except _RefusalError as refusal:
        raise UserError(f"{path} is refused: {refusal}") from None
    except Exception as error:  # the unpickler fails in many ways on bytes that are not its own
        raise UserError(
            f"{path} cannot be read ({len(data)} bytes): it is truncated or no pickle of arrays; copy or download it "
            f"again [{type(error).__name__}]"
        ) from error
    return _plain(content)


def is_pickle(path: Path) -> bool:
    """Whether a file begins as a pickle of protocol 2 to 5 does, and not as one of torch's before version 1.6."""
    with path.open("rb") as file:
        start = file.read(64)
    return (
        len(start) > 2 and start[0] == 0x80 and 2 <= start[1] <= 5 and b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19" not in start
    )


class _RefusalError(Exception):
    """What a pickle asks for, and does not get."""


class _Array:
    """Stands for an array while it is read."""

    def __init__(self, *arguments: Any) -> None:
        del arguments
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, raw = state
        if not isinstance(dtype, _DType) or not isinstance(shape, tuple) or isinstance(raw, list):
            raise _RefusalError("it holds an array of objects, which only code could rebuild; nothing was run")
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        kind = dtype.resolve()
        wanted = int(np.prod([int(side) for side in shape], dtype=object)) * kind.itemsize
        if wanted != len(data) or min(shape, default=0) < 0:
            raise _RefusalError(
                f"it holds an array of shape {str(shape)[:80]} of {str(wanted)[:20]} bytes, but {len(data)} are there"
            )
        array = np.frombuffer(data, kind).reshape(shape, order="F" if is_fortran else "C")
        self.value = array.astype(kind.newbyteorder("="), copy=True)


class _DType:
    """Stands for the type of an array's numbers."""

    def __init__(self, text: Any = "", *options: Any) -> None:
        del options
        self.text = str(text)
        self.order = "="
        if self.text.lstrip("<>=|") not in _DTYPES:
            raise _RefusalError(f"it holds an array of {self.text[:40]}; numbers alone are read")

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    def resolve(self) -> np.dtype[Any]:
        """numpy's type."""
        kind = np.dtype(self.text)
        return kind.newbyteorder(">") if self.order == ">" else kind


def _scalar(dtype: Any, raw: Any) -> Any:
    data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
    return np.frombuffer(data, dtype.resolve())[0].item()


def _encode(text: str, encoding: str) -> bytes:
    """Bytes that a pickle of Python 2's protocol writes as text."""
    if encoding not in ("latin1", "latin-1"):
        raise _RefusalError(f"it holds bytes as {encoding[:20]}")
    return text.encode("latin1")


def _empty_bytes(*arguments: Any) -> bytes:
    """What protocol 2 asks ``bytes`` for, where an array has no numbers."""
    if arguments:
        raise _RefusalError("it asks for bytes that are not in it")
    return b""


_KNOWN: dict[tuple[str, str], Any] = {
    ("__builtin__", "bytes"): _empty_bytes,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names of arrays alone."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a name; UserError for any other."""
        if (module, name) not in _KNOWN:
            asked = f"{module}.{name}"[:80]
            owner = describe_owner([asked])
            raise _RefusalError(
                f"it asks for {asked}, which is neither an array nor a plain value, so that loading it could run code; "
                "nothing was run" + (f". It seems to be {owner}" if owner else "")
            )
        return _KNOWN[module, name]

    def persistent_load(self, key: Any) -> Any:
        """UserError: arrays have no parts outside their pickle."""
        raise _RefusalError("it asks for something outside it; nothing was run")


_BY_CODE = {operation.code.encode("latin-1"): operation for operation in pickletools.opcodes}


def _operations(file: io.BytesIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any]]:
    """Operations of a pickle and their arguments, as pickletools gives them; without that of STRING.

    Those are how Python 2 writes the bytes of arrays, which pickletools takes for ASCII.
    """
    while code := file.read(1):
        operation = _BY_CODE.get(code)
        if operation is None:
            raise ValueError(f"operation {code!r} is unknown")
        argument = None
        if operation.name == "STRING":
            file.readline()
        elif operation.arg is not None:
            argument = operation.arg.reader(file)
        yield operation, argument
        if operation.name == "STOP":
            return
    raise ValueError("the end is missing")


def _check_operations(path: Path, data: bytes, limit: int) -> None:
    """Raise UserError for a pickle that reserves memory, or takes time, without anything in the file to fill it.

    What this reader cannot read raises, too: the unpickler may read on, and do what was not looked at.
    """
    count = 0
    for operation, argument in _operations(io.BytesIO(data)):
        count += 1
        if count > limit:
            raise UserError(f"{path} is refused: it has over {limit} operations, and holds no arrays")
        if operation.name.endswith("PUT") and isinstance(argument, int) and argument > limit:
            raise UserError(f"{path} is refused: it would reserve memory for {argument} objects")
        if operation.name == "BYTEARRAY8":
            raise UserError(f"{path} is refused: it asks for a bytearray, which is neither an array nor a plain value")


def _plain(value: Any, depth: int = 0) -> Any:
    """The arrays in the place of what stood for them, in dicts and lists."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, list) and depth < 4:
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict) and depth < 4:
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    return value
