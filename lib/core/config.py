"""The configuration tree: defaults, then a yaml file, then ``KEY VALUE`` pairs; typed, checked, frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fpt.core.check import check_cfg
from fpt.core.config_node import CfgNode
from fpt.core.defaults import OPTIONS
from fpt.core.merge import flatten_options, merge, parse_yaml, read_pairs, read_yaml
from fpt.core.option import Group, Option
from fpt.utils.errors import UserError

__all__ = [
    "check_cfg",
    "get_cfg",
    "load_cfg",
    "parse_cfg",
    "resolve_data_path",
    "resolve_weights_path",
    "with_absolute_paths",
]


def get_cfg() -> CfgNode:
    """The tree with every default, writable."""
    return CfgNode(_defaults(OPTIONS))


def load_cfg(cfg_file: str | Path | None, opts: Sequence[str] = ()) -> CfgNode:
    """The checked and frozen configuration of a run.

    Args:
        cfg_file: yaml file over the defaults, or None.
        opts: ``[KEY, VALUE, KEY, VALUE, ...]`` over the file, as ``--set`` gives them.

    Raises:
        UserError: the file can't be read, a key is unknown, or a value isn't legal; all of them are named at once.
    """
    cfg = get_cfg()
    assignments = read_yaml(Path(cfg_file)) if cfg_file is not None else []
    sources = merge(cfg, [*assignments, *read_pairs(opts)], dict(flatten_options(OPTIONS)))
    if cfg_file is not None:
        cfg.cfg_dir = Path(cfg_file).resolve().parent
    check_cfg(cfg, sources)
    return cfg.freeze()


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


def resolve_data_path(cfg: CfgNode, path: str) -> Path:
    """The existing file or folder that a path of a data set means.

    Args:
        cfg: the configuration; a relative path counts from DATA_DIR, then from the folder of the yaml file.
        path: as the configuration writes it.

    Raises:
        UserError: it is in none of these places; the message lists them.
    """
    return _find(path, [Path(cfg.DATA_DIR).expanduser(), cfg.cfg_dir], "set DATA_DIR to the folder that holds it")


def resolve_weights_path(cfg: CfgNode, path: str) -> Path:
    """The existing file that a path of weights means.

    Args:
        cfg: the configuration; a relative path counts from the working folder, DATA_DIR, the yaml file's folder.
        path: as the configuration writes it.

    Raises:
        UserError: it is in none of these places; the message lists them.
    """
    places = [Path(), Path(cfg.DATA_DIR).expanduser(), cfg.cfg_dir]
    return _find(path, places, "put it at one of these places")


def with_absolute_paths(cfg: CfgNode) -> CfgNode:
    """A frozen copy whose paths mean the same from any folder: what a run folder keeps.

    Paths that lead nowhere stay as they are, so that the message about them names what the user wrote.
    """
    copy = cfg.clone()
    for name, entry in cfg.DATASETS.items():
        for key, path in entry.items():
            copy.DATASETS[name][key] = _absolute(resolve_data_path, cfg, path)
    weights = cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS
    copy.RESNETS.IMAGENET_PRETRAINED_WEIGHTS = _absolute(resolve_weights_path, cfg, weights)
    copy.DATA_DIR = str(Path(cfg.DATA_DIR).expanduser().resolve())
    return copy.freeze()


def _absolute(resolve: Callable[[CfgNode, str], Path], cfg: CfgNode, path: str) -> str:
    try:
        return str(resolve(cfg, path).resolve()) if path else path
    except UserError:
        return path


def _find(path: str, folders: Sequence[Path | None], advice: str) -> Path:
    expanded = Path(path).expanduser()
    tried = [expanded] if expanded.is_absolute() else [folder / expanded for folder in folders if folder is not None]
    for candidate in tried:
        if candidate.exists():
            return candidate
    raise UserError(f"{path!r} does not exist; looked at {' and '.join(str(item) for item in tried)}; {advice}")


def _defaults(group: Group) -> dict[str, object]:
    return {key: item.default if isinstance(item, Option) else _defaults(item) for key, item in group.items()}
