"""A configuration whose key points are concrete: those of the training data, or of the model that is used."""

from __future__ import annotations

import logging

from fpt.checkpoint.checkpoint import Checkpoint, ForeignCheckpoint
from fpt.core.config import check_cfg, parse_cfg
from fpt.core.config_node import CfgNode
from fpt.structures.keypoints import COCO_PERSON, KeypointLayout, flip_order
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")


def keypoints_of_data(cfg: CfgNode, layout: KeypointLayout | None) -> CfgNode:
    """A frozen copy with number, names and skeleton of the key points in KRCNN, where MODEL.KEYPOINTS_ON.

    Args:
        cfg: the whole configuration.
        layout: of the training data.

    Raises:
        UserError: `cfg` says another number or other names.
    """
    if not cfg.MODEL.KEYPOINTS_ON or layout is None:
        return cfg
    options = cfg.KRCNN
    if options.NUM_KEYPOINTS not in (0, len(layout)):
        raise UserError(
            f"KRCNN.NUM_KEYPOINTS is {options.NUM_KEYPOINTS}, but the objects of the data set have {len(layout)} key "
            "points; set it to 0 to take the number from the data set"
        )
    if options.KEYPOINT_NAMES and tuple(options.KEYPOINT_NAMES) != layout.names:
        raise UserError(
            f"KRCNN.KEYPOINT_NAMES is {tuple(options.KEYPOINT_NAMES)}, but the data set has {layout.names}; leave it "
            "empty to take them from the data set"
        )
    order = flip_order(layout.names, options.FLIP_PAIRS)
    pairs = [f"{layout.names[i]} and {layout.names[j]}" for i, j in enumerate(order) if i < j]
    if cfg.TRAIN.USE_FLIPPED:
        _LOGGER.info(
            "%d key points; a mirrored image exchanges %s",
            len(layout),
            ", ".join(pairs) or "none of them (KRCNN.FLIP_PAIRS names others)",
        )
    return _with_layout(cfg, layout)


def keypoints_of_model(cfg: CfgNode, checkpoint: Checkpoint) -> CfgNode:
    """A frozen copy with the key points that a checkpoint's model knows, where KRCNN leaves them open.

    Where it says another number it stays as it is: the weights do not fit then, which loading them says.
    """
    options = cfg.KRCNN
    if not cfg.MODEL.KEYPOINTS_ON or (options.NUM_KEYPOINTS and options.KEYPOINT_NAMES):
        return cfg
    layout = _layout_of_checkpoint(checkpoint)
    if layout is None or options.NUM_KEYPOINTS not in (0, len(layout)):
        return cfg
    return _with_layout(cfg, layout)


def _layout_of_checkpoint(checkpoint: Checkpoint) -> KeypointLayout | None:
    """Those of its configuration; of another program's model COCO's, or numbers."""
    if not isinstance(checkpoint, ForeignCheckpoint):
        return layout_of(parse_cfg(checkpoint.config, source="the checkpoint"))
    heads = [value for name, value in checkpoint.model.items() if name.endswith("keypoint_branch.head.upsample.weight")]
    if not heads:
        return None
    number = heads[0].shape[1]
    is_person = number == len(COCO_PERSON)
    return COCO_PERSON if is_person else KeypointLayout(tuple(f"point {i}" for i in range(1, number + 1)))


def layout_of(cfg: CfgNode) -> KeypointLayout | None:
    """The key points that a resolved configuration names; None without."""
    options = cfg.KRCNN
    if not cfg.MODEL.KEYPOINTS_ON or not options.KEYPOINT_NAMES:
        return None
    pairs = zip(options.SKELETON[::2], options.SKELETON[1::2], strict=True)
    return KeypointLayout(tuple(options.KEYPOINT_NAMES), tuple((a - 1, b - 1) for a, b in pairs))


def _with_layout(cfg: CfgNode, layout: KeypointLayout) -> CfgNode:
    copy = cfg.clone()
    options = copy.KRCNN
    options.NUM_KEYPOINTS = len(layout)
    options.KEYPOINT_NAMES = options.KEYPOINT_NAMES or layout.names
    options.SKELETON = options.SKELETON or tuple(end + 1 for pair in layout.skeleton for end in pair)
    check_cfg(copy)
    return copy.freeze()
