"""Reading of older Detectron-style files: each of their keys is translated, dropped with a note, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fpt.core.legacy_keys import DETAILS, DROPPED, FIXED, GROUP_NORM_FUNCTIONS, IMPLIED, RENAMED
from fpt.core.option import Option
from fpt.core.values import convert, parse_literal, shown
from fpt.utils.errors import UserError


class Translation(NamedTuple):
    """What an older key means here.

    Attributes:
        pairs: the options to set.
        note: for the user, where something changed.
    """

    pairs: list[tuple[str, Any]]
    note: str | None = None


_DETECTORS = ("generalized_rcnn", "rpn", "fast_rcnn", "faster_rcnn", "mask_rcnn", "keypoint_rcnn")
"""What Detectron calls a detector in MODEL.TYPE; other options say which parts it has."""


def translate(key: str, value: Any) -> Translation:
    """The options that a key of this project or of an older file stands for.

    Args:
        key: full dotted key; a key of this project, or an unknown one, comes back as it is.
        value: as written.

    Raises:
        UserError: the value asks for a feature that is missing here.
    """
    if key in RENAMED:
        new_key = RENAMED[key]
        return Translation([(new_key, _MOVED.get(key, _same)(value))], f"renamed to {new_key}, which got the value")
    if key in DETAILS:
        return Translation([])
    if key in DROPPED:
        return Translation([], None if _is_off(value) else f"without effect: {DROPPED[key]}")
    if key == "MODEL.TYPE" and value == "retinanet":
        return Translation(
            [("RETINANET.RETINANET_ON", True)], "replaced by RETINANET.RETINANET_ON, which is set to True"
        )
    if key == "MODEL.TYPE" and value in _DETECTORS:
        return Translation([])
    if key in IMPLIED:
        return Translation([], f"without effect: {IMPLIED[key]}" if _is_off(value) else None)
    if key in FIXED:
        return _translate_fixed(key, value)
    if key in _VALUES:
        return _translate_value(key, value)
    return Translation([(key, value)])


def is_legacy(key: str) -> bool:
    """Whether a key is one that older files hold and this project doesn't have."""
    return any(key in table for table in (RENAMED, DROPPED, FIXED, IMPLIED, DETAILS))


def _is_off(value: Any) -> bool:
    """Whether a value switches nothing on: False, nothing, or an empty sequence or text."""
    literal = parse_literal(value)
    return not literal or (isinstance(literal, str) and literal.strip().lower() in ("false", "no", "off", "none"))


def _translate_fixed(key: str, value: Any) -> Translation:
    if value == GROUP_NORM_FUNCTIONS.get(key, ...):
        return Translation([("RESNETS.USE_GN", True)], "replaced by RESNETS.USE_GN, which is set to True")
    legal, note = FIXED[key]
    if convert(value, Option(legal, note, element=str if legal == () else None)) != legal:
        raise UserError(f"is {shown(value)}, but {note}; the only value here is {legal!r}")
    return Translation([])


def _translate_value(key: str, value: Any) -> Translation:
    new_value = _VALUES[key](value)
    if new_value == value:
        return Translation([(key, value)])
    return Translation([(key, new_value)], f"{shown(value)} is written {shown(new_value)} now")


def _same(value: Any) -> Any:
    return value


def _split_names(value: Any) -> Any:
    """``'a:b'`` -> ``('a', 'b')``."""
    return tuple(value.split(":")) if isinstance(value, str) and not value.startswith("(") else value


def _first(value: Any) -> Any:
    """The only number of a sequence; anything else is left to the type check."""
    numbers = parse_literal(value)
    return numbers[0] if isinstance(numbers, (tuple, list)) and len(numbers) == 1 else value


def _local_weights(value: Any) -> Any:
    """A download address becomes the place where the file belongs."""
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return "pretrained_model/" + value.rstrip("/").rpartition("/")[2]
    return value


def _conv_body(value: Any) -> Any:
    """``FPN.fpn_ResNet50_conv5_body`` -> ``FPN.ResNet50_conv5_body``; ``add_`` is Caffe2's, P2only a neck here."""
    if not isinstance(value, str):
        return value
    name = re.sub(r"^(FPN|ResNet)\.(?:add_)?(?:fpn_)?", r"\1.", value)
    return re.sub(r"^FPN\.(.*)_P2only_body", r"P2only.\1_body", name)


def _box_head_name(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    name = re.sub(r"^(?:head_builder|fast_rcnn_heads)\.(?:add_)?", "fast_rcnn_heads.", value)
    return re.sub(r"^ResNet\.add_", "ResNet.", name)


def _keypoint_head_name(value: Any) -> Any:
    return re.sub(r"\.add_", ".", value) if isinstance(value, str) else value


def _parameter_patterns(value: Any) -> Any:
    """``'body.*'`` of TRAIN.FREEZE -> ``'backbone.*'``."""
    names = parse_literal(value)
    if isinstance(names, str):
        return re.sub(r"^body\.", "backbone.", names)
    return type(names)(_parameter_patterns(name) for name in names) if isinstance(names, (tuple, list)) else value


def _num_classes(value: Any) -> Any:
    """-1 stood for a number that has to be set."""
    return 0 if parse_literal(value) == -1 else value


def _conventions(value: Any) -> Any:
    """True and False stand for Detectron's conventions and none."""
    literal = parse_literal(value)
    return ("detectron" if literal else "off") if isinstance(literal, bool) else value


def _device(value: Any) -> Any:
    return "cpu" if _is_off(value) else "auto"


_MOVED: dict[str, Callable[[Any], Any]] = {
    "CUDA": _device,
    "MODEL.ROI_HEAD": _box_head_name,
    "TEST.DATASET": _split_names,
    "TEST.PROPOSAL_FILE": _split_names,
    "TEST.SCALES": _first,
    "TRAIN.DATASET": _split_names,
    "TRAIN.PROPOSAL_FILE": _split_names,
    "TRAIN.WEIGHTS": _local_weights,
}

_VALUES: dict[str, Callable[[Any], Any]] = {
    "MODEL.CONV_BODY": _conv_body,
    "MODEL.LEGACY": _conventions,
    "MODEL.NUM_CLASSES": _num_classes,
    "FAST_RCNN.ROI_BOX_HEAD": _box_head_name,
    "KRCNN.ROI_KEYPOINTS_HEAD": _keypoint_head_name,
    "TRAIN.FREEZE": _parameter_patterns,
}
