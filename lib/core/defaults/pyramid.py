"""Options of the feature pyramid and of the region proposal network."""

from fpt.core.option import Group, Option

FPN: Group = {
    "FPN_ON": Option(True, "Use a feature pyramid.", choices=(True,)),
    "DIM": Option(256, "Channels of each level of the pyramid.", low=1),
    "USE_GN": Option(False, "GroupNorm in the pyramid's convolutions."),
    "ZERO_INIT_LATERAL": Option(False, "Start the lateral 1x1 convolutions at zero."),
    "COARSEST_STRIDE": Option(32, "Images are padded to a multiple of this many pixels.", low=1),
    "ROI_MIN_LEVEL": Option(2, "Finest level that RoIs are pooled from.", low=2, high=5),
    "ROI_MAX_LEVEL": Option(5, "Coarsest level that RoIs are pooled from.", low=2, high=5),
    "ROI_CANONICAL_SCALE": Option(224, "Side in pixels of a RoI that is pooled from ROI_CANONICAL_LEVEL.", low=1),
    "ROI_CANONICAL_LEVEL": Option(4, "Level for a RoI of ROI_CANONICAL_SCALE.", low=2, high=5),
    "RPN_MIN_LEVEL": Option(2, "Finest level of the RPN.", low=2, high=6),
    "RPN_MAX_LEVEL": Option(6, "Coarsest level of the RPN.", low=2, high=6),
    "RPN_ANCHOR_START_SIZE": Option(32, "Side in pixels of the anchors on the finest level; doubles a level.", low=1),
    "RPN_ASPECT_RATIOS": Option((0.5, 1.0, 2.0), "Height / width of the anchors.", low=1e-3),
}

RPN: Group = {
    "RPN_ON": Option(True, "Use a region proposal network.", choices=(True,)),
}
