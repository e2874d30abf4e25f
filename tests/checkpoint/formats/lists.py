"""Names and shapes of published weight files, where the folder FPT_SHARED holds their lists."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode

FOLDER = Path(os.environ.get("FPT_SHARED", "shared")) / "design" / "blob_names"
LISTS = sorted(path.name for path in FOLDER.glob("*.txt"))


def read_list(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes by name."""
    pairs = (line.split() for line in (FOLDER / name).read_text().splitlines() if line.strip())
    return {pair[0]: tuple(int(side) for side in pair[1].split("x")) for pair in pairs}


def seeded(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of these shapes: each one its own number, which takes no memory."""
    return {name: torch.tensor(float(index)).expand(shape) for index, (name, shape) in enumerate(shapes.items(), 1)}


def config_of(name: str) -> CfgNode:
    """The model that a list is of."""
    depth = next(number for number in ("101", "152", "50") if number in name)
    options = ["MODEL.CONV_BODY", f"FPN.ResNet{depth}_conv5_body", "MODEL.MASK_ON", str("mask" in name)]
    options += ["MODEL.KEYPOINTS_ON", str("keypoint" in name), "KRCNN.NUM_KEYPOINTS", "17"]
    if "_X-" in name:
        width = "4" if "64x4d" in name else "8"
        options += ["RESNETS.NUM_GROUPS", "64" if width == "4" else "32", "RESNETS.WIDTH_PER_GROUP", width]
    if "GN" in name:
        options += ["RESNETS.USE_GN", "True", "FPN.USE_GN", "True"]
        options += ["FAST_RCNN.ROI_BOX_HEAD", "fast_rcnn_heads.roi_Xconv1fc_gn_head"]
        options += ["MRCNN.ROI_MASK_HEAD", "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn"]
    if "C4" in name:
        options[1] = f"ResNet.ResNet{depth}_conv4_body"
        options += ["FAST_RCNN.ROI_BOX_HEAD", "ResNet.ResNet_roi_conv5_head", "MRCNN.RESOLUTION", "14"]
        options += ["MRCNN.ROI_MASK_HEAD", "mask_rcnn_heads.mask_rcnn_fcn_head_v0upshare"]
        options += ["FAST_RCNN.ROI_XFORM_RESOLUTION", "14", "RPN.SIZES", "(32, 64, 128, 256, 512)"]
    return load_cfg(None, options)
