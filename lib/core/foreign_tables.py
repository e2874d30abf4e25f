"""Words by which the files of other programs are known, and what the most frequent of their keys are called here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """Another program that is configured by files.

    Attributes:
        name: of the program.
        signs: keys that its files hold and ours do not; one with a dot at the end stands for a whole group.
        decisive: of these, a file holds one at least: others have copied the rest.
        equals: its key -> what says the same here.
        remark: what else someone who comes from there should know.
    """

    name: str
    signs: tuple[str, ...]
    equals: dict[str, str]
    decisive: tuple[str, ...] = ()
    remark: str = ""


_NUM_CLASSES = "MODEL.NUM_CLASSES (background included; 0 = as the data set says)"
_SAME = ("SOLVER.BASE_LR", "SOLVER.MAX_ITER", "SOLVER.STEPS", "SOLVER.GAMMA", "SOLVER.MOMENTUM", "SOLVER.WEIGHT_DECAY")
_DETECTRON_FAMILY = {
    "DATASETS.TRAIN": "TRAIN.DATASETS, with the files of each under DATASETS.<name>",
    "DATASETS.TEST": "TEST.DATASETS, likewise",
    "INPUT.MIN_SIZE_TRAIN": "TRAIN.SCALES",
    "INPUT.MAX_SIZE_TRAIN": "TRAIN.MAX_SIZE",
    "INPUT.MIN_SIZE_TEST": "TEST.SCALE",
    "INPUT.MAX_SIZE_TEST": "TEST.MAX_SIZE",
    "SOLVER.IMS_PER_BATCH": "NUM_GPUS x TRAIN.IMS_PER_BATCH",
    "SOLVER.WARMUP_ITERS": "SOLVER.WARM_UP_ITERS",
    "SOLVER.WARMUP_FACTOR": "SOLVER.WARM_UP_FACTOR",
    "SOLVER.WARMUP_METHOD": "SOLVER.WARM_UP_METHOD",
    "SOLVER.CHECKPOINT_PERIOD": "TRAIN.SNAPSHOT_ITERS",
    "MODEL.DEVICE": "DEVICE",
    "DATALOADER.NUM_WORKERS": "DATA_LOADER.NUM_THREADS",
    **{key: f"{key}, too" for key in (*_SAME, "MODEL.MASK_ON", "OUTPUT_DIR")},
}

_DETECTRON2 = Program(
    "Detectron2",
    signs=(
        "_BASE_",
        "VERSION",
        "CUDNN_BENCHMARK",
        "MODEL.META_ARCHITECTURE",
        "MODEL.WEIGHTS",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "MODEL.KEYPOINT_ON",
        "MODEL.BACKBONE.",
        "MODEL.RESNETS.",
        "MODEL.FPN.",
        "MODEL.ANCHOR_GENERATOR.",
        "MODEL.PROPOSAL_GENERATOR.",
        "MODEL.RPN.",
        "MODEL.ROI_HEADS.",
        "MODEL.ROI_BOX_HEAD.",
        "MODEL.ROI_MASK_HEAD.",
        "MODEL.ROI_KEYPOINT_HEAD.",
        "MODEL.SEM_SEG_HEAD.",
        "MODEL.PANOPTIC_FPN.",
        "INPUT.",
        "DATASETS.TRAIN",
        "DATASETS.TEST",
        "DATALOADER.",
        "SOLVER.IMS_PER_BATCH",
        "SOLVER.WARMUP_ITERS",
        "SOLVER.CHECKPOINT_PERIOD",
        "TEST.AUG.",
        "TEST.DETECTIONS_PER_IMAGE",
    ),
    equals={
        "MODEL.WEIGHTS": "RESNETS.IMAGENET_PRETRAINED_WEIGHTS",
        "MODEL.RESNETS.DEPTH": "MODEL.CONV_BODY, such as FPN.ResNet50_conv5_body_fpt",
        "MODEL.BACKBONE.FREEZE_AT": "RESNETS.FREEZE_AT",
        "MODEL.ROI_HEADS.NUM_CLASSES": _NUM_CLASSES,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "TRAIN.BATCH_SIZE_PER_IM",
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "TEST.SCORE_THRESH",
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": "TEST.NMS",
        "MODEL.ANCHOR_GENERATOR.SIZES": "FPN.RPN_ANCHOR_START_SIZE, the smallest one",
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "FPN.RPN_ASPECT_RATIOS",
        "MODEL.PIXEL_MEAN": "PIXEL_MEANS",
        "MODEL.PIXEL_STD": "PIXEL_STDS",
        **_DETECTRON_FAMILY,
        "TEST.DETECTIONS_PER_IMAGE": "TEST.DETECTIONS_PER_IM",
        "TEST.EVAL_PERIOD": "TRAIN.EVAL_PERIOD",
        "INPUT.FORMAT": "PIXEL_FORMAT",
        "SEED": "RNG_SEED",
    },
    decisive=(
        "_BASE_",
        "VERSION",
        "MODEL.META_ARCHITECTURE",
        "MODEL.WEIGHTS",
        "MODEL.RESNETS.",
        "MODEL.ANCHOR_GENERATOR.",
        "MODEL.ROI_HEADS.",
        "DATASETS.TRAIN",
    ),
)

_MASKRCNN_BENCHMARK = Program(
    "maskrcnn-benchmark",
    signs=(
        "DTYPE",
        "PATHS_CATALOG",
        "MODEL.META_ARCHITECTURE",
        "MODEL.WEIGHT",
        "MODEL.RETINANET_ON",
        "MODEL.FBNET.",
        "MODEL.RETINANET.",
        "MODEL.BACKBONE.",
        "MODEL.BACKBONE.CONV_BODY",
        "MODEL.RESNETS.",
        "MODEL.RESNETS.BACKBONE_OUT_CHANNELS",
        "MODEL.FPN.",
        "MODEL.RPN.",
        "MODEL.RPN.USE_FPN",
        "MODEL.RPN.ANCHOR_STRIDE",
        "MODEL.ROI_HEADS.",
        "MODEL.ROI_HEADS.USE_FPN",
        "MODEL.ROI_BOX_HEAD.",
        "MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR",
        "MODEL.ROI_BOX_HEAD.PREDICTOR",
        "MODEL.ROI_MASK_HEAD.",
        "INPUT.",
        "INPUT.TO_BGR255",
        "DATASETS.TRAIN",
        "DATASETS.TEST",
        "DATALOADER.",
        "DATALOADER.SIZE_DIVISIBILITY",
        "SOLVER.IMS_PER_BATCH",
        "SOLVER.WARMUP_ITERS",
        "SOLVER.CHECKPOINT_PERIOD",
    ),
    equals={
        "MODEL.WEIGHT": "RESNETS.IMAGENET_PRETRAINED_WEIGHTS",
        "MODEL.BACKBONE.CONV_BODY": "MODEL.CONV_BODY, such as FPN.ResNet50_conv5_body_fpt",
        "MODEL.BACKBONE.FREEZE_CONV_BODY_AT": "RESNETS.FREEZE_AT",
        "MODEL.ROI_BOX_HEAD.NUM_CLASSES": _NUM_CLASSES,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "TRAIN.BATCH_SIZE_PER_IM",
        "MODEL.ROI_HEADS.SCORE_THRESH": "TEST.SCORE_THRESH",
        "MODEL.ROI_HEADS.NMS": "TEST.NMS",
        "MODEL.RPN.ASPECT_RATIOS": "FPN.RPN_ASPECT_RATIOS",
        "MODEL.RPN.ANCHOR_SIZES": "FPN.RPN_ANCHOR_START_SIZE, the smallest one",
        **_DETECTRON_FAMILY,
        "TEST.IMS_PER_BATCH": "TEST.IMS_PER_BATCH, too",
        "INPUT.PIXEL_MEAN": "PIXEL_MEANS",
        "INPUT.PIXEL_STD": "PIXEL_STDS",
    },
    decisive=("MODEL.META_ARCHITECTURE", "MODEL.WEIGHT", "MODEL.BACKBONE.CONV_BODY", "MODEL.RPN.", "MODEL.ROI_HEADS."),
)

_MMDETECTION = Program(
    "mmdetection",
    signs=(
        "default_scope",
        "dataset_type",
        "data_root",
        "img_norm_cfg",
        "train_pipeline",
        "train_cfg",
        "train_cfg.",
        "test_cfg.",
        "model.type",
        "model.backbone.",
        "model.neck.",
        "model.bbox_head.",
        "model.rpn_head.",
        "model.roi_head.",
        "data.samples_per_gpu",
        "data.workers_per_gpu",
        "optimizer.type",
        "optim_wrapper.",
        "optimizer_config",
        "optimizer_config.",
        "lr_config.",
        "param_scheduler",
        "runner.",
        "checkpoint_config.",
        "log_config.",
        "dist_params.",
        "default_hooks.",
        "train_dataloader.",
        "val_evaluator.",
        "load_from",
        "resume_from",
    ),
    equals={
        "model.type": "MODEL.CONV_BODY and MODEL.MASK_ON",
        "model.pretrained": "RESNETS.IMAGENET_PRETRAINED_WEIGHTS",
        "model.backbone.depth": "MODEL.CONV_BODY, such as FPN.ResNet50_conv5_body_fpt",
        "model.backbone.frozen_stages": "RESNETS.FREEZE_AT",
        "model.roi_head.bbox_head.num_classes": _NUM_CLASSES,
        "data.samples_per_gpu": "TRAIN.IMS_PER_BATCH",
        "data.workers_per_gpu": "DATA_LOADER.NUM_THREADS",
        "train_dataloader.batch_size": "TRAIN.IMS_PER_BATCH",
        "train_dataloader.num_workers": "DATA_LOADER.NUM_THREADS",
        "data_root": "DATA_DIR",
        "optimizer.type": "SOLVER.TYPE",
        "optimizer.lr": "SOLVER.BASE_LR",
        "optimizer.momentum": "SOLVER.MOMENTUM",
        "optimizer.weight_decay": "SOLVER.WEIGHT_DECAY",
        "optim_wrapper.optimizer.type": "SOLVER.TYPE",
        "optim_wrapper.optimizer.lr": "SOLVER.BASE_LR",
        "optim_wrapper.optimizer.momentum": "SOLVER.MOMENTUM",
        "optim_wrapper.optimizer.weight_decay": "SOLVER.WEIGHT_DECAY",
        "lr_config.step": "SOLVER.STEPS (in steps, not in epochs)",
        "lr_config.warmup_iters": "SOLVER.WARM_UP_ITERS",
        "lr_config.warmup_ratio": "SOLVER.WARM_UP_FACTOR",
        "runner.max_epochs": "SOLVER.MAX_ITER (in steps: epochs x images / batch)",
        "train_cfg.max_epochs": "SOLVER.MAX_ITER (in steps: epochs x images / batch)",
        "total_epochs": "SOLVER.MAX_ITER (in steps: epochs x images / batch)",
        "load_from": "--load_ckpt of fpt-train",
        "work_dir": "OUTPUT_DIR",
    },
)

_ULTRALYTICS = Program(
    "Ultralytics (YOLO)",
    signs=(
        "imgsz",
        "img_size",
        "lr0",
        "lrf",
        "close_mosaic",
        "mosaic",
        "mixup",
        "copy_paste",
        "hsv_h",
        "hsv_s",
        "hsv_v",
        "fliplr",
        "flipud",
        "warmup_epochs",
        "warmup_momentum",
        "warmup_bias_lr",
        "anchor_t",
        "iou_t",
        "cos_lr",
        "depth_multiple",
        "width_multiple",
        "nbs",
        "dfl",
    ),
    equals={
        "lr0": "SOLVER.BASE_LR",
        "epochs": "SOLVER.MAX_ITER (in steps: epochs x images / batch)",
        "batch": "TRAIN.IMS_PER_BATCH",
        "batch_size": "TRAIN.IMS_PER_BATCH",
        "imgsz": "TRAIN.SCALES and TEST.SCALE (the shorter side), TRAIN.MAX_SIZE and TEST.MAX_SIZE",
        "img_size": "TRAIN.SCALES and TEST.SCALE (the shorter side), TRAIN.MAX_SIZE and TEST.MAX_SIZE",
        "data": "DATASETS, TRAIN.DATASETS and TEST.DATASETS",
        "model": "MODEL.CONV_BODY",
        "weights": "RESNETS.IMAGENET_PRETRAINED_WEIGHTS",
        "optimizer": "SOLVER.TYPE",
        "momentum": "SOLVER.MOMENTUM",
        "weight_decay": "SOLVER.WEIGHT_DECAY",
        "warmup_epochs": "SOLVER.WARM_UP_ITERS (in steps)",
        "cos_lr": "SOLVER.LR_POLICY cosine",
        "workers": "DATA_LOADER.NUM_THREADS",
        "device": "DEVICE",
        "seed": "RNG_SEED",
        "project": "OUTPUT_DIR",
        "freeze": "RESNETS.FREEZE_AT",
        "fliplr": "TRAIN.USE_FLIPPED",
        "conf": "TEST.SCORE_THRESH",
        "iou": "TEST.NMS",
        "max_det": "TEST.DETECTIONS_PER_IM",
    },
)

_YOLO_DATA = Program(
    "YOLO (the description of a data set)",
    signs=("names", "names.", "nc", "path", "train", "val", "download", "roboflow.", "kpt_shape"),
    equals={
        "path": "DATA_DIR",
        "train": "DATASETS.<name>_train.IMAGE_DIR",
        "val": "DATASETS.<name>_val.IMAGE_DIR",
        "nc": _NUM_CLASSES,
    },
    decisive=("names", "names.", "nc"),
    remark="labels are read from COCO-format json files: DATASETS.<name>_train.ANN_FILE",
)

PROGRAMS: tuple[Program, ...] = (_DETECTRON2, _MASKRCNN_BENCHMARK, _MMDETECTION, _ULTRALYTICS, _YOLO_DATA)
"""In the order in which they are taken where their words are equally many."""
