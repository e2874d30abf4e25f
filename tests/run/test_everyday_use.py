"""What users of such programs do every day, and have reported as broken in others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fpt.core.config import load_cfg
from fpt.run.evaluate import evaluate_checkpoint
from fpt.run.options import EvaluationOptions
from fpt.run.predictor import Predictor
from fpt.utils.memory import resident_mib

LOW = ["TEST.SCORE_THRESH", "0.0"]


@pytest.mark.parametrize(
    "more", [["SOLVER.BASE_LR", "0.0001"], ["SOLVER.STEPS", "(3,)"], ["TRAIN.IMS_PER_BATCH", "1"]], ids=str
)
def test_a_finished_run_goes_on_for_longer_with_other_settings(trained, tmp_path: Path, more: list[str]) -> None:
    shutil.copytree(trained.folder / "run", tmp_path / "run")
    opts = ["SOLVER.MAX_ITER", "4", *more]
    result = trained.train(tmp_path / "run", opts=opts, resume="yes")
    assert result.step == 4
    assert (tmp_path / "run" / "ckpt" / "model_step4.pth").is_file()


@pytest.mark.usefixtures("no_superuser")
def test_a_run_that_is_read_only_starts_another(trained, tmp_path: Path) -> None:
    run = tmp_path / "old"
    shutil.copytree(trained.folder / "run", run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for path in [run, *run.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    checkpoint = run / "ckpt" / "model_step2.pth"
    try:
        result = trained.train(tmp_path / "new", load_ckpt=checkpoint, opts=["SOLVER.MAX_ITER", "1"])
        evaluate_checkpoint(load_cfg(trained.cfg), checkpoint, EvaluationOptions(output_dir=tmp_path / "test"))
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    finally:
        for path in [run, *run.rglob("*")]:
            path.chmod(0o755)
    assert result.step == 1
    assert (tmp_path / "test" / "metrics.json").is_file()


@pytest.mark.usefixtures("no_superuser")
def test_data_that_are_read_only(tiny) -> None:
    data = [tiny.folder / "images", *(tiny.folder / "images").iterdir(), tiny.folder / "tiny.json"]
    before = sorted(os.listdir(tiny.folder / "images"))
    for path in data:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert tiny.train(tiny.folder / "run", opts=["TRAIN.EVAL_PERIOD", "2"]).step == 2
    finally:
        for path in data:
            path.chmod(0o755)
    assert sorted(os.listdir(tiny.folder / "images")) == before


def _add_image(tiny, size_hw: tuple[int, int], box: list[float], segmentation: object) -> None:
    h, w = size_hw
    cv2.imwrite(str(tiny.folder / "images" / "odd.png"), np.full((h, w, 3), 90, np.uint8))

    def change(content: dict) -> None:
        content["images"].append({"id": 7, "file_name": "odd.png", "height": h, "width": w})
        entry = {"id": 70, "image_id": 7, "category_id": 1, "bbox": box, "iscrowd": 0, "segmentation": segmentation}
        content["annotations"].append(entry)

    tiny.change(change)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 2000), (2000, 3)])
def test_images_of_odd_sizes(tiny, size_hw: tuple[int, int]) -> None:
    h, w = size_hw
    _add_image(tiny, size_hw, [0, 0, w, h], [[0, 0, w, 0, w, h, 0, h]])
    result = tiny.train(tiny.folder / "run", opts=["TRAIN.EVAL_PERIOD", "2", "TRAIN.IMS_PER_BATCH", "3"])
    assert result.step == 2
    assert result.metrics is not None
    predictor = Predictor(result.checkpoint, score_threshold=0.0)
    assert predictor(tiny.folder / "images" / "odd.png").draw().ndim == 3


def test_a_ring_is_not_filled(tiny) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[8:56, 8:56], mask[20:44, 20:44] = 1, 0
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat)))).tolist()
    counts = np.diff([0, *edges, flat.size]).tolist()
    _add_image(tiny, (64, 64), [8, 8, 48, 48], {"size": [64, 64], "counts": counts})
    (batch, *_), _ = tiny.load()
    batches, _ = tiny.load()
    targets = {i: t for b in batches for i, t in zip(b.image_ids, b.targets or (), strict=True)}
    assert batch.targets is not None
    ring = targets[7]["masks"][0]
    assert ring[56, 56] == 0
    assert ring[5, 56] == 1
    assert abs(float(ring.float().mean()) - float(mask[8:56, 8:56].mean())) < 0.02


def test_results_do_not_depend_on_the_batch(trained) -> None:
    metrics = [
        evaluate_checkpoint(load_cfg(trained.cfg, [*LOW, "TEST.IMS_PER_BATCH", size]), trained.checkpoint).metrics
        for size in ("1", "2")
    ]
    assert metrics[0] == metrics[1]


def test_pycocotools_of_ones_own_gives_the_same_numbers(trained, tmp_path: Path) -> None:
    options = EvaluationOptions(output_dir=tmp_path)
    metrics = evaluate_checkpoint(load_cfg(trained.cfg, LOW), trained.checkpoint, options).metrics["tiny_val"]
    truth = COCO(str(trained.folder / "tiny.json"))
    for kind in ("bbox", "segm"):
        evaluator = COCOeval(truth, truth.loadRes(str(tmp_path / f"{kind}.json")), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        assert metrics[kind]["AP"] == evaluator.stats[0]
        assert metrics[kind]["AR100"] == evaluator.stats[8]
    assert json.loads((tmp_path / "metrics.json").read_text())["bbox"]["AP"] == metrics["bbox"]["AP"]


@pytest.mark.slow
def test_memory_stays_flat_over_many_images(trained) -> None:
    predictor = Predictor(trained.checkpoint, score_threshold=0.0)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for _ in range(50):
        predictor(image)
    before = resident_mib()
    for _ in range(200):
        predictor(image)
    assert resident_mib() - before < 20
