"""Options of evaluation and inference."""

from fpt.core.option import Group, Option

TEST: Group = {
    "DATASETS": Option((), "Names of the data sets to evaluate on.", element=str),
    "SCALE": Option(600, "Length in pixels of the shorter side.", low=1),
    "MAX_SIZE": Option(1000, "Longest side in pixels after resizing.", low=1),
    "IMS_PER_BATCH": Option(1, "Images in one batch.", low=1),
    "NMS": Option(0.3, "IoU of the NMS over the detections of one class.", low=0, high=1),
    "SCORE_THRESH": Option(0.05, "Detections with a lower score are dropped.", low=0, high=1),
    "DETECTIONS_PER_IM": Option(100, "Detections kept an image, by score.", low=1),
    "BBOX_REG": Option(True, "Apply the box head's regression to the proposals."),
    "RPN_NMS_THRESH": Option(0.7, "IoU of the proposals' NMS.", low=0, high=1),
    "RPN_PRE_NMS_TOP_N": Option(1000, "Proposals a level kept before NMS.", low=1),
    "RPN_POST_NMS_TOP_N": Option(1000, "Proposals an image kept after NMS.", low=1),
    "RPN_MIN_SIZE": Option(0.0, "Proposals with a shorter side, in network-input pixels, are dropped.", low=0),
    "EVALUATOR": Option(
        "auto",
        "COCO evaluator; auto = hotcoco when it is installed, else pycocotools (the same numbers, slower).",
        choices=("auto", "hotcoco", "pycocotools"),
    ),
}
