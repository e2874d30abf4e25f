"""What a run is of: its yaml files and its data, so that no run goes on as another one."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fpt.checkpoint.manifest import file_digest
from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import find_files
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")

IDENTITY = "run.json"


@dataclass(frozen=True)
class NamedFile:
    """A file and what was in it.

    Attributes:
        name: of the data set that it annotates; of a yaml file, its own.
        file: its absolute path; of an annotation folder, that of the folder.
        sha256: of its content, hexadecimal; of a folder, of the names and sizes in it; None where it cannot be read.
    """

    name: str
    file: str
    sha256: str | None

    def is_same(self, other: NamedFile) -> bool:
        """Whether it is the same file, which may have been edited, or a copy of it, which may lie elsewhere."""
        return self.file == other.file or (self.sha256 is not None and self.sha256 == other.sha256)

    def __str__(self) -> str:
        return self.file if Path(self.file).name == self.name else f"{self.name} ({self.file})"


@dataclass(frozen=True)
class RunIdentity:
    """What a run is of.

    Attributes:
        configurations: the yaml files that it was started and gone on with; none for a configuration without file.
        datasets: annotation files of TRAIN.DATASETS.
    """

    configurations: tuple[NamedFile, ...]
    datasets: tuple[NamedFile, ...]

    def has_data_of(self, other: RunIdentity) -> bool:
        """Whether both train on the same annotation files."""
        return len(self.datasets) == len(other.datasets) and all(
            any(mine.is_same(theirs) for theirs in other.datasets) for mine in self.datasets
        )

    def has_configuration_of(self, other: RunIdentity) -> bool:
        """Whether they share a yaml file; what is known of none is no contradiction."""
        pairs = [(mine, theirs) for mine in self.configurations for theirs in other.configurations]
        return not pairs or any(mine.is_same(theirs) for mine, theirs in pairs)

    def __str__(self) -> str:
        parts = [", ".join(map(str, files)) for files in (self.configurations, self.datasets) if files]
        return " on ".join(parts) or "an unnamed configuration"


def identity_of(cfg: CfgNode) -> RunIdentity:
    """The identity of a run that starts now.

    Raises:
        UserError: a data set is unknown, or its files are not there.
    """
    files = () if cfg.cfg_file is None else (_named(cfg.cfg_file.name, cfg.cfg_file),)
    return RunIdentity(files, tuple(_named(name, find_files(cfg, name)[0]) for name in cfg.TRAIN.DATASETS))


def read_identity(run: Path) -> RunIdentity | None:
    """The identity that a run folder tells, an earlier version's that of its data alone; None where it is unknown."""
    try:
        content = json.loads((run / IDENTITY).read_text(encoding="utf-8"))
        return RunIdentity(*(tuple(NamedFile(**item) for item in content[key]) for key in _KEYS))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        return RunIdentity((), identity_of(load_cfg(run / "config.yaml")).datasets)
    except (OSError, UserError):
        return None


def identity_to_json(identity: RunIdentity, *, earlier: RunIdentity | None) -> dict[str, Any]:
    """What `read_identity` reads, with the yaml files that the run was `earlier` gone on with."""
    before = () if earlier is None else earlier.configurations
    files = [item for item in before if item not in identity.configurations] + list(identity.configurations)
    return {
        "configurations": [asdict(item) for item in files],
        "datasets": [asdict(item) for item in identity.datasets],
    }


def why_another(identity: RunIdentity, run: Path) -> str:
    """Why the run in a folder is another one than that of `identity`; empty if it is not."""
    earlier = read_identity(run)
    if earlier is None:
        return f"{run} does not tell what it is of"
    is_own = any(Path(item.file).parent == run.resolve() for item in identity.configurations)
    if not (is_own or identity.has_configuration_of(earlier)) or not identity.has_data_of(earlier):
        return f"{run} is of {earlier}, not of {identity}"
    return ""


def warn_of_changes(identity: RunIdentity, run: Path) -> None:
    """Log what has changed in the data of a run that goes on."""
    earlier = read_identity(run)
    if earlier is None:
        return
    if not identity.has_data_of(earlier):
        _LOGGER.warning("%s was trained on %s, and goes on with %s", run, _list(earlier), _list(identity))
        return
    for item in identity.datasets:
        if all(item.sha256 != other.sha256 for other in earlier.datasets):
            _LOGGER.warning("data set %s has changed since the run in %s was last started", item, run)


def _list(identity: RunIdentity) -> str:
    return ", ".join(map(str, identity.datasets))


def _named(name: str, path: Path) -> NamedFile:
    return NamedFile(name, str(path.resolve()), _digest(path))


def _digest(path: Path) -> str | None:
    try:
        if not path.is_dir():
            return file_digest(path)
        entries = sorted((os.fsencode(file.relative_to(path)), file.stat().st_size) for file in path.rglob("*"))
    except OSError:
        return None
    return hashlib.sha256(repr(entries).encode()).hexdigest()


_KEYS = ("configurations", "datasets")
