"""One file of flat arrays, memory-mapped: magic, version, header (json) with its checksum, then the aligned arrays."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = b"FPTCACHE"
VERSION = 5
"""Raise it when the meaning of any array or what the report finds changes; caches of another version are rebuilt."""
ALIGNMENT = 64
_MAX_NAME = 150
_START = struct.Struct("<8sIIQ")  # magic, version, checksum and length of the header
_BLOCK = 1 << 16
_NUM_SAMPLES = 64


class CacheError(Exception):
    """The cache cannot be used; the message says why."""


def fingerprint(path: Path) -> str:
    """Identity of a file's content: size, time of change, and a hash of its head, its tail and blocks between."""
    status = path.stat()
    digest = hashlib.blake2b(f"{status.st_size} {status.st_mtime_ns}".encode(), digest_size=16)
    last = max(status.st_size - _BLOCK, 0)
    with path.open("rb") as file:
        for k in range(_NUM_SAMPLES + 1):
            file.seek(last * k // _NUM_SAMPLES)
            digest.update(file.read(_BLOCK if k in (0, _NUM_SAMPLES) else 4096))
    return digest.hexdigest()


def cache_path(source: Path) -> Path | None:
    """Where the cache of a file lies: ``fpt/`` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache).

    None where there is no such folder, as in some containers.
    """
    absolute = source.resolve()
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fpt"
    except RuntimeError:
        return None
    key = hashlib.blake2b(os.fsencode(absolute), digest_size=8).hexdigest()
    name = os.fsencode(absolute.name)[:_MAX_NAME].decode(errors="ignore")
    return home / f"{name}-{key}.fptcache"


def write_cache(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any], key: str) -> None:
    """Write the file beside its place and rename it, so that no reader meets half of it.

    Raises:
        OSError: the folder cannot be written.
    """
    table: dict[str, dict[str, Any]] = {}
    position = 0
    for name, values in arrays.items():
        position = -(-position // ALIGNMENT) * ALIGNMENT
        values = np.ascontiguousarray(values)
        table[name] = {
            "dtype": values.dtype.str,
            "shape": list(values.shape),
            "offset": position,
            "crc": zlib.crc32(values.reshape(-1).view(np.uint8).data),
        }
        position += values.nbytes
    header = json.dumps({"fingerprint": key, "meta": meta, "arrays": table, "num_bytes": position}).encode()
    start = _START.pack(MAGIC, VERSION, zlib.crc32(header), len(header)) + header
    base = -(-len(start) // ALIGNMENT) * ALIGNMENT
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.stat().st_mode & 0o222:
        raise PermissionError(f"{path.parent} is read-only")  # to the superuser too, whom the system would let write
    descriptor, temporary = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(start)
            for name, values in arrays.items():
                file.seek(base + table[name]["offset"])
                file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
            file.truncate(base + position)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def read_cache(path: Path, key: str, *, is_checked: bool = True) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Map the arrays of a cache file; they are read-only views of one memory map.

    Args:
        path: the cache file.
        key: fingerprint that the source has now.
        is_checked: compare the checksum of every array; a worker that reopens what its parent checked need not.

    Returns:
        The arrays by name, and the meta data.

    Raises:
        CacheError: absent, stale, truncated, damaged, or of another version.
    """
    try:
        with path.open("rb") as file:
            header, base = _read_header(file.read(_START.size), file, path)
        if header["fingerprint"] != key:
            raise CacheError(f"{path}: made from another version of the annotation file")
        if path.stat().st_size != base + header["num_bytes"]:
            raise CacheError(f"{path}: truncated")
        mapped = np.asarray(np.memmap(path, np.uint8, mode="r"))
        if is_checked:
            _check_sums(path, base, header["arrays"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CacheError(f"{path}: {error}") from None
    return {name: _view(mapped, base, entry) for name, entry in header["arrays"].items()}, header["meta"]


def _read_header(start: bytes, file: Any, path: Path) -> tuple[dict[str, Any], int]:
    if len(start) < _START.size:
        raise CacheError(f"{path}: truncated")
    magic, version, checksum, length = _START.unpack(start)
    if magic != MAGIC:
        raise CacheError(f"{path}: no cache file")
    if version != VERSION:
        raise CacheError(f"{path}: of version {version}, this is version {VERSION}")
    text = file.read(length) if length < 1 << 30 else b""
    if len(text) != length or zlib.crc32(text) != checksum:
        raise CacheError(f"{path}: damaged header")
    return json.loads(text), -(-(_START.size + length) // ALIGNMENT) * ALIGNMENT


def _check_sums(path: Path, base: int, table: dict[str, dict[str, Any]]) -> None:
    """Compare checksums by plain reads: pages that only the check touched do not count as this process's memory."""
    with path.open("rb") as file:
        for name, entry in table.items():
            file.seek(base + entry["offset"])
            remaining = int(np.dtype(entry["dtype"]).itemsize * np.prod(entry["shape"], dtype=np.int64))
            checksum = 0
            while remaining:
                block = file.read(min(remaining, 1 << 22))
                if not block:
                    raise CacheError(f"{path}: truncated")
                checksum = zlib.crc32(block, checksum)
                remaining -= len(block)
            if checksum != entry["crc"]:
                raise CacheError(f"{path}: array {name} is damaged")


def _view(mapped: np.ndarray, base: int, entry: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(entry["dtype"])
    start = base + entry["offset"]
    num_bytes = int(dtype.itemsize * np.prod(entry["shape"], dtype=np.int64))
    return mapped[start : start + num_bytes].view(dtype).reshape(entry["shape"])
