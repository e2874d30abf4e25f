"""Options of the model as a whole, and of the Feature Pyramid Transformer."""

from fpt.core.option import Group, Option

FPT: Group = {
    "INTERACTIONS": Option(
        ("self", "grounding", "rendering"),
        "Transformers that run; any subset.",
        choices=("self", "grounding", "rendering"),
    ),
    "KEY_DIM": Option(0, "Channels of q and k in ST and GT; 0 = half of FPN.DIM.", low=0),
    "NUM_MIXTURES_SELF": Option(2, "Parts of the mixture of softmaxes in the self-transformer.", low=1),
    "NUM_MIXTURES_GROUNDING": Option(4, "Parts of the mixture of softmaxes in the grounding transformer.", low=1),
    "LOCAL_WINDOW": Option(
        0, "Side (odd) of the window of the locality-constrained grounding transformer; 0 = whole coarse map.", low=0
    ),
    "MAX_KEYS": Option(
        1024, "A key and value map with more positions is average-pooled to at most this many; 0 = exact.", low=0
    ),
    "NORM": Option("GN", "Normalisation of the outputs of the transformers.", choices=("GN", "BN", "SyncBN", "none")),
    "DROPBLOCK_SIZE": Option(5, "Side in cells of the blocks that DropBlock zeroes while training.", low=1),
    "DROPBLOCK_KEEP_PROB": Option(0.9, "Share of the output that DropBlock keeps; 1 = off.", low=0.1, high=1),
}

MODEL: Group = {
    "TYPE": Option("generalized_rcnn", "Kind of model.", choices=("generalized_rcnn",)),
    "COMPILE": Option(
        False,
        "Compile the backbone with torch.compile while training: slow first steps for each size, faster ones after.",
    ),
    "CONV_BODY": Option(
        "FPN.ResNet50_conv5_body_fpt",
        "Backbone, neck: [FPN.|BFP.|BPA.]<ResNet18|34|50|101|152>_conv5_body[_fpt] or torchvision.<name>[_fpt].",
    ),
    "NUM_CLASSES": Option(0, "Classes, background included; 0 = as the training data set says.", low=0),
    "FASTER_RCNN": Option(True, "Train and run the box head on the RPN's proposals.", choices=(True,)),
    "MASK_ON": Option(False, "Add the mask head."),
    "CLS_AGNOSTIC_BBOX_REG": Option(False, "One box regression for all classes."),
    "BBOX_REG_WEIGHTS": Option((10.0, 10.0, 5.0, 5.0), "Weights of dx, dy, dw, dh in the box head.", low=1e-6),
    "LOAD_IMAGENET_PRETRAINED_WEIGHTS": Option(
        True, "Start the backbone from RESNETS.IMAGENET_PRETRAINED_WEIGHTS when that is not empty."
    ),
    "FPT": FPT,
}
