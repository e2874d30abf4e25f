"""Checks data sets and says what is wrong with them, all of it at once; exit status 1 if anything is."""

from __future__ import annotations

import argparse
import sys

from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_dataset
from fpt.dataloaders.catalog import dataset_names
from fpt.dataloaders.coco import CocoDataset
from fpt.utils.errors import UserError


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cfg", help="yaml file; its data sets are checked unless --dataset names others")
    parser.add_argument("--dataset", help="a name as train_net_step takes it")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY VALUE", help="options over the yaml file")
    parser.add_argument("--read_images", action="store_true", help="load every image and mask too")
    return parser.parse_args()


def check_images(dataset: CocoDataset) -> int:
    """Load every image and its masks as training does; print and count what fails."""
    num_failures = 0
    for index in range(len(dataset)):
        try:
            masks = dataset[index]["target"].get("masks")
        except UserError as error:
            print(f"  ERROR {error}")
            num_failures += 1
            continue
        num_empty = 0 if masks is None else int((masks.flatten(1).amax(dim=1) == 0).sum())
        if num_empty:
            print(f"  note  {dataset.image_path(index)}: {num_empty} x masks that cover nothing of their box")
            num_failures += 1
    return num_failures


def check(cfg: CfgNode, name: str, *, reads_images: bool) -> bool:
    """Print what a data set holds and what is wrong; whether anything is.

    Raises:
        UserError: the data set cannot be used at all; the message holds the whole report.
    """
    dataset = build_dataset(cfg, name, is_train=True, with_masks=False)
    masks = "masks" if dataset.has_masks else "boxes only"
    print(f"data set {name}: {len(dataset.class_names)} classes ({', '.join(dataset.class_names)}), {masks}")
    print(dataset.report.text())
    if not dataset.num_objects:
        print("  ERROR there is no annotated object: it can be evaluated on, not trained on")
    num_failures = 0
    if reads_images:
        num_failures = check_images(build_dataset(cfg, name, is_train=True, with_masks=dataset.has_masks))
    return bool(dataset.report.findings) or not dataset.num_objects or num_failures > 0


def main() -> int:
    """Check each data set that is named."""
    args = parse_args()
    is_faulty = False
    try:
        cfg = load_cfg(args.cfg, args.set)
        names = (cfg.TRAIN.DATASETS, cfg.TEST.DATASETS)
        if args.dataset:
            names = dataset_names(args.dataset, cfg.DATASETS)
        ordered = dict.fromkeys([*names[0], *names[1]])
        if not ordered:
            raise UserError("no data set is named: give --cfg or --dataset")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for name in ordered:
        try:
            is_faulty |= check(cfg, name, reads_images=args.read_images)
        except UserError as error:
            print(error)
            is_faulty = True
    return int(is_faulty)


if __name__ == "__main__":
    sys.exit(main())
