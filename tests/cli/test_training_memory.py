"""The memory of a long training stays as it is: of the main process and of its loader workers together."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fpt.synthetic.shapes import generate_shapes

NUM_STEPS, WARM_UP, INTERVAL, NUM_WORKERS = 2000, 1000, 20, 4
MAX_GROWTH_MIB = 8.0
YAML = """\
MODEL: {CONV_BODY: FPN.ResNet18_conv5_body_fpt, MASK_ON: True}
DATASETS:
  shapes_train: {IMAGE_DIR: images/train, ANN_FILE: annotations/train.json}
  shapes_val: {IMAGE_DIR: images/val, ANN_FILE: annotations/val.json}
RESNETS: {USE_GN: True, STRIDE_1X1: False, FREEZE_AT: 0, BASE_CHANNELS: 16}
GROUP_NORM: {NUM_GROUPS: 4}
FPN: {DIM: 16, USE_GN: True, RPN_ANCHOR_START_SIZE: 8}
SOLVER: {TYPE: AdamW, BASE_LR: 0.001, EMA_DECAY: 0.99, CLIP_GRAD_NORM: 10.0}
FAST_RCNN: {MLP_HEAD_DIM: 32}
MRCNN: {ROI_MASK_HEAD: mask_rcnn_heads.mask_rcnn_fcn_head_v1up, DIM_REDUCED: 16, CONV_INIT: MSRAFill}
TRAIN: {DATASETS: [shapes_train], SCALES: [64, 80, 96], MAX_SIZE: 128, IMS_PER_BATCH: 2, BATCH_SIZE_PER_IM: 32,
  RPN_PRE_NMS_TOP_N: 200, RPN_POST_NMS_TOP_N: 100, SNAPSHOT_ITERS: 200, KEEP_CHECKPOINTS: 2, EVAL_PERIOD: 250,
  VIS_PERIOD: 250}
TEST: {DATASETS: [shapes_val], SCALE: 96, MAX_SIZE: 128, NMS: 0.5, RPN_PRE_NMS_TOP_N: 200, RPN_POST_NMS_TOP_N: 100}
DATA_LOADER: {NUM_THREADS: 4}
DEVICE: cpu
"""
PROGRAM = """\
import os, sys
os.cpu_count = lambda: 4  # or there would be no more workers than cores
from fpt.cli.train import main
sys.exit(main())
"""


def memory_mib(process: int) -> float:
    """Memory of a process in MiB, what it shares with its family counted in parts; 0 when it is gone.

    Files that it maps, such as libraries, are left out: their share depends on what else runs on the computer.
    """
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def family(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(int(child) for child in children)]


def last_step(metrics: Path) -> int:
    lines = metrics.read_text().splitlines() if metrics.is_file() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="the system doesn't tell shared memory")
def test_two_thousand_steps_with_four_workers(tmp_path: Path) -> None:
    """With everything that a training does beside its steps, and one image that is replaced in each epoch."""
    generate_shapes(tmp_path, num_train=60, num_val=8, size=128, seed=0)
    (tmp_path / "tiny.yaml").write_text(YAML)
    bad = tmp_path / "images" / "train" / "000007.jpg"
    bad.write_bytes(bad.read_bytes()[:-2])
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        "--cfg",
        str(tmp_path / "tiny.yaml"),
        "--output_dir",
        str(tmp_path / "run"),
    ]
    command += ["--use_tfboard", "--disp_interval", str(INTERVAL), "--set", "SOLVER.MAX_ITER", str(NUM_STEPS)]
    sizes: dict[int, float] = {}
    with (tmp_path / "output.txt").open("wb") as output:
        training = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            while training.poll() is None:
                step = last_step(tmp_path / "run" / "metrics.jsonl")
                processes = family(training.pid)
                if step and step not in sizes and len(processes) == 1 + NUM_WORKERS:  # no evaluation
                    sizes[step] = sum(memory_mib(process) for process in processes)
                time.sleep(0.05)
        finally:
            training.kill()
    assert training.returncode == 0, (tmp_path / "output.txt").read_text()
    assert len(sizes) > 0.9 * NUM_STEPS / INTERVAL
    assert "another image takes its place" in (tmp_path / "output.txt").read_text()
    table = np.array([(step, size) for step, size in sorted(sizes.items()) if WARM_UP <= step < NUM_STEPS])
    parts = np.array_split(table[:, 1], 5)
    growth = np.median(parts[-1]) - np.median(parts[0])
    sys.stdout.write("MiB by step: " + ", ".join(f"{step:.0f} {size:.1f}" for step, size in table[::5]) + "\n")
    assert growth < MAX_GROWTH_MIB, f"grown by {growth:.1f} MiB"
