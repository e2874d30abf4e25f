"""Files that try something: each with what it tries, and how it is refused. Nothing of it is ever run."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import resource
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.utils.errors import UserError

MARK = Path("ran")


class _Call:
    """Pickles to a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def _pickled(value: Any, protocol: int = 2) -> bytes:
    return pickle.dumps({"blobs": {"conv1_w": value}}, protocol)


def _state(shape: str, dtype: str, data: bytes) -> bytes:
    """An array by hand: shape and type as operations of a pickle."""
    head = b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    kind = b"cnumpy\ndtype\nU" + bytes([len(dtype)]) + dtype.encode() + b"K\x00K\x01\x87R(K\x03U\x01<NNN"
    kind += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return head + shape.encode("latin1") + kind + b"\x89T" + struct.pack("<i", len(data)) + data + b"tbs."


def _safe(header: Any, data: bytes = b"\0" * 16, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "runs os.system": (lambda: _pickled(_Call(__import__("os").system, "touch ran")), r"asks for (posix|nt)\.system"),
    "runs eval": (lambda: _pickled(_Call(eval, "open('ran', 'w')")), r"asks for __?builtins?__\.eval|builtin.*eval"),
    "runs exec, protocol 4": (lambda: _pickled(_Call(exec, "open('ran', 'w')"), 4), r"asks for builtins\.exec"),
    "opens a file": (lambda: _pickled(_Call(open, "ran", "w")), r"asks for (io|_io|builtins|__builtin__)\.open"),
    "starts a process": (
        lambda: _pickled(_Call(__import__("subprocess").run, ["touch", "ran"])),
        r"(subprocess|commands)\.run",
    ),
    "imports a module": (lambda: _pickled(_Call(__import__, "antigravity")), r"asks for \S*__import__"),
    "looks an attribute up": (lambda: _pickled(_Call(getattr, 1, "real"), 4), r"asks for builtins\.getattr"),
    "loads numpy's own pickles": (lambda: _pickled(_Call(np.load, "x.npy"), 4), r"asks for numpy\S*\.load"),
    "rebuilds a torch tensor": (
        lambda: b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n).",
        r"asks for torch\._utils\._rebuild_tensor_v2",
    ),
    "an object of its own": (lambda: b"\x80\x02cevil\nThing\n)\x81.", r"asks for evil\.Thing"),
    "an instance, the old way": (lambda: b"\x80\x02(ievil\nThing\n.", r"asks for evil\.Thing"),
    "a persistent object": (lambda: b"\x80\x02U\x01xQ.", "asks for something outside it"),
    "an extension": (lambda: b"\x80\x02\x82\x05.", r"truncated or no pickle of arrays.*ValueError"),
    "an array of objects": (lambda: _pickled(np.array([{}, {}], object)), "an array of O|array of objects"),
    "memory for 2**31 objects": (lambda: b"\x80\x02]r\xff\xff\xff\x7f.", "would reserve memory for 2147483647 objects"),
    "memory for 4 * 10**7 objects behind a number that only the unpickler reads": (
        lambda: b"\x80\x02I0x10\n0}r" + struct.pack("<I", 40_000_000) + b".",
        "truncated or no pickle of arrays",
    ),
    "a byte array of 2**60": (lambda: b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"x.", "truncated|bytearray"),
    "bytes of 2**60": (lambda: b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.", "truncated"),
    "a text of 2**60": (lambda: b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x.", "truncated"),
    "a frame of 2**60": (lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"}.", "truncated"),
    "a million lists": (lambda: b"\x80\x02" + b"]" * 1_200_000 + b".", "over 1000000 operations"),
    "lists in lists": (lambda: b"\x80\x02" + b"(" * 400_000 + b"l" * 400_000 + b".", "holds no tensors by name"),
    "a shape of 2**40": (lambda: _state("\x8a\x06\x00\x00\x00\x00\x00\x01\x85", "f4", b"1234"), r"but 4 are there"),
    "a negative shape": (lambda: _state("J\xff\xff\xff\xff\x85", "f4", b"1234"), r"but 4 are there"),
    "a type of 2**30 bytes": (lambda: _state("K\x01\x85", "V1073741824", b"1"), "array of V1073741824"),
    "a type with fields": (lambda: _state("K\x01\x85", "f4,f4", b"12345678"), "array of f4,f4"),
    "a pickle that ends early": (lambda: _pickled(np.ones(999))[:-3000], "truncated"),
    "safetensors: no json": (lambda: _safe(b"{nonsense}"), "header of a safetensors file is json"),
    "safetensors: deep json": (lambda: _safe(b'{"a":' + b"[" * 200_000), "header of a safetensors file is json"),
    "safetensors: shape beyond the file": (lambda: _safe(_entry(shape=[2**40])), "its sizes lie"),
    "safetensors: place beyond the file": (
        lambda: _safe(_entry(shape=[99], data_offsets=[0, 396])),
        "cut off, or its sizes lie",
    ),
    "safetensors: one over the other": (
        lambda: _safe({**_entry(), "v": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}),
        "lie over each other",
    ),
    "safetensors: negative place": (
        lambda: _safe(_entry(data_offsets=[-16, 0])),
        "is not dtype, shape and data_offsets",
    ),
    "safetensors: unknown type": (lambda: _safe(_entry(dtype="F8_EVIL")), "is not dtype, shape and data_offsets"),
    "safetensors: endless numbers": (lambda: _safe(_entry(shape=[10**300, 10**300])), "its sizes lie"),
    "safetensors: a header that is longer than the file": (lambda: _safe(_entry(), length=2**50), "cannot be read"),
}


@pytest.mark.parametrize("name", FILES)
def test_it_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = FILES[name]
    path = tmp_path / "model.pkl"
    path.write_bytes(make())
    before, start = _reset_peak(), time.perf_counter()
    with pytest.raises(UserError, match=message) as error:
        load_checkpoint(path)
    assert time.perf_counter() - start < 5
    assert _peak() - before < 1 << 30
    assert not MARK.exists()
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 600


def _reset_peak() -> int:
    """The peak, which begins anew where the system can do that: an earlier test's would hide this one's."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> int:
    """Largest memory of the process since then, in bytes."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.is_file() else None
    if found:
        return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
