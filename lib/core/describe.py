"""The options as a page of documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fpt.core.defaults import OPTIONS
from fpt.core.merge import flatten_options
from fpt.core.option import Group, Option

_HEAD = """\
# Options

This page is written by `make docs` from `lib/core/defaults.py` and `model_defaults.py`; change the options there.

Values come from the defaults below, then from the yaml file (`--cfg`: a file, or the name of one in `configs/`, which
the package brings along), then from `--set KEY VALUE ...` or `--set KEY=VALUE ...`. In `--set` a value is written as in
yaml or in Python: `SOLVER.STEPS "(60, 80)"`, `MODEL.MASK_ON yes`, `DATASETS "{t: {IMAGE_DIR: a, ANN_FILE: b}}"`. An
unknown key is an error that names the nearest known one, if one is near. Files of Detectron2, maskrcnn-benchmark,
mmdetection and YOLO are refused with a list of what their keys are called here.

Older Detectron-style files load; `lib/core/legacy_keys.py` lists what becomes of their keys. A key that was renamed or
has no effect gives a warning where it is switched on, and is read without a word where it is off: evaluations go
without test-time augmentation, soft NMS and box voting (`TEST.BBOX_AUG.ENABLED`, `TEST.SOFT_NMS.ENABLED` and so on). A
key with one possible value here (`FAST_RCNN.ROI_XFORM_METHOD`, `RPN.CLS_ACTIVATION` and so on) is an error where it
holds another one: the model or its training would not be what the file asks for. Where such a file leaves a key out,
the default below counts; one warning names the keys whose defaults in Detectron.pytorch are others.
"""


def describe_options(names: Mapping[str, Sequence[str]]) -> str:
    """Every option in markdown tables, one per group: key, default, meaning, legal values.

    Args:
        names: the names that an option may have, by its full key, where they are those of a registry.
    """
    general: Group = {key: item for key, item in OPTIONS.items() if isinstance(item, Option)}
    groups = {key: item for key, item in OPTIONS.items() if not isinstance(item, Option)}
    sections = [_table("General", general, "", names)]
    sections += [_table(name, group, f"{name}.", names) for name, group in groups.items()]
    return "\n".join([_HEAD, *sections])


def _table(title: str, group: Group, prefix: str, names: Mapping[str, Sequence[str]]) -> str:
    rows = [
        f"| `{key}` | {_code(option.default)} | {_cell(option.doc)} | {_legal(option, names.get(key))} |"
        for key, option in flatten_options(group, prefix)
    ]
    return "\n".join([f"## {title}", "", "| Key | Default | Meaning | Legal |", "|---|---|---|---|", *rows, ""])


def _legal(option: Option, names: Sequence[str] | None) -> str:
    if names is not None:
        listed = ", ".join(f"`{name}`" for name in names).replace("|", "\\|")
        return f"{listed}, or [one of your own](extending.md)"
    if option.choices is not None:
        return ", ".join(_code(choice) for choice in option.choices)
    if option.pattern is not None:
        return option.pattern[1]
    if option.low is not None and option.high is not None:
        return f"{option.low:g} to {option.high:g}"
    if option.low is not None:
        return f"at least {option.low:g}"
    if option.high is not None:
        return f"at most {option.high:g}"
    return {bool: "True, False", str: "text", dict: "groups"}.get(type(option.default), "any")


def _code(value: Any) -> str:
    return f"`{value!r}`" if value != "" else "`''`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
