"""Tables of the keys that older Detectron-style files hold and this project doesn't have.

``RENAMED``: the value moves. ``DROPPED``: the value has no effect; the note says what there is instead. ``FIXED``: one
value is possible here, which changes nothing; any other one asks for something that is missing, which is an error.
``IMPLIED``: other options say it too.
``DETAILS``: they belong to one of ``DROPPED``, and say nothing.
``ORIGINAL_DEFAULTS``: what the originals take where a file leaves a key out.
"""

from __future__ import annotations

from typing import Any

RENAMED: dict[str, str] = {
    "CUDA": "DEVICE",
    "MODEL.ROI_HEAD": "FAST_RCNN.ROI_BOX_HEAD",
    "MRCNN.MASK_HEAD_NAME": "MRCNN.ROI_MASK_HEAD",
    "RETINANET.INFERENCE_TH": "TEST.SCORE_THRESH",
    "RESNETS.IMAGENET_PRETRAINED": "MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS",
    "TEST.DATASET": "TEST.DATASETS",
    "TEST.PROPOSAL_FILE": "TEST.PROPOSAL_FILES",
    "TEST.SCALES": "TEST.SCALE",
    "TRAIN.DATASET": "TRAIN.DATASETS",
    "TRAIN.PROPOSAL_FILE": "TRAIN.PROPOSAL_FILES",
    "TRAIN.WEIGHTS": "RESNETS.IMAGENET_PRETRAINED_WEIGHTS",
}

_KEYPOINTS = "the keypoint head makes its heat maps by a transposed 4x4 convolution and a bilinear doubling"
_TARGETS = "box regression targets are scaled by MODEL.BBOX_REG_WEIGHTS"
_CAFFE2 = "it steered Caffe2, and has no counterpart in PyTorch"
_INFERRED = "it follows from the other options"
_UNUSED = "nothing here depends on it"
_MOMENTUM = "PyTorch's SGD applies the rate after the momentum, so that there is nothing to correct"
_CROPPING = "images are never cropped"
_POOLING = "RoI features are pooled by RoIAlign alone"


def _below(prefix: str, names: str, note: str) -> dict[str, str]:
    return {f"{prefix}.{name}": note for name in names.split()}


DROPPED: dict[str, str] = {
    **_below(
        "KRCNN",
        "MIN_KEYPOINT_COUNT_FOR_VALID_MINIBATCH",
        "an image with few annotated points is trained on, too; its loss is divided by their number",
    ),
    "KRCNN.DECONV_DIM": "the layer that it is for (KRCNN.USE_DECONV) is not there",
    "KRCNN.INFERENCE_MIN_SIZE": "heat maps are brought to the pixels of their box",
    **_below("RFCN", "PS_GRID_SIZE", "there is no R-FCN here, and nothing else reads this"),
    "MODEL.PS_GRID_SIZE": "there is no R-FCN here, and nothing else reads this",
    **_below(
        "TRAIN",
        "BBOX_NORMALIZE_TARGETS BBOX_NORMALIZE_TARGETS_PRECOMPUTED BBOX_NORMALIZE_MEANS BBOX_NORMALIZE_STDS "
        "BBOX_INSIDE_WEIGHTS",
        _TARGETS,
    ),
    "TRAIN.BBOX_THRESH": "the regression learns from the RoIs that TRAIN.FG_THRESH makes foreground",
    **_below("TRAIN", "TRIM_HEIGHT TRIM_WIDTH ASPECT_HI ASPECT_LO", _CROPPING),
    "TRAIN.AUTO_RESUME": "fpt-train continues with --resume",
    "TRAIN.COPY_WEIGHTS": "a start from other weights is --load_ckpt",
    "TEST.WEIGHTS": "fpt-test takes the weights with --load_ckpt",
    "TEST.PROPOSAL_LIMIT": "TEST.RPN_POST_NMS_TOP_N limits the proposals",
    "TEST.PRECOMPUTED_PROPOSALS": _INFERRED,
    "TEST.COMPETITION_MODE": "the COCO-format results are always kept",
    "TEST.FORCE_JSON_DATASET_EVAL": "every data set is evaluated with COCO's measures",
    "TEST.BBOX_AUG.ENABLED": "there is no test-time augmentation of boxes here: AP is that of one pass",
    "TEST.MASK_AUG.ENABLED": "there is no test-time augmentation of masks here: AP is that of one pass",
    "TEST.KPS_AUG.ENABLED": "there is no test-time augmentation of key points here: AP is that of one pass",
    "TEST.SOFT_NMS.ENABLED": "there is no soft NMS here: AP is that of TEST.NMS",
    "TEST.BBOX_VOTE.ENABLED": "there is no box voting here: AP is that of TEST.NMS",
    "EXPECTED_RESULTS": "results are not compared with expected ones here: metrics.json has them",
    "TEST.NUM_TEST_IMAGES": "fpt-test takes part of a data set with --range START END",
    "MODEL.SHARE_RES5": _INFERRED,
    "MODEL.EXECUTION_TYPE": _CAFFE2,
    "MODEL.DILATION": _UNUSED,
    "MRCNN.MEMORY_EFFICIENT_LOSS": "only the masks of the right class enter the loss",
    "FPN.INPLACE_LATERAL": _CAFFE2,
    **_below("SOLVER", "SCALE_MOMENTUM SCALE_MOMENTUM_THRESHOLD", _MOMENTUM),
    "SOLVER.LOG_LR_CHANGE_THRESHOLD": "the rate stands in every progress line",
    **_below("DATA_LOADER", "MINIBATCH_QUEUE_SIZE BLOBS_QUEUE_CAPACITY", "the workers of DATA_LOADER.NUM_THREADS"),
    **_below("CLUSTER", "ON_CLUSTER", _UNUSED),
    **{key: _CAFFE2 for key in ("USE_NCCL", "MEMONGER", "MEMONGER_SHARE_ACTIVATIONS", "ROOT_GPU_ID", "USE_GPU_NMS")},
    **{key: _UNUSED for key in ("DEDUP_BOXES", "EPS", "MATLAB", "FINAL_MSG", "POOLING_SIZE", "DOWNLOAD_CACHE")},
    "BBOX_XFORM_CLIP": "box deltas are always clipped at log(1000 / 16)",
    "ROOT_DIR": "relative data paths count from DATA_DIR or, without it, from the yaml file's folder",
    "POOLING_MODE": _POOLING,
    "CROP_RESIZE_WITH_MAX_POOL": _POOLING,
    "PYTORCH_VERSION_LESS_THAN_040": _INFERRED,
}

FIXED: dict[str, tuple[Any, str]] = {
    "MODEL.UNSUPERVISED_POSE": (False, "there is no pose model here"),
    "RETINANET.CLASS_SPECIFIC_BBOX": (False, "an anchor has one regression for all classes"),
    "RETINANET.SOFTMAX": (False, "a class's score is one sigmoid"),
    "RESNETS.TRANS_FUNC": ("bottleneck_transformation", "the blocks are bottlenecks, with GroupNorm by USE_GN"),
    "RESNETS.STEM_FUNC": ("basic_bn_stem", "the stem is the plain one, with GroupNorm by USE_GN"),
    "RESNETS.SHORTCUT_FUNC": ("basic_bn_shortcut", "shortcuts are 1x1, with GroupNorm by USE_GN"),
    "GROUP_NORM.DIM_PER_GP": (-1, "GROUP_NORM.NUM_GROUPS sets the groups"),
    "FPN.RPN_COLLECT_SCALE": (1, "RPN_POST_NMS_TOP_N counts proposals per image"),
    "RPN.CLS_ACTIVATION": ("sigmoid", "an anchor's score is one sigmoid"),
    "FAST_RCNN.ROI_XFORM_METHOD": ("RoIAlign", _POOLING),
    "MRCNN.ROI_XFORM_METHOD": ("RoIAlign", _POOLING),
    "KRCNN.ROI_XFORM_METHOD": ("RoIAlign", _POOLING),
    "KRCNN.USE_DECONV": (False, _KEYPOINTS),
    "KRCNN.USE_DECONV_OUTPUT": (True, _KEYPOINTS),
    "KRCNN.UP_SCALE": (2, _KEYPOINTS),
    "KRCNN.DECONV_KERNEL": (4, _KEYPOINTS),
    "KRCNN.CONV_HEAD_KERNEL": (3, "the keypoint head's convolutions are 3x3"),
    "KRCNN.DILATION": (1, "the keypoint head's convolutions are not dilated"),
    "KRCNN.NMS_OKS": (False, "detections are sorted out by their boxes alone"),
    "KRCNN.KEYPOINT_CONFIDENCE": ("bbox", "the score of a detection's key points is that of its box"),
    "MRCNN.UPSAMPLE_RATIO": (1, "the mask heads double the size of their input"),
    "MRCNN.USE_FC_OUTPUT": (False, "the last layer of the mask heads is a convolution"),
    "TRAIN.DROPOUT": (0.0, "no head here uses dropout"),
    "TRAIN.ASPECT_CROPPING": (False, _CROPPING),
}

IMPLIED: dict[str, str] = {
    **_below(
        "FPN",
        "FPN_ON MULTILEVEL_ROIS MULTILEVEL_RPN",
        "MODEL.CONV_BODY says which maps there are; without a pyramid it is ResNet.<backbone>, its finest map "
        "P2only.<...>",
    ),
    **{
        key: "TRAIN.PROPOSAL_FILES and TEST.PROPOSAL_FILES say whether proposals come from files or from the RPN"
        for key in ("MODEL.FASTER_RCNN", "RPN.ON", "RPN.RPN_ON")
    },
}
"""What other options say too: switched on it changes nothing, switched off it is named."""

GROUP_NORM_FUNCTIONS: dict[str, str] = {
    "RESNETS.TRANS_FUNC": "bottleneck_gn_transformation",
    "RESNETS.STEM_FUNC": "basic_gn_stem",
    "RESNETS.SHORTCUT_FUNC": "basic_gn_shortcut",
}
"""The values of these keys that RESNETS.USE_GN replaces."""

_AUGMENTATION = (
    "H_FLIP SCALES MAX_SIZE SCALE_H_FLIP SCALE_SIZE_DEP ASPECT_RATIOS ASPECT_RATIO_H_FLIP HEUR SCORE_HEUR COORD_HEUR "
    "AREA_TH AREA_TH_LO AREA_TH_HI"
)

DETAILS: frozenset[str] = frozenset(
    [
        *_below("TEST.BBOX_AUG", _AUGMENTATION, ""),
        *_below("TEST.MASK_AUG", _AUGMENTATION, ""),
        *_below("TEST.KPS_AUG", _AUGMENTATION, ""),
        *_below("TEST.SOFT_NMS", "METHOD SIGMA", ""),
        *_below("TEST.BBOX_VOTE", "VOTE_TH SCORING_METHOD SCORING_METHOD_BETA", ""),
        *("EXPECTED_RESULTS_RTOL", "EXPECTED_RESULTS_ATOL", "EXPECTED_RESULTS_EMAIL"),
    ]
)

ORIGINAL_DEFAULTS: dict[str, Any] = {
    "FAST_RCNN.ROI_XFORM_RESOLUTION": 14,
    "FAST_RCNN.ROI_XFORM_SAMPLING_RATIO": 0,
    "MRCNN.RESOLUTION": 14,
    "MRCNN.ROI_XFORM_RESOLUTION": 7,
    "MRCNN.ROI_XFORM_SAMPLING_RATIO": 0,
    "MRCNN.DILATION": 2,
    "KRCNN.ROI_XFORM_RESOLUTION": 7,
    "KRCNN.ROI_XFORM_SAMPLING_RATIO": 0,
    "KRCNN.CONV_HEAD_DIM": 256,
    "KRCNN.CONV_INIT": "GaussianFill",
    "TRAIN.BATCH_SIZE_PER_IM": 64,
    "TRAIN.RPN_STRADDLE_THRESH": 0.0,
    "TRAIN.RPN_PRE_NMS_TOP_N": 12000,
    "TEST.RPN_PRE_NMS_TOP_N": 12000,
    "TEST.RPN_POST_NMS_TOP_N": 2000,
    "SOLVER.LR_POLICY": "step",
    "VIS_TH": 0.9,
}
"""Defaults of Detectron.pytorch that differ here."""
