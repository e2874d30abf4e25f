"""The whole way in one command: make a data set, train on it, evaluate, draw."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fpt.cli.common import run_command
from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.run.evaluate import evaluate_checkpoint
from fpt.run.options import EvaluationOptions, RunOptions
from fpt.run.predict_files import predict_files
from fpt.run.predictor import Predictor
from fpt.run.semantic_prediction import IDS
from fpt.run.train import TrainResult, train
from fpt.synthetic.shapes import generate_shapes
from fpt.utils.timer import format_duration

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {name: ROOT / "configs" / "demo" / f"shapes_{name}_R-18.yaml" for name in ("fpt", "semantic")}
NUM_IMAGES = 12
PARTS = ("Data", "Training", "Evaluation", "Images")
NAMES = {"bbox": ("box AP", "AP"), "segm": ("mask AP", "AP"), "semantic": ("mIoU", "mIoU")}


def build_parser() -> argparse.ArgumentParser:
    """The options of the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--recipe", choices=tuple(CONFIGS), default="fpt", help="Mask R-CNN, or classes of pixels (%(default)s)"
    )
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/demo"), help="where to (%(default)s)")
    parser.add_argument("--data_dir", type=Path, default=ROOT / "data", help="shapes/ is made in it (%(default)s)")
    parser.add_argument("--num_train", type=int, default=2000, help="training images to make (%(default)s)")
    parser.add_argument("--num_val", type=int, default=100, help="validation images to make (%(default)s)")
    parser.add_argument(
        "--set", dest="set_cfgs", nargs="+", default=[], metavar="KEY VALUE", help="options over the yaml"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status: 0, that of a training that a signal has stopped, 1 or 2 after an error."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    start = time.perf_counter()
    output_dir, shapes = args.output_dir, args.data_dir / "shapes"
    _announce("Data")
    is_new = generate_shapes(shapes, num_train=args.num_train, num_val=args.num_val)
    print(f"{'wrote' if is_new else 'found'} {args.num_train} training and {args.num_val} validation images: {shapes}")
    cfg = load_cfg(CONFIGS[args.recipe], ["DATA_DIR", str(args.data_dir), *args.set_cfgs])
    _announce("Training")
    result = _train(cfg, output_dir)
    if result.exit_status:
        return result.exit_status
    checkpoint = result.checkpoint
    assert checkpoint is not None
    _announce("Evaluation")
    evaluated = evaluate_checkpoint(cfg, checkpoint, EvaluationOptions(output_dir=output_dir))
    (metrics,) = evaluated.metrics.values()
    _announce("Images")
    images = sorted((shapes / "images" / "val").glob("*.jpg"))[:NUM_IMAGES]
    formats = ("png", "json", *([IDS] if args.recipe == "semantic" else []))
    predictor = Predictor(checkpoint, cfg=cfg, score_threshold=0.5)
    predict_files(predictor, images, output_dir / "images", formats=formats)
    _report(output_dir, shapes, checkpoint, metrics, time.perf_counter() - start)
    return 0


def _train(cfg: CfgNode, output_dir: Path) -> TrainResult:
    """Train, or go on with an earlier demo in the folder."""
    has_checkpoint = any((output_dir / "ckpt").glob("model_*.pth"))
    if has_checkpoint:
        print(f"going on with the demo in {output_dir}; remove this folder to start afresh")
    resume = "yes" if has_checkpoint else "no"
    return train(cfg, RunOptions(output_dir=output_dir, resume=resume, command=("demos/demo.py",)))


def _announce(part: str) -> None:
    print(f"\n== {PARTS.index(part) + 1}/{len(PARTS)} {part}", flush=True)


def _report(output_dir: Path, shapes: Path, checkpoint: Path, metrics: dict[str, Any], seconds: float) -> None:
    values = [f"{text} {metrics[kind][key]:.3f}" for kind, (text, key) in NAMES.items() if kind in metrics]
    python, tools = _shown(Path(sys.executable)), _shown(ROOT / "tools")
    config = output_dir / "config.yaml"
    print(f"\n== Done in {format_duration(seconds)}")
    print(", ".join(values))
    print(f"images       {output_dir / 'images'}")
    print(f"metrics      {output_dir / 'metrics.json'}")
    print(f"checkpoint   {checkpoint}")
    print(f"data set     {shapes}")
    print(f"log, curve   {output_dir / 'log.txt'}, {output_dir / 'metrics.jsonl'}")
    print("next, ready to be pasted:")
    print(f"  {python} {tools}/infer_simple.py --cfg {config} --load_ckpt {checkpoint} --image_dir {shapes}/images/val")
    print(f"  {python} {tools}/test_net.py --cfg {config} --load_ckpt {checkpoint}")
    print(f"  {python} {tools}/train_net_step.py --help")
    print("your own images: write a yaml file like those in configs/examples, and train with --cfg <yaml file>")
    print("every option: docs/config.md; from Python: docs/python.md")


def _shown(path: Path) -> str:
    """The path from the working folder where it lies below it, as a person would type it."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


if __name__ == "__main__":
    sys.exit(main())
