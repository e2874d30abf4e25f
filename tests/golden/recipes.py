"""Short trainings of the main recipes, whose losses are kept in losses.json.

python tests/golden/recipes.py          # after a change that is meant to change them: writes losses.json anew
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from fpt.core.config import load_cfg
from fpt.dataloaders.catalog import dataset_names
from fpt.run.options import RunOptions
from fpt.run.train import train
from fpt.synthetic.shapes import generate_shapes

ROOT = Path(__file__).resolve().parents[2]
LOSSES = Path(__file__).with_name("losses.json")
STEPS = 20

RECIPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "FPT Mask R-CNN": ("configs/e2e_fptnet_R-50_mask.yaml", ("MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt")),
    "FPT Faster R-CNN": ("configs/e2e_fptnet_R-50_det.yaml", ("MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt")),
    "FPT Faster R-CNN, 2 fc": (
        "configs/e2e_fptnet_R-50_det_2fc.yaml",
        ("MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt"),
    ),
    "FPN Mask R-CNN": ("configs/e2e_fptnet_R-50_mask.yaml", ("MODEL.CONV_BODY", "FPN.ResNet18_conv5_body")),
    "BFP with GT and RT": (
        "configs/paper/ablation/bfp_gt_rt.yaml",
        ("MODEL.CONV_BODY", "BFP.ResNet18_conv5_body_fpt", "MODEL.FPT.NORM", "GN"),
    ),
    "demo": ("configs/demo/shapes_fpt_R-18.yaml", ()),
    "nuts, MobileNetV2": ("configs/examples/nuts_fpt_mobilenet.yaml", ()),
}
"""The file and what makes it small."""

SMALL = ("TRAIN.SCALES", "(64,)", "TRAIN.MAX_SIZE", "96", "TRAIN.BATCH_SIZE_PER_IM", "32", "FPN.DIM", "32")
SMALL += ("TRAIN.RPN_PRE_NMS_TOP_N", "200", "TRAIN.RPN_POST_NMS_TOP_N", "50", "FAST_RCNN.MLP_HEAD_DIM", "64")
SMALL += ("FPN.RPN_ANCHOR_START_SIZE", "16", "RESNETS.USE_GN", "True", "RESNETS.IMAGENET_PRETRAINED_WEIGHTS", "")
SMALL += ("RESNETS.FREEZE_AT", "0", "SOLVER.TYPE", "SGD", "SOLVER.BASE_LR", "0.0002", "SOLVER.LR_POLICY", "cosine")
SMALL += ("SOLVER.WARM_UP_ITERS", "0", "SOLVER.STEPS", "()", "SOLVER.CLIP_GRAD_NORM", "10", "RNG_SEED", "5")
SMALL += ("NUM_GPUS", "1", "TRAIN.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", str(STEPS), "DATA_LOADER.NUM_THREADS", "0")


def make_data(folder: Path) -> None:
    """Eight built-in images by the names of all data sets that the recipes train on."""
    generate_shapes(folder / "shapes", num_train=8, num_val=1, size=96)
    images, annotations = folder / "shapes" / "images" / "train", folder / "shapes" / "annotations" / "train.json"
    for name in ("coco/images/train2017", "nuts/images"):
        shutil.copytree(images, folder / name)
    for name in ("coco/annotations/instances_train2017.json", "nuts/annotations/train.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(annotations, folder / name)


def losses_of(recipe: str, *, data: Path, run: Path) -> list[float]:
    """The total loss of each of the 20 steps."""
    file, changes = RECIPES[recipe]
    options = [
        "DATA_DIR",
        str(data),
        *SMALL,
        *changes,
        "TEST.DATASETS",
        "()",
        "TRAIN.EVAL_PERIOD",
        "0",
        "DEVICE",
        "cpu",
    ]
    cfg = load_cfg(ROOT / file, options).clone()
    if "e2e_" in file or "paper" in file:
        cfg.TRAIN.DATASETS, cfg.TEST.DATASETS = dataset_names("coco2017", cfg.DATASETS)
    train(cfg, RunOptions(output_dir=run, saves_checkpoints=False, disp_interval=1))
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def main() -> None:
    """Write losses.json."""
    with tempfile.TemporaryDirectory() as name:
        make_data(Path(name))
        numbers = enumerate(RECIPES)
        losses = {recipe: losses_of(recipe, data=Path(name), run=Path(name) / f"run{i}") for i, recipe in numbers}
    rounded = {recipe: [float(f"{value:.7g}") for value in values] for recipe, values in losses.items()}
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else LOSSES
    target.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
