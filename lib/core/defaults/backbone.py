"""Options of the backbones."""

from fpt.core.option import Group, Option

RESNETS: Group = {
    "STRIDE_1X1": Option(True, "Stride in the first 1x1 convolution (caffe); False = in the 3x3 (torchvision)."),
    "USE_GN": Option(False, "GroupNorm instead of frozen affine BatchNorm."),
    # fewer: on CPUs the gradient of 1x1 convolutions of stride 2 overwrites memory (uxlfoundation/oneDNN issue 6035)
    "BASE_CHANNELS": Option(64, "Channels of the stem; the stages have 1, 2, 4 and 8 times as many.", low=16),
    "FREEZE_AT": Option(2, "Freeze the stem (1), and res2 (2), res3 (3) ...; 0 trains everything.", low=0, high=5),
    "IMAGENET_PRETRAINED_WEIGHTS": Option(
        "", "Weights of the backbone: caffe or torchvision .pth; empty = from scratch."
    ),
}

GROUP_NORM: Group = {
    "NUM_GROUPS": Option(32, "Groups; where the channels do not divide, the largest divisor below it.", low=1),
    "EPSILON": Option(1e-5, "Added to the variance.", low=0),
}
