"""The data set checker as it is run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.mark.parametrize("is_damaged", [False, True])
def test_report_and_exit_status(root: Path, tmp_path: Path, is_damaged: bool):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    box = [0, 0, 0 if is_damaged else 5, 5]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "fig"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": box}],
    }
    (tmp_path / "ann.json").write_text(json.dumps(content))
    if is_damaged:
        (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-20])
    cfg_file = tmp_path / "own.yaml"
    cfg_file.write_text("DATASETS: {own: {IMAGE_DIR: ., ANN_FILE: ann.json}}\nTRAIN: {DATASETS: [own]}\n")
    command = [sys.executable, str(root / "tools" / "check_dataset.py"), "--cfg", str(cfg_file), "--read_images"]
    command += ["--set", "DATA_DIR", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == int(is_damaged), run.stderr
    assert "data set own: 1 classes (fig), boxes only" in run.stdout
    assert ("1 x degenerate boxes (no width or height): dropped" in run.stdout) == is_damaged
    assert ("a.png: the image is truncated" in run.stdout) == is_damaged
