"""The configuration tree: defaults, then a yaml file, then ``KEY VALUE`` pairs; typed, checked, frozen."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fpt.core.assignments import Assignment, parse_yaml, read_pairs, read_yaml
from fpt.core.check import check_cfg
from fpt.core.config_files import find_cfg_file
from fpt.core.config_node import CfgNode
from fpt.core.defaults import OPTIONS
from fpt.core.foreign import refuse_foreign, refuse_python
from fpt.core.merge import PATH_KEYS, expand_all, flatten_options, merge
from fpt.core.option import Group, Option
from fpt.core.original_defaults import log_original_defaults
from fpt.core.relations import log_unreached_steps
from fpt.core.yaml_text import read_text
from fpt.utils.errors import UserError

__all__ = [
    "check_cfg",
    "checked_copy",
    "get_cfg",
    "load_cfg",
    "parse_cfg",
    "resolve_data_path",
    "resolve_weights_path",
    "set_keys",
    "with_absolute_paths",
]

_LOGGER = logging.getLogger("fpt")
_DEFAULT_DATA_DIR = Path("data")


def get_cfg() -> CfgNode:
    """The tree with every default, writable."""
    return CfgNode(_defaults(OPTIONS))


def load_cfg(cfg_file: str | Path | None, opts: Sequence[str] = ()) -> CfgNode:
    """The checked and frozen configuration of a run.

    Args:
        cfg_file: yaml file over the defaults, or the name of one that comes with the package, such as
            "e2e_fptnet_R-50_mask" or "paper/fpt_R-101" (see `find_cfg_file`); None = the defaults.
        opts: ``[KEY, VALUE, KEY, VALUE, ...]`` over the file, as ``--set`` gives them.

    Raises:
        UserError: there is no such file or name, the file can't be read, a key is unknown, or a value isn't legal; all
            keys and values are named at once.
    """
    options = dict(flatten_options(OPTIONS))
    path = None if cfg_file is None else find_cfg_file(cfg_file)
    written = [] if path is None else _read_file(path, options)
    cfg = get_cfg()
    pairs = read_pairs(opts)
    sources = merge(cfg, [*written, *pairs], options)
    if path is not None:
        cfg.cfg_file = path.resolve()
        cfg.cfg_dir = cfg.cfg_file.parent
        log_original_defaults(written, cfg, sources)
    check_cfg(cfg, sources)
    log_unreached_steps(cfg, written)
    return cfg.freeze()


def set_keys(opts: Sequence[str]) -> frozenset[str]:
    """Full dotted keys that ``--set`` gives.

    Args:
        opts: as `load_cfg` takes them.
    """
    return frozenset(item.key for item in expand_all(read_pairs(opts), dict(flatten_options(OPTIONS)), []))


def _read_file(path: Path, options: dict[str, Option]) -> list[Assignment]:
    if path.suffix == ".py":
        refuse_python(path, read_text(path))
    written = read_yaml(path)
    refuse_foreign(written, path, options)
    return written


def parse_cfg(text: str, *, source: str) -> CfgNode:
    """The checked and frozen configuration of a yaml text, such as the one that a checkpoint holds.

    Args:
        text: as ``CfgNode.dump`` writes it.
        source: where it comes from, for the messages.

    Raises:
        UserError: a key is unknown, or a value is not legal.
    """
    cfg = get_cfg()
    check_cfg(cfg, merge(cfg, parse_yaml(text, source=source), dict(flatten_options(OPTIONS))))
    return cfg.freeze()


def checked_copy(cfg: CfgNode) -> CfgNode:
    """A writable copy of a tree that a program has made or changed: each value in its option's type, and legal.

    So it is what its ``dump`` reads back as. Paths and NumPy's numbers become text and numbers.

    Raises:
        UserError: as `parse_cfg`; the nearest known keys are named.
    """
    copy = get_cfg()
    written = [Assignment(key, _plain(value), "the program") for key, value in cfg.leaves()]
    check_cfg(copy, merge(copy, written, dict(flatten_options(OPTIONS))))
    copy.cfg_dir, copy.cfg_file = cfg.cfg_dir, cfg.cfg_file
    return copy


def _plain(value: Any) -> Any:
    """A value in the types that a yaml file has."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return type(value)(_plain(item) for item in value)
    return value.tolist() if hasattr(value, "tolist") else value  # NumPy's


def resolve_data_path(cfg: CfgNode, path: str) -> Path:
    """The existing file or folder that a path of a data set means.

    Args:
        cfg: the configuration; a relative path counts from DATA_DIR where it is set, then from the folder of the yaml
            file, and without DATA_DIR from ``data`` in the working folder last. So what a yaml file means does not
            depend on the folder that a command is started from, as long as the data lie beside it.
        path: as the configuration writes it. Where two places hold it, the one that is taken is logged.

    Raises:
        UserError: it is in none of these places; the message lists them.
    """
    is_absolute = Path(path).expanduser().is_absolute()
    advice = "DATA_DIR moves relative paths alone" if is_absolute else "set DATA_DIR to the folder that holds it"
    return _find(path, _data_folders(cfg), advice)


def resolve_weights_path(cfg: CfgNode, path: str) -> Path:
    """The existing file that a path of weights means.

    Args:
        cfg: the configuration; a relative path counts as that of a data set, or from the working folder, as published
            yaml files write it (``data/pretrained_model/resnet50_caffe.pth``).
        path: as the configuration writes it. Where two places hold it, the one that is taken is logged.

    Raises:
        UserError: it is in none of these places; the message lists them.
    """
    return _find(path, _weights_folders(cfg), "put it at one of these places")


def with_absolute_paths(cfg: CfgNode) -> CfgNode:
    """A frozen copy whose paths mean the same from any folder: what a run folder keeps.

    Paths that lead nowhere stay as they are, so that the message about them names what the user wrote.
    """
    copy = cfg.clone()
    for name, entry in cfg.DATASETS.items():
        for key in PATH_KEYS:
            copy.DATASETS[name][key] = _absolute(entry[key], _data_folders(cfg))
    weights = cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS
    copy.RESNETS.IMAGENET_PRETRAINED_WEIGHTS = _absolute(weights, _weights_folders(cfg))
    copy.DATA_DIR = str(Path(cfg.DATA_DIR or _DEFAULT_DATA_DIR).expanduser().resolve())
    return copy.freeze()


def _data_folders(cfg: CfgNode) -> list[Path]:
    """Where relative data paths are looked for, in this order."""
    beside = [] if cfg.cfg_dir is None else [cfg.cfg_dir]
    return [Path(cfg.DATA_DIR).expanduser(), *beside] if cfg.DATA_DIR else [*beside, _DEFAULT_DATA_DIR]


def _weights_folders(cfg: CfgNode) -> list[Path]:
    folders = _data_folders(cfg)
    return [*folders[:-1], Path(), folders[-1]] if folders[-1] == _DEFAULT_DATA_DIR else [*folders, Path()]


def _absolute(path: str, folders: Sequence[Path]) -> str:
    found = _existing(_candidates(path, folders)) if path else []
    return str(found[0].resolve()) if found else path


def _candidates(path: str, folders: Sequence[Path]) -> list[Path]:
    expanded = Path(path).expanduser()
    return [expanded] if expanded.is_absolute() else [folder / expanded for folder in folders]


def _existing(candidates: Sequence[Path]) -> list[Path]:
    """Those that exist, each file or folder once, under the first of its names."""
    by_place: dict[Path, Path] = {}
    for candidate in candidates:
        if candidate.exists():
            by_place.setdefault(candidate.resolve(), candidate)
    return list(by_place.values())


def _find(path: str, folders: Sequence[Path], advice: str) -> Path:
    candidates = _candidates(path, folders)
    found = _existing(candidates)
    if len(found) > 1:
        _LOGGER.warning("%s: %s is used; not %s", path, found[0], ", ".join(str(other) for other in found[1:]))
    if found:
        return found[0]
    raise UserError(f"{path!r} does not exist; looked at {' and '.join(map(str, candidates))}; {advice}")


def _defaults(group: Group) -> dict[str, object]:
    return {key: item.default if isinstance(item, Option) else _defaults(item) for key, item in group.items()}
