"""Every option of the framework with its default, meaning, unit and legal values: the tree that ``get_cfg`` returns.

The groups stand in the order in which an image meets them: the run and its data, the model from the backbone to the
heads, training, evaluation, the schedule. An option that old files set and that has one legal value here is no option:
`legacy_keys.py` reads it.
"""

from fpt.core.model_defaults import FAST_RCNN, FPN, GROUP_NORM, KRCNN, MODEL, MRCNN, RESNETS, RETINANET, RPN, SEMANTIC
from fpt.core.option import Group, Option

# --- The run and its data ---------------------------------------------------------------------------------------------

GENERAL: Group = {
    # The computer.
    "DEVICE": Option(
        "auto",
        "Where to compute: auto = cuda when there is one, else cpu; cuda = every visible GPU; cuda:0, cuda:1 ... = one "
        "of them; mps = Apple's GPU, in float32.",
        pattern=("auto|cpu|mps|cuda(:[0-9]{1,2})?", "auto, cpu, cuda, cuda:0 (or another number) or mps"),
    ),
    "NUM_GPUS": Option(
        1, "Devices that the schedule was written for: x TRAIN.IMS_PER_BATCH = original batch.", low=1, high=4096
    ),
    "CHANNELS_LAST": Option(True, "Keep feature maps in channels_last memory format (faster on CPU and CUDA)."),
    "RNG_SEED": Option(3, "Seed of Python, numpy, torch and the loader workers.", low=0, high=2**32 - 1),
    # Files.
    "DATA_DIR": Option(
        "",
        "Folder that relative data paths count from; '' = the yaml file's folder, and `data` in the working folder for "
        "what is not there.",
    ),
    "DATASETS": Option(
        {},
        "Data sets by name: {NAME: {IMAGE_DIR: ..., ANN_FILE: ...}}, and where it is due FORMAT (a reader; coco), "
        "CLASSES: [...] (these classes alone, in this order), BOX_FORMAT (xywh, xyxy, cxcywh, or one of them and "
        "_relative). For semantic segmentation FORMAT is label_maps (ANN_FILE: a folder of png maps of ids; CLASSES: "
        "the names of the ids 0, 1 ..., IGNORE: [ids] count for nothing), cityscapes, ade20k, lip or voc, and masks of "
        "COCO's json become classes of pixels.",
    ),
    "OUTPUT_DIR": Option("Outputs", "Folder under which runs are written: <OUTPUT_DIR>/<cfg name>/<time>."),
    # Pixels, as the backbone was trained with them.
    "PIXEL_FORMAT": Option(
        "auto",
        "Channel order that the backbone was trained with; auto = RGB for torchvision's backbones and weights, BGR for "
        "caffe's and without weights.",
        choices=("auto", "BGR", "RGB"),
    ),
    "PIXEL_MEANS": Option(
        "auto",
        "Mean of each channel (0..255), in the order of PIXEL_FORMAT; auto = as the weights expect: "
        "(123.675, 116.28, 103.53) of torchvision, (102.9801, 115.9465, 122.7717) of caffe and without weights.",
        low=0,
        high=255,
        element=float,
    ),
    "PIXEL_STDS": Option(
        "auto",
        "Standard deviation of each channel, in the order of PIXEL_FORMAT; auto = as the weights expect: "
        "(58.395, 57.12, 57.375) of torchvision, (1, 1, 1) of caffe and without weights.",
        low=1e-3,
        high=1000,
        element=float,
    ),
    # A look at the data and at what is found.
    "DEBUG": Option(False, "Load only the first 32 images of each data set."),
    "VIS": Option(False, "Draw the detections of each evaluated image (fpt-test --vis)."),
    "VIS_TH": Option(0.7, "Score from which a detection is drawn.", low=0, high=1),
}

DATA_LOADER: Group = {
    "EXIF": Option(
        "auto",
        "EXIF orientation of photos: apply, ignore, or auto = apply, unless only the unrotated image has the annotated "
        "size.",
        choices=("auto", "apply", "ignore"),
    ),
    "STRETCH": Option(
        "auto",
        "Pixels of 16 bits: always = scaled by the image's own range, never = by all of 16 bits, auto = by the own "
        "range where no value needs more than 14 bits.",
        choices=("auto", "always", "never"),
    ),
    "REDUCED_JPEG": Option(
        False,
        "A detector's JPEGs of twice the network's input or more are decoded at a half, a quarter or an eighth of "
        "their size, where height and width are multiples of that: in less time, with pixels that differ a little.",
    ),
    "NUM_THREADS": Option(4, "Loader workers; 0 = load in the main process.", low=0, high=1024),
    "TIMEOUT": Option(
        300,
        "Seconds without a batch after which a loader counts as hung and the program ends; 0 = never.",
        low=0,
        high=604_800,
    ),
}

# --- Training and evaluation ------------------------------------------------------------------------------------------

TRAIN: Group = {
    # Images.
    "DATASETS": Option((), "Names of the data sets to train on.", element=str),
    "PROPOSAL_FILES": Option(
        (),
        "Proposals of each of them, in their order, for Fast R-CNN: npz (fpt-test writes it), COCO results as json, or "
        "Detectron's pkl; () = proposals come from the RPN.",
        element=str,
    ),
    "IMS_PER_BATCH": Option(2, "Images per device in one batch; x NUM_GPUS = original batch.", low=1, high=4096),
    "SCALES": Option(
        (600,),
        "Lengths in pixels of the shorter side; one is drawn for each image.",
        low=1,
        high=16_384,
        is_scalar_accepted=True,
    ),
    "MAX_SIZE": Option(1000, "Longest side in pixels after resizing.", low=1, high=16_384),
    "USE_FLIPPED": Option(True, "Mirror each image with probability 0.5."),
    "ASPECT_GROUPING": Option(True, "Put only upright or only wide images into one batch."),
    "MAX_BAD_SAMPLES": Option(
        0.01,
        "Share of the images that may be unreadable: others take their places; more end the training. One always may "
        "be, unless this is 0.",
        low=0,
        high=1,
    ),
    # Ground truth.
    "GT_MIN_AREA": Option(
        -1.0, "Objects with a smaller area in original pixels are left out; -1 = keep all.", low=-1, high=1e9
    ),
    "CROWD_FILTER_THRESH": Option(
        0.7, "Proposals covered by a crowd region more than this are no negatives; 0 = all may be.", low=0, high=1
    ),
    # Region proposal network: anchors that it learns from, and proposals that it gives.
    "RPN_POSITIVE_OVERLAP": Option(0.7, "IoU from which an anchor is positive.", low=0, high=1),
    "RPN_NEGATIVE_OVERLAP": Option(0.3, "IoU below which an anchor is negative.", low=0, high=1),
    "RPN_BATCH_SIZE_PER_IM": Option(256, "Anchors sampled per image for the RPN loss.", low=1, high=100_000),
    "RPN_FG_FRACTION": Option(0.5, "Largest share of positives among the sampled anchors.", low=0, high=1),
    "RPN_STRADDLE_THRESH": Option(
        -1.0,
        "Anchors that reach out of the image by more than this many pixels are not trained; negative = all are. With 0 "
        "(Detectron's) the coarse levels of small images are not trained at all, but propose.",
        low=-1e6,
        high=1e6,
    ),
    "RPN_PRE_NMS_TOP_N": Option(2000, "Proposals kept per level before NMS.", low=1, high=1_000_000),
    "RPN_NMS_THRESH": Option(0.7, "IoU of the proposals' NMS; 0 = none.", low=0, high=1),
    "RPN_POST_NMS_TOP_N": Option(2000, "Proposals kept per image after NMS.", low=1, high=100_000),
    "RPN_MIN_SIZE": Option(
        0.0, "Proposals with a shorter side, in network-input pixels, are dropped.", low=0, high=16_384
    ),
    # Box and mask heads: RoIs that they learn from.
    "BATCH_SIZE_PER_IM": Option(512, "RoIs sampled per image for the box head.", low=1, high=100_000),
    "FG_FRACTION": Option(0.25, "Largest share of foreground among the sampled RoIs.", low=0, high=1),
    "FG_THRESH": Option(0.5, "IoU from which a RoI is foreground.", low=0, high=1),
    "BG_THRESH_HI": Option(0.5, "IoU below which a RoI is background.", low=0, high=1),
    "BG_THRESH_LO": Option(0.0, "IoU from which a RoI may be background.", low=0, high=1),
    # Parts that are not trained.
    "FREEZE_CONV_BODY": Option(False, "Train no parameter of the backbone."),
    "FREEZE": Option(
        (),
        "Parts that are not trained, by the names of their parameters, such as 'backbone.*' or 'neck.pyramid.*' (* = "
        "any text). The statistics of a frozen BatchNorm rest, too.",
        element=str,
    ),
    # What is written while training.
    "SNAPSHOT_ITERS": Option(20000, "Steps between checkpoints.", low=1, high=10**9),
    "SNAPSHOT_MINUTES": Option(
        10.0,
        "Minutes after which a checkpoint is written between those of SNAPSHOT_ITERS too; the next one takes its "
        "place. 0 = never.",
        low=0,
        high=1e6,
    ),
    "KEEP_CHECKPOINTS": Option(
        0, "So many of the newest checkpoints stay on the disk, and the best one; 0 = all stay.", low=0, high=10**6
    ),
    "KEEP_EVERY": Option(
        0, "Checkpoints of a multiple of so many steps stay too; 0 = none for that reason.", low=0, high=10**9
    ),
    "VIS_PERIOD": Option(
        0,
        "Steps between images of what is found in a few images, beside what is annotated; 0 = never.",
        low=0,
        high=10**9,
    ),
    "EVAL_PERIOD": Option(
        0, "Steps between evaluations on TEST.DATASETS; the best checkpoint is kept. 0 = never.", low=0, high=10**9
    ),
}

TEST: Group = {
    # Images.
    "DATASETS": Option((), "Names of the data sets to evaluate on.", element=str),
    "PROPOSAL_FILES": Option(
        (),
        "Proposals of each of them, in their order, for Fast R-CNN: npz (fpt-test writes it), COCO results as json, or "
        "Detectron's pkl; () = proposals come from the RPN.",
        element=str,
    ),
    "IMS_PER_BATCH": Option(1, "Images in one batch.", low=1, high=4096),
    "SCALE": Option(600, "Length in pixels of the shorter side.", low=1, high=16_384),
    "MAX_SIZE": Option(1000, "Longest side in pixels after resizing.", low=1, high=16_384),
    # Region proposal network.
    "RPN_PRE_NMS_TOP_N": Option(1000, "Proposals kept per level before NMS.", low=1, high=1_000_000),
    "RPN_NMS_THRESH": Option(0.7, "IoU of the proposals' NMS; 0 = none.", low=0, high=1),
    "RPN_POST_NMS_TOP_N": Option(1000, "Proposals kept per image after NMS.", low=1, high=100_000),
    "RPN_MIN_SIZE": Option(
        0.0, "Proposals with a shorter side, in network-input pixels, are dropped.", low=0, high=16_384
    ),
    # Detections.
    "BBOX_REG": Option(True, "Apply the box head's regression to the proposals."),
    "SCORE_THRESH": Option(0.05, "Detections with a lower score are dropped.", low=0, high=1),
    "NMS": Option(0.3, "IoU of the NMS over the detections of one class.", low=0, high=1),
    "DETECTIONS_PER_IM": Option(100, "Detections kept per image, by score.", low=1, high=100_000),
    "OKS_SIGMAS": Option(
        (),
        "Precision of each key point in the OKS, in units of the square root of the object's area; () = COCO's for its "
        "17 points, else 0.05 for all.",
        low=1e-4,
        high=10,
        element=float,
    ),
    "RAW_GROUND_TRUTH": Option(
        False,
        "Evaluate on the annotation file as it is, too: as bbox_raw and segm_raw, beside what training learns from.",
    ),
    "EVALUATOR": Option(
        ("auto",),
        "Evaluators, whose metrics are put together. COCO's numbers: hotcoco, pycocotools (the same, slower) or auto = "
        "hotcoco when it is installed, else pycocotools.",
    ),
}

SOLVER: Group = {
    # Optimizer.
    "TYPE": Option("SGD", "Name of the optimizer."),
    "MOMENTUM": Option(0.9, "Momentum of SGD; beta1 of Adam and AdamW.", low=0, high=1),
    "WEIGHT_DECAY": Option(0.0005, "Weight decay of weights.", low=0, high=1),
    "WEIGHT_DECAY_GN": Option(0.0, "Weight decay of the parameters of normalisation layers.", low=0, high=1),
    "BIAS_DOUBLE_LR": Option(True, "Biases learn at twice the rate."),
    "BIAS_WEIGHT_DECAY": Option(False, "Weight decay of biases too."),
    # Schedule.
    "MAX_ITER": Option(40000, "Steps of the schedule at the original batch size.", low=1, high=10**9),
    "BASE_LR": Option(0.001, "Learning rate at the original batch size.", low=0, high=1e30),
    "BACKBONE_LR_FACTOR": Option(
        1.0, "Rate of the backbone over that of the rest; below 1 a pretrained one changes less.", low=0, high=1e6
    ),
    "LR_POLICY": Option(
        "steps_with_decay",
        "How the learning rate falls: steps_with_decay (x GAMMA at each of STEPS), step (x GAMMA every STEP_SIZE), "
        "steps_with_lrs (LRS from each of STEPS), cosine and poly (to 0 at MAX_ITER).",
    ),
    "GAMMA": Option(0.1, "Factor of each decay.", low=0, high=1),
    "STEPS": Option((), "Steps at which the rate changes.", low=0, high=10**9, element=int),
    "STEP_SIZE": Option(30000, "Steps between decays of the policy `step`.", low=1, high=10**9),
    "LRS": Option((), "Rates of steps_with_lrs, one for each of STEPS.", low=0, high=1e30, element=float),
    "POLY_POWER": Option(0.9, "Exponent of the policy `poly`.", low=0, high=100),
    "IMS_PER_UPDATE": Option(
        0,
        "Images an update that rates and steps are written for; 0 = NUM_GPUS x TRAIN.IMS_PER_BATCH. The config.yaml "
        "of a run with --iter_size has it.",
        low=0,
        high=10**9,
    ),
    "WARM_UP_ITERS": Option(500, "Steps of warm-up; 0 = none.", low=0, high=10**9),
    "WARM_UP_FACTOR": Option(1.0 / 3.0, "Share of the rate at which the warm-up starts.", low=0, high=1),
    "WARM_UP_METHOD": Option("linear", "How the rate rises.", choices=("linear", "constant")),
    # Steps.
    "CLIP_GRAD_NORM": Option(0.0, "Scale gradients down to this norm; 0 = off.", low=0, high=1e9),
    "AMP": Option(
        "off",
        "Automatic mixed precision: bf16 (CPUs, newer GPUs), or fp16 with scaled gradients (GPUs).",
        choices=("off", "bf16", "fp16"),
    ),
    "EMA_DECAY": Option(
        0.0,
        "Keep an exponential moving average of the weights with this decay, such as 0.9998, and evaluate it; 0 = off.",
        low=0,
        high=1,
    ),
    "MAX_SKIPPED_STEPS": Option(
        10,
        "Steps in a row without a finite loss and gradient, which are left out, that end the training.",
        low=1,
        high=10**6,
    ),
}

# --- All of them ------------------------------------------------------------------------------------------------------

OPTIONS: Group = {
    **GENERAL,
    "DATA_LOADER": DATA_LOADER,
    "MODEL": MODEL,
    "RESNETS": RESNETS,
    "FPN": FPN,
    "RPN": RPN,
    "RETINANET": RETINANET,
    "FAST_RCNN": FAST_RCNN,
    "MRCNN": MRCNN,
    "KRCNN": KRCNN,
    "SEMANTIC": SEMANTIC,
    "GROUP_NORM": GROUP_NORM,
    "TRAIN": TRAIN,
    "TEST": TEST,
    "SOLVER": SOLVER,
}
