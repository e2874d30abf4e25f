"""Top-level options and the data loader."""

from fpt.core.option import Group, Option

GENERAL: Group = {
    "NUM_GPUS": Option(1, "Devices that the schedule was written for: x TRAIN.IMS_PER_BATCH = original batch.", low=1),
    "DEVICE": Option(
        "auto", "Where to compute; auto = cuda when there is one, else cpu.", choices=("auto", "cpu", "cuda")
    ),
    "CHANNELS_LAST": Option(True, "Keep feature maps in channels_last memory format (faster on CPU and CUDA)."),
    "RNG_SEED": Option(3, "Seed of Python, numpy, torch and the loader workers.", low=0),
    "OUTPUT_DIR": Option("Outputs", "Folder under which runs are written: <OUTPUT_DIR>/<cfg name>/<time>."),
    "DATA_DIR": Option("data", "Folder that relative data paths count from first; the yaml file's folder is second."),
    "DATASETS": Option({}, "Data sets by name: {NAME: {IMAGE_DIR: ..., ANN_FILE: ...}}, in COCO's json format."),
    "PIXEL_FORMAT": Option("BGR", "Channel order that the backbone was trained with.", choices=("BGR", "RGB")),
    "PIXEL_MEANS": Option(
        (102.9801, 115.9465, 122.7717), "Mean of each channel (0..255), in the order of PIXEL_FORMAT.", low=0, high=255
    ),
    "PIXEL_STDS": Option(
        (1.0, 1.0, 1.0), "Standard deviation of each channel, in the order of PIXEL_FORMAT.", low=1e-3
    ),
    "DEBUG": Option(False, "A quick look: only the first 32 images of each data set are loaded."),
    "VIS": Option(False, "Draw the detections of each evaluated image (test_net --vis)."),
    "VIS_TH": Option(0.7, "Score from which a detection is drawn.", low=0, high=1),
}

DATA_LOADER: Group = {
    "NUM_THREADS": Option(4, "Loader workers; 0 loads in the main process.", low=0),
    "TIMEOUT": Option(
        300, "Seconds without a batch after which a loader counts as hung and the program ends; 0 = never.", low=0
    ),
}
