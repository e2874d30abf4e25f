"""The node of the configuration tree: a dict whose keys are attributes too, and which can be frozen.

Not built on yacs: that package compares types only (an int where a float is due is an error), forgets which file a
value came from, knows neither legal values nor documentation, and has had no release since 2020. What remains of it
after replacing those parts is this class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


class CfgNode(dict[str, Any]):
    """A group of options: ``cfg.TRAIN.MAX_SIZE`` and ``cfg["TRAIN"]["MAX_SIZE"]`` are the same value.

    Args:
        values: start values; mappings inside become nodes.

    Attributes:
        cfg_dir: folder of the yaml file that the tree was loaded from, or None. It is no option: it isn't among the
            keys, but ``clone`` keeps it.
        cfg_file: that yaml file, or None; likewise.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        object.__setattr__(self, "_frozen", False)
        object.__setattr__(self, "cfg_dir", None)
        object.__setattr__(self, "cfg_file", None)
        for key, value in (values or {}).items():
            self[key] = value

    cfg_dir: Path | None
    cfg_file: Path | None
    _frozen: bool

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no option {name!r} here; there are {', '.join(self) or 'none'}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("cfg_dir", "cfg_file"):
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __setitem__(self, key: str, value: Any) -> None:
        self._check_writable(key)
        if isinstance(value, Mapping) and not isinstance(value, CfgNode):
            value = CfgNode(value)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._check_writable(key)
        super().__delitem__(key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several keys, with the checks of a single one."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of a key, which is set to ``default`` first where it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value, or ``default`` where it is missing."""
        self._check_writable(key)
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove the last key and return it with its value."""
        self._check_writable("the last key")
        return super().popitem()

    def clear(self) -> None:
        """Remove every key."""
        self._check_writable("every key")
        super().clear()

    def __ior__(self, other: Any) -> CfgNode:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.to_dict(), self.is_frozen, self.cfg_dir, self.cfg_file)

    def __deepcopy__(self, memo: dict[int, Any]) -> CfgNode:
        return _rebuild(self.to_dict(), self.is_frozen, self.cfg_dir, self.cfg_file)

    def _check_writable(self, key: str) -> None:
        if self._frozen:
            raise AttributeError(f"the configuration is frozen: {key} cannot be set; work on a clone() of it")

    @property
    def is_frozen(self) -> bool:
        """Whether writing is an error."""
        return self._frozen

    def freeze(self) -> CfgNode:
        """Make this node and all below read-only; returns the node."""
        return self._set_frozen(True)

    def defrost(self) -> CfgNode:
        """Make this node and all below writable again; returns the node."""
        return self._set_frozen(False)

    def _set_frozen(self, frozen: bool) -> CfgNode:
        object.__setattr__(self, "_frozen", frozen)
        for value in self.values():
            if isinstance(value, CfgNode):
                value._set_frozen(frozen)
        return self

    def clone(self) -> CfgNode:
        """A deep, writable copy."""
        return _rebuild(self.to_dict(), False, self.cfg_dir, self.cfg_file)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts all the way down; the leaves are shared (they are immutable)."""
        return {key: value.to_dict() if isinstance(value, CfgNode) else value for key, value in self.items()}

    def dump(self) -> str:
        """The tree as yaml text that ``load_cfg`` reads back to the same values."""
        return yaml.safe_dump(_with_lists(self.to_dict()), sort_keys=False, default_flow_style=None, width=120)

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Pairs of full dotted key and value, depth first."""
        for key, value in self.items():
            if isinstance(value, CfgNode):
                yield from value.leaves(f"{prefix}{key}.")
            else:
                yield prefix + key, value


def _rebuild(values: dict[str, Any], frozen: bool, cfg_dir: Path | None, cfg_file: Path | None) -> CfgNode:
    node = CfgNode(values)
    node.cfg_dir, node.cfg_file = cfg_dir, cfg_file
    return node.freeze() if frozen else node


def _with_lists(value: Any) -> Any:
    """Tuples as lists: yaml has no tuple."""
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_with_lists(item) for item in value]
    return value
