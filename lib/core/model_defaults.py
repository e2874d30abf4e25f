"""The options of the model, from the backbone to the heads: a part of ``defaults.py``."""

from fpt.core.option import Group, Option

FPT: Group = {
    "INTERACTIONS": Option(
        ("self", "grounding", "rendering"),
        "Transformers that run; any subset.",
        choices=("self", "grounding", "rendering"),
    ),
    # Attention.
    "KEY_DIM": Option(
        0,
        "Channels of q and k in ST and GT; 0 = half of FPN.DIM, rounded up to a multiple of the mixtures.",
        low=0,
        high=16_384,
    ),
    "NUM_MIXTURES_SELF": Option(2, "Parts of the mixture of softmaxes in the self-transformer.", low=1, high=1024),
    "NUM_MIXTURES_GROUNDING": Option(
        4, "Parts of the mixture of softmaxes in the grounding transformer.", low=1, high=1024
    ),
    "LOCAL_WINDOW": Option(
        0,
        "Side (odd) of the window of the locality-constrained grounding transformer; 0 = whole coarse map.",
        low=0,
        high=1023,
    ),
    "MAX_KEYS": Option(
        256,
        "A key and value map with more positions is average-pooled to at most this many; 0 = exact.",
        low=0,
        high=10**8,
    ),
    "QUERY_STRIDE": Option(
        8,
        "Pixels between the queries of ST and GT: on finer levels the mean of a square of cells asks, and what it gets "
        "is brought back bilinearly; 1 = each cell asks, exact. With a LOCAL_WINDOW each cell asks.",
        low=1,
        high=1024,
    ),
    # Outputs of the transformers.
    "FUSION": Option(
        "separable",
        "concat = one 3x3 convolution over all parts of a level, as published; bottleneck = a 1x1 over them, then a "
        "3x3; coarse = a bottleneck on the grid of QUERY_STRIDE, brought back bilinearly and added to the level's own "
        "map (START identity); separable = the same, its 3x3 on each channel by itself.",
        choices=("concat", "bottleneck", "coarse", "separable"),
    ),
    "SHARE_DOWNSAMPLING": Option(
        True,
        "RT to all coarser levels reads one chain of stride-2 convolutions of a fine map; False = a chain for each "
        "pair of levels, as published.",
    ),
    "START": Option(
        "identity",
        "identity = each map plus the output of a fusion that starts at zero, without a normalisation: put on a "
        "trained pyramid the transformer changes nothing at first; paper = the fusion's output alone, as published.",
        choices=("identity", "paper"),
    ),
    "NORM": Option("GN", "Normalisation of the outputs of the transformers.", choices=("GN", "BN", "SyncBN", "none")),
    "DROPBLOCK_SIZE": Option(5, "Side in cells of the blocks that DropBlock zeroes while training.", low=1, high=1024),
    "DROPBLOCK_KEEP_PROB": Option(0.9, "Share of the output that DropBlock keeps; 1 = off.", low=0.1, high=1),
}

MODEL: Group = {
    "TYPE": Option(
        "detector",
        "What the model finds: detector = objects (all options but SEMANTIC), semantic_segmentor = a class for every "
        "pixel (SEMANTIC).",
        choices=("detector", "semantic_segmentor"),
    ),
    "CONV_BODY": Option(
        "FPN.ResNet50_conv5_body_fpt",
        "Neck, backbone and transformer: [<neck>.]<backbone>[_fpt]; without a neck FPN, with _fpt the transformer; the "
        "neck ResNet stands for none, as in ResNet.ResNet50_conv4_body (C4).",
    ),
    "LOAD_IMAGENET_PRETRAINED_WEIGHTS": Option(
        True, "Start the backbone from RESNETS.IMAGENET_PRETRAINED_WEIGHTS when that is not empty."
    ),
    "COMPILE": Option(
        False,
        "Compile the backbone with torch.compile while training: slow first steps for each size, faster ones after.",
    ),
    "LEGACY": Option(
        "auto",
        "Count boxes, anchors, RoIs and losses as another program does, whose weights expect it (docs/legacy.md): "
        "detectron (or True), torchvision, off; auto = off, unless a whole model of theirs is loaded.",
        choices=("auto", "off", "detectron", "torchvision"),
    ),
    "FPT": FPT,
    "NUM_CLASSES": Option(0, "Classes, background included; 0 = as the training data set says.", low=0, high=100_000),
    "RPN_ONLY": Option(
        False, "The region proposal network alone: objects of no class. fpt-test writes its proposals, too."
    ),
    "MASK_ON": Option(False, "Add the mask head."),
    "KEYPOINTS_ON": Option(False, "Add the keypoint head."),
    "CLS_AGNOSTIC_BBOX_REG": Option(False, "One box regression for all classes."),
    "BBOX_REG_WEIGHTS": Option(
        (10.0, 10.0, 5.0, 5.0), "Weights of dx, dy, dw, dh in the box head.", low=1e-6, high=1e6
    ),
}

RESNETS: Group = {
    "IMAGENET_PRETRAINED_WEIGHTS": Option(
        "", "Weights of the backbone: caffe or torchvision .pth; empty = from scratch."
    ),
    "FREEZE_AT": Option(2, "Freeze the stem (1), and res2 (2), res3 (3) ...; 0 = train everything.", low=0, high=5),
    "NUM_GROUPS": Option(1, "Groups of the 3x3 convolutions; ResNeXt has 32 or 64.", low=1, high=1024),
    "WIDTH_PER_GROUP": Option(
        64, "Channels of each group in res2: 64 of a ResNet, 8 of ResNeXt 32x8d, 4 of 64x4d.", low=1, high=4096
    ),
    "RES5_DILATION": Option(1, "Dilation of res5; above 1 it keeps the stride of res4, 16.", low=1, high=16),
    "RES4_DILATION": Option(1, "Dilation of res4; above 1 it keeps the stride of res3, 8.", low=1, high=16),
    "MULTI_GRID": Option(
        (), "Factors of the dilation of each block of res5, such as (1, 2, 4); () = 1.", low=1, high=16, element=int
    ),
    "DEEP_STEM": Option(False, "Three 3x3 convolutions in the place of the stem's 7x7."),
    "STRIDE_1X1": Option(True, "Stride in the first 1x1 convolution (caffe); False = in the 3x3 (torchvision)."),
    "USE_GN": Option(False, "GroupNorm instead of frozen affine BatchNorm."),
    "USE_SYNC_BN": Option(
        False, "BatchNorm that learns, over the images of all processes, instead of frozen affine BatchNorm."
    ),
    # fewer: on CPUs the gradient of 1x1 convolutions of stride 2 overwrites memory (uxlfoundation/oneDNN issue 6035)
    "BASE_CHANNELS": Option(
        64, "Channels of the stem; the stages have 1, 2, 4 and 8 times as many.", low=16, high=1024
    ),
}

FPN: Group = {
    # Pyramid.
    "DIM": Option(256, "Channels of each level of the pyramid.", low=1, high=16_384),
    "USE_GN": Option(False, "GroupNorm in the pyramid's convolutions."),
    "ZERO_INIT_LATERAL": Option(False, "Start the lateral 1x1 convolutions at zero."),
    "COARSEST_STRIDE": Option(
        32,
        "Images are padded to a multiple of this many pixels, which is one of the backbone's coarsest stride.",
        low=1,
        high=4096,
    ),
    "EXTRA_CONV_LEVELS": Option(
        False, "Levels above the backbone's come from 3x3 convolutions of stride 2; False = one level, pooled."
    ),
    "EXTRA_CONV_SOURCE": Option(
        "C5", "What the first of them sees: C5 = the backbone's coarsest map, P5 = the pyramid's.", choices=("C5", "P5")
    ),
    # Region proposal network.
    "RPN_MIN_LEVEL": Option(2, "Finest level of the RPN.", low=0, high=12),
    "RPN_MAX_LEVEL": Option(6, "Coarsest level of the RPN; one above the backbone's is pooled.", low=0, high=12),
    "RPN_ANCHOR_START_SIZE": Option(
        32, "Side in pixels of the anchors on the finest level; doubles from level to level.", low=1, high=16_384
    ),
    "RPN_ASPECT_RATIOS": Option((0.5, 1.0, 2.0), "Height / width of the anchors.", low=1e-3, high=1000),
    # Levels that regions of interest (RoIs) are pooled from.
    "ROI_MIN_LEVEL": Option(2, "Finest level that RoIs are pooled from; level L has stride 2^L.", low=0, high=12),
    "ROI_MAX_LEVEL": Option(5, "Coarsest level that RoIs are pooled from.", low=0, high=12),
    "ROI_CANONICAL_SCALE": Option(
        224, "Side in pixels of a RoI that is pooled from ROI_CANONICAL_LEVEL.", low=1, high=65_536
    ),
    "ROI_CANONICAL_LEVEL": Option(4, "Level for a RoI of ROI_CANONICAL_SCALE.", low=0, high=12),
}

RPN: Group = {
    # On a single map (C4, C5, P2); a pyramid's anchors are those of FPN.
    "SIZES": Option(
        (64, 128, 256, 512), "Sides in pixels of the anchors of a single map.", low=1, high=65_536, element=int
    ),
    "ASPECT_RATIOS": Option((0.5, 1.0, 2.0), "Height / width of the anchors of a single map.", low=1e-3, high=1000),
    "STRIDE": Option(0, "Stride of the single map, to be compared with that of the backbone; 0 = any.", low=0, high=64),
    # Its convolution, on a single map and on a pyramid.
    "OUT_DIM_AS_IN_DIM": Option(True, "The RPN's 3x3 convolution has as many channels as the map that it sees."),
    "OUT_DIM": Option(512, "Channels of that convolution if OUT_DIM_AS_IN_DIM is False.", low=1, high=16_384),
}

RETINANET: Group = {
    "RETINANET_ON": Option(False, "One stage: RetinaNet on levels FPN.RPN_MIN_LEVEL to RPN_MAX_LEVEL (3 to 7)."),
    # Head.
    "NUM_CONVS": Option(4, "Convolutions before the class logits, and before the offsets.", low=1, high=64),
    "SHARE_CLS_BBOX_TOWER": Option(False, "The same convolutions before both."),
    "USE_GN": Option(False, "GroupNorm after each of them, the same for all levels: to train from scratch."),
    "PRIOR_PROB": Option(0.01, "Probability of each class at the start.", low=1e-9, high=0.5),
    # Anchors.
    "ASPECT_RATIOS": Option((0.5, 1.0, 2.0), "Height / width of the anchors.", low=1e-3, high=1000),
    "SCALES_PER_OCTAVE": Option(3, "Sizes of anchors on each level, up to less than the double.", low=1, high=32),
    "ANCHOR_SCALE": Option(4, "Side of the smallest of them, in strides of the level.", low=1, high=1024),
    # Training.
    "POSITIVE_OVERLAP": Option(0.5, "IoU from which an anchor is positive.", low=0, high=1),
    "NEGATIVE_OVERLAP": Option(0.4, "IoU below which an anchor is negative.", low=0, high=1),
    "LOSS_ALPHA": Option(0.25, "Weight of the positives in the focal loss.", low=0, high=1),
    "LOSS_GAMMA": Option(2.0, "Exponent of the focal loss.", low=0, high=100),
    "BBOX_REG_WEIGHT": Option(1.0, "Weight of the box loss.", low=0, high=1e6),
    "BBOX_REG_BETA": Option(0.11, "Distance at which smooth L1 becomes linear; 0 = L1.", low=0, high=1e6),
    # Detections.
    "PRE_NMS_TOP_N": Option(1000, "Detections kept per level before NMS.", low=1, high=1_000_000),
}

FAST_RCNN: Group = {
    "ROI_BOX_HEAD": Option("fast_rcnn_heads.roi_2mlp_head", "Name of the box head."),
    "ROI_XFORM_RESOLUTION": Option(7, "Side in cells of the RoI features.", low=1, high=256),
    "ROI_XFORM_SAMPLING_RATIO": Option(
        2, "Samples a cell and axis; 0 = as many as the RoI has pixels.", low=0, high=64
    ),
    "NUM_STACKED_CONVS": Option(4, "Convolutions in the Xconv heads.", low=1, high=64),
    "CONV_HEAD_DIM": Option(256, "Channels of the convolutions.", low=1, high=16_384),
    "MLP_HEAD_DIM": Option(1024, "Channels of the fully connected layers.", low=1, high=65_536),
}

MRCNN: Group = {
    "ROI_MASK_HEAD": Option("mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs", "Name of the mask head."),
    "ROI_XFORM_RESOLUTION": Option(14, "Side in cells of the RoI features.", low=1, high=256),
    "ROI_XFORM_SAMPLING_RATIO": Option(
        2, "Samples a cell and axis; 0 = as many as the RoI has pixels.", low=0, high=64
    ),
    "RESOLUTION": Option(28, "Side in cells of the predicted masks: twice that of what is upsampled.", low=2, high=512),
    "DIM_REDUCED": Option(256, "Channels of the convolutions.", low=1, high=16_384),
    "NUM_STACKED_CONVS": Option(4, "Convolutions in the v1upXconvs heads.", low=1, high=64),
    "DILATION": Option(1, "Dilation of the 3x3 convolutions, and of the res5 of v0up.", low=1, high=64),
    "CONV_INIT": Option("GaussianFill", "How the convolutions start.", choices=("GaussianFill", "MSRAFill")),
    "CLS_SPECIFIC_MASK": Option(True, "One mask for each class; False = one for all."),
    "WEIGHT_LOSS_MASK": Option(1.0, "Weight of the mask loss.", low=0, high=1e6),
    "THRESH_BINARIZE": Option(0.5, "Probability from which a pixel belongs to the object.", low=0, high=1),
}

KRCNN: Group = {
    # The key points; a training takes what is left empty from its data set, and writes it down.
    "NUM_KEYPOINTS": Option(0, "Key points of an object; 0 = as the training data set says.", low=0, high=1000),
    "KEYPOINT_NAMES": Option((), "Their names; () = as the training data set says.", element=str),
    "SKELETON": Option(
        (),
        "Numbers of the points, from 1, that drawings connect, two by two; () = as the training data set says.",
        low=1,
        high=1000,
        element=int,
    ),
    "FLIP_PAIRS": Option(
        (),
        "Names of points, two by two, that change places in a mirrored image; () = those whose names differ in left "
        "and right.",
        element=str,
    ),
    # The head.
    "ROI_KEYPOINTS_HEAD": Option("keypoint_rcnn_heads.roi_pose_head_v1convX", "Name of the keypoint head."),
    "ROI_XFORM_RESOLUTION": Option(14, "Side in cells of the RoI features.", low=1, high=256),
    "ROI_XFORM_SAMPLING_RATIO": Option(
        2, "Samples a cell and axis; 0 = as many as the RoI has pixels.", low=0, high=64
    ),
    "HEATMAP_SIZE": Option(56, "Side in cells of the heat maps: four times that of the RoI features.", low=4, high=512),
    "NUM_STACKED_CONVS": Option(8, "Convolutions.", low=1, high=64),
    "CONV_HEAD_DIM": Option(512, "Channels of the convolutions.", low=1, high=16_384),
    "CONV_INIT": Option("MSRAFill", "How the convolutions start.", choices=("GaussianFill", "MSRAFill")),
    # Its loss.
    "LOSS_WEIGHT": Option(1.0, "Weight of the keypoint loss.", low=0, high=1e6),
    "NORMALIZE_BY_VISIBLE_KEYPOINTS": Option(
        True,
        "The loss is the mean over the annotated points; False = their sum over the points of as many RoIs as there "
        "may be foreground.",
    ),
}

SEMANTIC: Group = {
    # Pyramids whose levels have the resolution of the backbone's last map: UFP, PPM and ASPP of MODEL.CONV_BODY.
    "UFP_KERNELS": Option((1, 7, 15, 31), "Sides (odd) of the global convolutions, rising.", low=1, high=255),
    "PPM_BINS": Option((1, 2, 3, 6), "Parts a side that the map is averaged over.", low=1, high=64),
    "ASPP_RATES": Option((12, 24, 36), "Dilations of the 3x3 convolutions, rising.", low=1, high=255),
    # Heads.
    "HEAD_DIM": Option(512, "Channels of the head's 3x3 convolution.", low=1, high=16_384),
    "DROPOUT": Option(0.1, "Share of the channels before the classes that are left out while training.", low=0, high=1),
    "AUXILIARY_WEIGHT": Option(0.4, "Weight of the loss of a head on res4; 0 = no such head.", low=0, high=1e6),
    "AUXILIARY_DIM": Option(256, "Channels of its 3x3 convolution.", low=1, high=16_384),
    "NORM": Option(
        "GN", "Normalisation in pyramids of one resolution and in the heads.", choices=("GN", "BN", "SyncBN", "none")
    ),
    # Loss.
    "CLASS_WEIGHTS": Option(
        (), "Weights of the classes' pixels in the mean; () = equal.", low=0, high=1e6, element=float
    ),
    "LABEL_SMOOTHING": Option(0.0, "Share of the target that all classes share.", low=0, high=1),
    "OHEM_BELOW": Option(
        0.0,
        "Pixels whose right class has a lower probability count alone (online hard example mining); 0 = all count.",
        low=0,
        high=1,
    ),
    "OHEM_MIN_PIXELS": Option(100_000, "So many of an image count at least.", low=1, high=10**9),
    # Images of training.
    "SHORT_SIDE": Option(
        0,
        "Shorter side in pixels that images are brought to, in evaluation too; 0 = their own size.",
        low=0,
        high=16_384,
    ),
    "SCALE_RANGE": Option((0.5, 2.0), "Lowest and highest factor of an image's size, drawn.", low=0.01, high=100),
    "CROP_SIZE": Option((512, 512), "Height and width in pixels of what is cut out.", low=8, high=16_384, element=int),
    "MAX_CLASS_SHARE": Option(
        0.75, "A part with more of one class than this is drawn again, up to ten times; 1 = never.", low=0, high=1
    ),
    "COLOUR_JITTER": Option(
        0.0, "Largest change of brightness, contrast and saturation, as a share; 0 = none.", low=0, high=1
    ),
    "BLUR": Option(0.0, "Share of the images that are blurred (Gaussian, sigma 0.1 to 1.5 pixels).", low=0, high=1),
    # Evaluation.
    "TEST_SCALES": Option((1.0,), "Factors of an image's size whose scores are averaged.", low=0.01, high=100),
    "TEST_FLIP": Option(False, "Average the scores of the mirrored image in, too."),
    "WINDOW": Option(
        (),
        "Height and width in pixels of a sliding window; () = the whole image at once.",
        low=8,
        high=16_384,
        element=int,
    ),
    "WINDOW_OVERLAP": Option(1 / 3, "Share of a window that the next one overlaps at least.", low=0, high=0.95),
    "PALETTE": Option(
        (),
        "RGB of the classes in drawings, three numbers each; () = colours of the program.",
        low=0,
        high=255,
        element=int,
    ),
    "SUBMISSION": Option(False, "Write the class maps as the benchmark's server takes them (Cityscapes' ids)."),
}

GROUP_NORM: Group = {
    "NUM_GROUPS": Option(
        32, "Groups; where the channels do not divide, the largest divisor below it.", low=1, high=16_384
    ),
    "EPSILON": Option(1e-5, "Added to the variance.", low=0, high=1),
}
