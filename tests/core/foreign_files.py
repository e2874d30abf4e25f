"""Files as people write them for other programs."""

DETECTRON2_BASE = """
MODEL:
  META_ARCHITECTURE: "GeneralizedRCNN"
  BACKBONE:
    NAME: "build_resnet_fpn_backbone"
  RESNETS:
    OUT_FEATURES: ["res2", "res3", "res4", "res5"]
  FPN:
    IN_FEATURES: ["res2", "res3", "res4", "res5"]
  ANCHOR_GENERATOR:
    SIZES: [[32], [64], [128], [256], [512]]
    ASPECT_RATIOS: [[0.5, 1.0, 2.0]]
  RPN:
    IN_FEATURES: ["p2", "p3", "p4", "p5", "p6"]
    PRE_NMS_TOPK_TRAIN: 2000
    POST_NMS_TOPK_TRAIN: 1000
  ROI_HEADS:
    NAME: "StandardROIHeads"
    IN_FEATURES: ["p2", "p3", "p4", "p5"]
  ROI_BOX_HEAD:
    NAME: "FastRCNNConvFCHead"
    NUM_FC: 2
    POOLER_RESOLUTION: 7
  ROI_MASK_HEAD:
    NAME: "MaskRCNNConvUpsampleHead"
    NUM_CONV: 4
DATASETS:
  TRAIN: ("coco_2017_train",)
  TEST: ("coco_2017_val",)
SOLVER:
  IMS_PER_BATCH: 16
  BASE_LR: 0.02
  STEPS: (60000, 80000)
  MAX_ITER: 90000
INPUT:
  MIN_SIZE_TRAIN: (640, 672, 704, 736, 768, 800)
VERSION: 2
"""

DETECTRON2_CHILD = """
_BASE_: "../Base-RCNN-FPN.yaml"
MODEL:
  WEIGHTS: "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
  MASK_ON: True
  RESNETS:
    DEPTH: 50
SOLVER:
  STEPS: (210000, 250000)
  MAX_ITER: 270000
"""

DETECTRON2_OWN_DATA = """
_BASE_: Base-RCNN-FPN.yaml
OUTPUT_DIR: ./output
SEED: 42
DATASETS:
  TRAIN: ("balloon_train",)
  TEST: ("balloon_val",)
DATALOADER:
  NUM_WORKERS: 2
MODEL:
  WEIGHTS: model_final_f10217.pkl
  DEVICE: cuda
  ROI_HEADS:
    BATCH_SIZE_PER_IMAGE: 128
    NUM_CLASSES: 1
    SCORE_THRESH_TEST: 0.7
SOLVER:
  IMS_PER_BATCH: 2
  BASE_LR: 0.00025
  MAX_ITER: 300
  STEPS: []
TEST:
  EVAL_PERIOD: 100
"""

MASKRCNN_BENCHMARK = """
MODEL:
  META_ARCHITECTURE: "GeneralizedRCNN"
  WEIGHT: "catalog://ImageNetPretrained/MSRA/R-50"
  BACKBONE:
    CONV_BODY: "R-50-FPN"
  RESNETS:
    BACKBONE_OUT_CHANNELS: 256
  RPN:
    USE_FPN: True
    ANCHOR_STRIDE: (4, 8, 16, 32, 64)
    PRE_NMS_TOP_N_TRAIN: 2000
  ROI_HEADS:
    USE_FPN: True
  ROI_BOX_HEAD:
    POOLER_RESOLUTION: 7
    POOLER_SCALES: (0.25, 0.125, 0.0625, 0.03125)
    FEATURE_EXTRACTOR: "FPN2MLPFeatureExtractor"
    PREDICTOR: "FPNPredictor"
  MASK_ON: True
DATASETS:
  TRAIN: ("coco_2014_train", "coco_2014_valminusminival")
  TEST: ("coco_2014_minival",)
DATALOADER:
  SIZE_DIVISIBILITY: 32
SOLVER:
  BASE_LR: 0.02
  WEIGHT_DECAY: 0.0001
  STEPS: (60000, 80000)
  MAX_ITER: 90000
"""

MMDETECTION_YAML = """
model:
  type: FasterRCNN
  pretrained: torchvision://resnet50
  backbone: {type: ResNet, depth: 50, num_stages: 4, frozen_stages: 1}
  neck: {type: FPN, in_channels: [256, 512, 1024, 2048], out_channels: 256}
  rpn_head: {type: RPNHead}
  roi_head:
    bbox_head: {type: Shared2FCBBoxHead, num_classes: 80}
train_cfg: {rpn: {assigner: {type: MaxIoUAssigner}}}
dataset_type: CocoDataset
data_root: data/coco/
data: {samples_per_gpu: 2, workers_per_gpu: 2, train: {type: CocoDataset}}
optimizer: {type: SGD, lr: 0.02, momentum: 0.9, weight_decay: 0.0001}
lr_config: {policy: step, warmup: linear, warmup_iters: 500, step: [8, 11]}
runner: {type: EpochBasedRunner, max_epochs: 12}
"""

MMDETECTION_PYTHON = """
_base_ = ['../_base_/models/faster_rcnn_r50_fpn.py', '../_base_/default_runtime.py']
dataset_type = 'CocoDataset'
data_root = 'data/balloon/'
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)))
train_dataloader = dict(batch_size=1, num_workers=2, dataset=dict(data_root=data_root))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
load_from = 'https://example.org/mask_rcnn.pth'
"""

ULTRALYTICS_ARGS = """
task: detect
mode: train
model: yolov8n.pt
data: coco128.yaml
epochs: 100
patience: 50
batch: 16
imgsz: 640
save: true
device: null
workers: 8
optimizer: auto
seed: 0
cos_lr: false
close_mosaic: 10
lr0: 0.01
lrf: 0.01
momentum: 0.937
weight_decay: 0.0005
warmup_epochs: 3.0
box: 7.5
fliplr: 0.5
mosaic: 1.0
"""

YOLOV5_HYPERPARAMETERS = """
lr0: 0.01  # initial learning rate
lrf: 0.01
momentum: 0.937
weight_decay: 0.0005
warmup_epochs: 3.0
warmup_momentum: 0.8
box: 0.05
cls: 0.5
obj: 1.0
iou_t: 0.20
anchor_t: 4.0
hsv_h: 0.015
"""

YOLO_DATA = """
path: ../datasets/coco128  # dataset root dir
train: images/train2017
val: images/train2017
test:
names:
  0: person
  1: bicycle
  2: car
download: https://example.org/coco128.zip
"""

ROBOFLOW_DATA = """
train: ../train/images
val: ../valid/images
test: ../test/images

nc: 2
names: ['helmet', 'head']

roboflow:
  workspace: a
  project: b
  version: 1
"""

YOLO_MODEL = """
nc: 80
depth_multiple: 0.33
width_multiple: 0.50
anchors:
  - [10,13, 16,30, 33,23]
backbone:
  - [-1, 1, Conv, [64, 6, 2, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
head:
  - [-1, 1, Conv, [512, 1, 1]]
"""

COMPOSE = """
version: "3"
services:
  web:
    image: nginx
    ports: ["80:80"]
  db:
    image: postgres
"""
