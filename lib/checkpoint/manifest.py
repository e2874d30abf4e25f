"""The checksums of a folder's checkpoints: ``manifest.json`` beside them.

A file is entered after it is complete, and its entry is removed before the file is replaced or deleted. So a crash at
any moment leaves either a file with its own checksum, or a complete one without; the latter is judged by reading it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fpt.utils.errors import UserError
from fpt.utils.files import write_json

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


def enter_file(path: Path, *, step: int, is_temporary: bool = False) -> None:
    """Enter a complete checkpoint of `step` steps; a temporary one makes room for the next."""
    entries = read_manifest(path.parent)
    entries[path.name] = {"step": step, "bytes": path.stat().st_size, "sha256": file_digest(path)}
    if is_temporary:
        entries[path.name]["temporary"] = True
    _write(path.parent, entries)


def forget_file(path: Path) -> None:
    """Remove the entry of a file that is about to change."""
    entries = read_manifest(path.parent)
    if entries.pop(path.name, None) is not None:
        _write(path.parent, entries)


def check_file(path: Path) -> None:
    """Compare a checkpoint with its entry; without one, with the checksums that a torch file holds itself.

    Raises:
        UserError: they differ; the file was cut off or changed.
    """
    entry = read_manifest(path.parent).get(path.name)
    if entry is None:
        _check_archive(path)
        return
    size = path.stat().st_size
    if size != entry.get("bytes"):
        raise UserError(f"{path} is damaged: it has {size} bytes, its manifest says {entry.get('bytes')}")
    if file_digest(path) != entry.get("sha256"):
        raise UserError(f"{path} is damaged: its checksum is not the one in {path.parent / MANIFEST}")


def _check_archive(path: Path) -> None:
    """Check the checksums in a zip file, as torch writes them; any other file is left to its reader."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile:
        return
    except (ValueError, RuntimeError, NotImplementedError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    if damaged is not None:
        raise UserError(f"{path} is damaged: the checksum of its part {damaged} is wrong")


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Entries by file name; none where the manifest is missing or unreadable."""
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(entries, dict):
        return {}
    return {name: entry for name, entry in entries.items() if _is_entry(entry)}


def _is_entry(entry: Any) -> bool:
    """Whether an entry has the types that it was written with; a file whose entry has not is judged by itself."""
    return (
        isinstance(entry, dict)
        and type(entry.get("step")) is int
        and type(entry.get("bytes", 0)) is int
        and isinstance(entry.get("sha256", ""), str)
    )


def is_temporary(entry: Mapping[str, Any]) -> bool:
    """Whether the checkpoint of an entry is removed when the next one is written; older manifests say ``passing``."""
    return bool(entry.get("temporary") or entry.get("passing"))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _write(folder: Path, entries: dict[str, dict[str, Any]]) -> None:
    write_json(folder / MANIFEST, dict(sorted(entries.items(), key=lambda item: (item[1].get("step", 0), item[0]))))
