"""Exports of labelling tools: each is checked, trained on, evaluated by both evaluators and drawn."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import cv2
import pytest

from fpt.cli import check_data
from fpt.core.config import load_cfg
from fpt.run.evaluate import evaluate
from fpt.run.options import EvaluationOptions

EXPORTS: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("exports.py")))["EXPORTS"]


@pytest.mark.parametrize("name", EXPORTS)
def test_export(tiny, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    export = EXPORTS[name]
    content = json.loads((tiny.folder / "tiny.json").read_text())
    (tiny.folder / "tiny.json").write_text(json.dumps(export.make(content, tiny.folder)))
    drawings = tiny.folder / "drawings"
    status = check_data.main(tiny.arguments("--dataset", "tiny_val", "--read_images", "--draw", drawings))
    shown = capsys.readouterr().out
    assert status == 0, shown
    masks = "masks" if export.has_masks else "boxes only"
    assert f"{len(export.classes)} classes ({', '.join(export.classes)}), {masks}" in shown
    assert len(list(drawings.glob("*.png"))) == 2
    assert all(cv2.imread(str(path)).std() > 0 for path in drawings.glob("*.png"))

    opts = ["MODEL.MASK_ON", str(export.has_masks), "SOLVER.MAX_ITER", "4", "TRAIN.EVAL_PERIOD", "4"]
    result = tiny.train(tiny.folder / "run", opts=opts)
    assert result.class_names == export.classes
    kinds = ["bbox", "segm"] if export.has_masks else ["bbox"]
    assert list(result.metrics) == kinds
    for evaluator in ("hotcoco", "pycocotools"):
        if evaluator == "hotcoco":
            pytest.importorskip("hotcoco")
        cfg = load_cfg(tiny.cfg, [*opts, "TEST.EVALUATOR", evaluator])
        options = EvaluationOptions(output_dir=tiny.folder / evaluator)
        assert evaluate(cfg, result.model, "tiny_val", options) == result.metrics
    written = [json.loads((tiny.folder / item / "metrics.json").read_text()) for item in ("hotcoco", "pycocotools")]
    assert written[0] == written[1]


def test_brushed_masks_alone_are_refused(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.change(lambda content: [item.update(iscrowd=1) for item in content["annotations"]])
    assert check_data.main(tiny.arguments("--dataset", "tiny_train")) == 1
    assert "all 4 objects are crowds (iscrowd 1)" in capsys.readouterr().out
