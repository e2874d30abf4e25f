"""Reading torch files without running what they contain."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import torch

from fpt.utils.errors import UserError


def safe_torch_load(path: str | Path) -> Any:
    """Read a torch file (tensors and plain values only) onto the CPU; nothing in it is executed.

    Raises:
        UserError: the file is missing, truncated, no torch file, or holds anything that only code could rebuild.
    """
    path = Path(path)
    require_file(path, "weights file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails in many ways on bytes that are not its own
        raise UserError(_explain(path, error)) from error


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


def _explain(path: Path, error: Exception) -> str:
    text = str(error)
    refused = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:class|operand|global):? ?([\w.]*)", text)
    if refused:
        name = refused.group(1) or refused.group(2) or "an object"
        return (
            f"{path} is refused: it asks for {name}, which is neither a tensor nor a plain value, so that loading it "
            "could run code; nothing was run. Save it again as a state dict of tensors"
        )
    size = path.stat().st_size
    return (
        f"{path} cannot be read ({size} bytes): it is truncated or no torch file; copy or download it again "
        f"[{type(error).__name__}]"
    )
