"""The yaml file that a path or a name means: the files of ``configs/`` come with the package and are found by name."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable
from pathlib import Path

from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = (".yaml", ".yml")


def find_cfg_file(cfg_file: str | Path) -> Path:
    """The existing yaml file that ``--cfg`` or ``load_cfg`` names.

    Args:
        cfg_file: path of a file, which wins; else the name of a file of ours: its path below ``configs/`` or the end of
            that path, with or without suffix, such as "paper/fpt_R-101", "fpt_R-101" or "fpt_R-101.yaml".

    Raises:
        UserError: there is neither; the nearest names are given. Or several files of ours have this name.
    """
    path = Path(cfg_file)
    if path.is_file():
        return path
    files = packaged_files()
    name = _without_suffix(path)
    found = match_name(name, files)
    if found is None:
        raise UserError(f"config file {path} does not exist; files with a similar name: {_similar(path, files)}")
    _LOGGER.info("configuration %s: %s", found, files[found])
    return files[found]


def packaged_files() -> dict[str, Path]:
    """The yaml files that come with the package, by name: the path below ``configs/`` without suffix."""
    folder = _PACKAGE / "configs"  # in a wheel; a checkout has it beside the package
    if not folder.is_dir():
        folder = _PACKAGE.parent / "configs"
    return {_without_suffix(path.relative_to(folder)): path for path in sorted(folder.rglob("*.yaml"))}


def match_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that is `name`, or else the only one that ends with it; None where there is none.

    Raises:
        UserError: several names end with it; the message lists them.
    """
    names = list(known)
    if name in names:
        return name
    found = [item for item in names if item.endswith(f"/{name}")]
    if len(found) > 1:
        raise UserError(f"{name} is the name of several configurations; give one of {', '.join(found)}")
    return found[0] if found else None


def _similar(path: Path, files: dict[str, Path]) -> str:
    """Names of ours, and files in the folder of `path`, that are spelled like it."""
    beside = [file for file in sorted(path.parent.glob("*.y*ml")) if file.is_file()]  # not below: maybe a whole disk
    names = {name.rpartition("/")[2]: name for name in files} | {_without_suffix(Path(x.name)): str(x) for x in beside}
    near = difflib.get_close_matches(_without_suffix(Path(path.name)), names, n=3, cutoff=0.4)
    return ", ".join(names[name] for name in near) or "none"


def _without_suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix in _SUFFIXES else path).as_posix()
