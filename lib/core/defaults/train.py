"""Options of training: data, sampling of anchors and RoIs, snapshots."""

from fpt.core.option import Group, Option

TRAIN: Group = {
    "DATASETS": Option((), "Names of the data sets to train on.", element=str),
    "SCALES": Option(
        (600,),
        "Lengths in pixels of the shorter side; one is drawn for each image.",
        low=1,
        is_scalar_accepted=True,
    ),
    "MAX_SIZE": Option(1000, "Longest side in pixels after resizing.", low=1),
    "IMS_PER_BATCH": Option(2, "Images a device in one batch; x NUM_GPUS = original batch.", low=1),
    "USE_FLIPPED": Option(True, "Mirror each image with probability 0.5."),
    "ASPECT_GROUPING": Option(True, "Put only upright or only wide images into one batch."),
    "MAX_BAD_SAMPLES": Option(
        0.01,
        "Share of the images that may be unreadable: others take their places; more end the training. One always may "
        "be, unless this is 0.",
        low=0,
        high=1,
    ),
    "GT_MIN_AREA": Option(-1.0, "Objects with a smaller area in original pixels are left out; -1 keeps all."),
    "CROWD_FILTER_THRESH": Option(
        0.7, "Proposals covered by a crowd region more than this are no negatives.", low=0, high=1
    ),
    "BATCH_SIZE_PER_IM": Option(512, "RoIs sampled an image for the box head.", low=1),
    "FG_FRACTION": Option(0.25, "Largest share of foreground among the sampled RoIs.", low=0, high=1),
    "FG_THRESH": Option(0.5, "IoU from which a RoI is foreground.", low=0, high=1),
    "BG_THRESH_HI": Option(0.5, "IoU below which a RoI is background.", low=0, high=1),
    "BG_THRESH_LO": Option(0.0, "IoU from which a RoI may be background.", low=0, high=1),
    "RPN_POSITIVE_OVERLAP": Option(0.7, "IoU from which an anchor is positive.", low=0, high=1),
    "RPN_NEGATIVE_OVERLAP": Option(0.3, "IoU below which an anchor is negative.", low=0, high=1),
    "RPN_BATCH_SIZE_PER_IM": Option(256, "Anchors sampled an image for the RPN loss.", low=1),
    "RPN_FG_FRACTION": Option(0.5, "Largest share of positives among the sampled anchors.", low=0, high=1),
    "RPN_STRADDLE_THRESH": Option(
        0.0, "Anchors that reach out of the image by more than this many pixels are not trained; negative = all are."
    ),
    "RPN_NMS_THRESH": Option(0.7, "IoU of the proposals' NMS.", low=0, high=1),
    "RPN_PRE_NMS_TOP_N": Option(2000, "Proposals a level kept before NMS.", low=1),
    "RPN_POST_NMS_TOP_N": Option(2000, "Proposals an image kept after NMS.", low=1),
    "RPN_MIN_SIZE": Option(0.0, "Proposals with a shorter side, in network-input pixels, are dropped.", low=0),
    "FREEZE_CONV_BODY": Option(False, "Train no parameter of the backbone."),
    "FREEZE": Option(
        (),
        "Parts that are not trained, by the names of their parameters, such as 'backbone.*' or 'neck.pyramid.*' (* = "
        "any text).",
        element=str,
    ),
    "SNAPSHOT_ITERS": Option(20000, "Steps between checkpoints.", low=1),
    "SNAPSHOT_MINUTES": Option(
        10.0,
        "Minutes after which a checkpoint is written between those of SNAPSHOT_ITERS too; the next one takes its "
        "place. 0 = never.",
        low=0,
    ),
    "KEEP_CHECKPOINTS": Option(
        0, "So many of the newest checkpoints stay on the disk, and the best one; 0 = all stay.", low=0
    ),
    "KEEP_EVERY": Option(0, "Checkpoints of a multiple of so many steps stay too; 0 = none for that reason.", low=0),
    "VIS_PERIOD": Option(
        0, "Steps between images of what is found in a few images, beside what is annotated; 0 = never.", low=0
    ),
    "EVAL_PERIOD": Option(
        0, "Steps between evaluations on TEST.DATASETS; 0 = never, the best checkpoint is kept.", low=0
    ),
}
