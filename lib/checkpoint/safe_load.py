"""Reading torch files without running what they contain."""

from __future__ import annotations

import difflib
import zipfile
from pathlib import Path
from typing import Any

import torch

from fpt.checkpoint.file_bounds import check_archive, check_content, check_pickle
from fpt.checkpoint.file_kinds import asked_objects, describe_file, describe_owner
from fpt.utils.errors import UserError

_MAX_PICKLE = 16 << 20


def safe_torch_load(path: str | Path) -> Any:
    """Read a torch file (tensors and plain values only) onto the CPU; nothing in it is executed.

    Raises:
        UserError: the file is missing, of another kind (which is named), truncated, unfolds to more than it holds, or
            holds anything that only code could rebuild.
    """
    path = Path(path)
    require_file(path, "weights file")
    check_kind(path)
    pickled = _pickle_of(path)
    check_pickle(path, pickled)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails in many ways on bytes that are not its own
        raise UserError(_explain(path, pickled, error)) from error
    check_content(path, content)
    return content


def check_kind(path: Path) -> None:
    """Raise UserError for a file that is no torch file by its content, or whose parts unfold to more than it holds."""
    try:
        if meaning := describe_file(path):
            raise UserError(f"{path} is {meaning}")
        check_archive(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def require_file(path: Path, what: str) -> None:
    """Raise UserError, naming the nearest file beside it, unless `path` is a file."""
    if path.is_file():
        return
    if path.is_dir():
        raise UserError(f"{what} {path} is a folder; name a file in it")
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=3)
    hint = f"; near it: {', '.join(near)}" if near else ""
    hint = hint if path.parent.is_dir() else f"; its folder {path.parent} does not exist either"
    raise UserError(f"{what} {path} does not exist{hint}")


def _pickle_of(path: Path) -> bytes:
    """The pickle in a torch file, or the beginning of the file where it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            for part in archive.infolist():
                if part.filename.endswith("data.pkl"):
                    return archive.read(part)
            return b""
    except (zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError, EOFError):
        with path.open("rb") as file:
            return file.read(_MAX_PICKLE)


def _explain(path: Path, pickled: bytes, error: Exception) -> str:
    asked = asked_objects(pickled)
    if asked:
        owner = describe_owner(asked)
        advice = f"It seems to be {owner}" if owner else "Save it again as a state dict of tensors"
        return (
            f"{path} is refused: it asks for {', '.join(asked)}, which is neither a tensor nor a plain value, so that "
            f"loading it could run code; nothing was run. {advice}"
        )
    size = path.stat().st_size
    return (
        f"{path} cannot be read ({size} bytes): it is truncated or no torch file; copy or download it again "
        f"[{type(error).__name__}]"
    )
