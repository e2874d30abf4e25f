"""The whole way in one command: make a data set, train on it, evaluate, draw."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fpt.cli import infer, shapes, test, train
from fpt.utils.timer import format_duration

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "demo" / "shapes_fpt_R-18.yaml"
NUM_IMAGES = 12


def build_parser() -> argparse.ArgumentParser:
    """The options of the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/demo"), help="where to (%(default)s)")
    parser.add_argument("--data_dir", type=Path, default=ROOT / "data", help="shapes/ is made in it (%(default)s)")
    parser.add_argument("--num_train", type=int, default=2000, help="training images to make (%(default)s)")
    parser.add_argument("--num_val", type=int, default=100, help="validation images to make (%(default)s)")
    parser.add_argument(
        "--set", dest="set_cfgs", nargs="+", default=[], metavar="KEY VALUE", help="options over the yaml"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status of the first part that fails, else 0."""
    args = build_parser().parse_args(argv)
    output_dir, data_dir = args.output_dir, args.data_dir
    common = ["--cfg", str(CONFIG), "--set", "DATA_DIR", str(data_dir), *args.set_cfgs]
    numbers = ["--num_train", str(args.num_train), "--num_val", str(args.num_val)]
    start = time.perf_counter()
    parts: list[tuple[str, Callable[[], int]]] = [
        ("Data", lambda: shapes.main(["--output_dir", str(data_dir / "shapes"), *numbers])),
        ("Training", lambda: train.main([*common, "--output_dir", str(output_dir), *_resume(output_dir)])),
        ("Evaluation", lambda: test.main([*common, "--output_dir", str(output_dir), *_weights(output_dir)])),
        ("Images", lambda: infer.main([*common, *_weights(output_dir), *_infer_arguments(output_dir, data_dir)])),
    ]
    for number, (name, part) in enumerate(parts, start=1):
        print(f"\n== {number}/{len(parts)} {name}", flush=True)
        status = part()
        if status:
            print(f"{name} ended with status {status}", file=sys.stderr)
            return status
    _report(output_dir, data_dir, time.perf_counter() - start)
    return 0


def _resume(output_dir: Path) -> list[str]:
    """What makes an earlier demo in the folder go on."""
    if not any((output_dir / "ckpt").glob("model_*.pth")):
        return []
    print(f"going on with the demo in {output_dir}; remove this folder to start afresh")
    return ["--resume"]


def _weights(output_dir: Path) -> list[str]:
    return ["--load_ckpt", str(_checkpoint(output_dir))]


def _checkpoint(output_dir: Path) -> Path:
    """The checkpoint that was written last."""
    return max((output_dir / "ckpt").glob("model_step*.pth"), key=lambda path: path.stat().st_mtime)


def _infer_arguments(output_dir: Path, data_dir: Path) -> list[str]:
    paths = sorted((data_dir / "shapes" / "images" / "val").iterdir())[:NUM_IMAGES]
    images = [str(path) for path in paths]
    return ["--images", *images, "--output_dir", str(output_dir / "images"), "--thresh", "0.5"]


def _report(output_dir: Path, data_dir: Path, seconds: float) -> None:
    metrics = json.loads((output_dir / "metrics.json").read_text(encoding="utf-8"))
    average_precision = {kind: metrics[kind]["AP"] for kind in ("bbox", "segm") if kind in metrics}
    names = {"bbox": "box AP", "segm": "mask AP"}
    checkpoint = _checkpoint(output_dir)
    print(f"\n== Done in {format_duration(seconds)}")
    print(", ".join(f"{names[kind]} {value:.3f}" for kind, value in average_precision.items()))
    print(f"images     {output_dir / 'images'}")
    print(f"metrics      {output_dir / 'metrics.json'}")
    print(f"checkpoint   {checkpoint}")
    print(f"data set     {data_dir / 'shapes'}")
    print(f"log, curve   {output_dir / 'log.txt'}, {output_dir / 'metrics.jsonl'}")
    print("next:")
    print("  your own images: write a yaml file as in configs/examples, then tools/train_net_step.py --cfg <yaml>")
    print(f"  look at others:    tools/infer_simple.py --cfg {CONFIG} --load_ckpt {checkpoint} --image_dir <folder>")
    print("  every option:      docs/config.md, and --help of each tool")


if __name__ == "__main__":
    sys.exit(main())
