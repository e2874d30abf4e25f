"""Whole trainings under torchrun: what they write, and how they come through the loss of a process or a signal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import TCPStore

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.checkpoint.store import load_newest
from fpt.cli import test as evaluate
from fpt.cli import train
from fpt.synthetic.shapes import generate_shapes

STEPS = 5
YAML = """\
MODEL: {CONV_BODY: FPN.ResNet18_conv5_body_fpt, FPT: {NORM: SyncBN}}
DATASETS:
  train: {IMAGE_DIR: shapes/images/train, ANN_FILE: shapes/annotations/train.json}
  val: {IMAGE_DIR: shapes/images/val, ANN_FILE: shapes/annotations/val.json}
RESNETS: {USE_GN: True, STRIDE_1X1: False, FREEZE_AT: 0, BASE_CHANNELS: 16}
GROUP_NORM: {NUM_GROUPS: 8}
FPN: {DIM: 16, USE_GN: True, RPN_ANCHOR_START_SIZE: 8}
SOLVER: {TYPE: AdamW, BASE_LR: 0.001, WARM_UP_ITERS: 0, EMA_DECAY: 0.9, CLIP_GRAD_NORM: 10.0}
FAST_RCNN: {MLP_HEAD_DIM: 32}
TRAIN: {DATASETS: [train], SCALES: [64], MAX_SIZE: 96, IMS_PER_BATCH: 2, BATCH_SIZE_PER_IM: 16, SNAPSHOT_ITERS: 1,
  RPN_STRADDLE_THRESH: -1, RPN_PRE_NMS_TOP_N: 100, RPN_POST_NMS_TOP_N: 50}
TEST: {DATASETS: [val], SCALE: 64, MAX_SIZE: 96, NMS: 0.5, RPN_PRE_NMS_TOP_N: 100, RPN_POST_NMS_TOP_N: 50}
DATA_LOADER: {NUM_THREADS: 0}
DEVICE: cpu
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data and its yaml file."""
    folder = tmp_path_factory.mktemp("torchrun")
    generate_shapes(folder / "shapes", num_train=6, num_val=3, size=64)
    (folder / "tiny.yaml").write_text(YAML)
    return folder


def options(folder: Path, run: Path) -> list[str]:
    fixed = ["--disp_interval", "2", "--iter_size", "2", "--bs", "2"]
    settings = ["SOLVER.MAX_ITER", str(STEPS), "TRAIN.EVAL_PERIOD", str(STEPS)]
    return ["--cfg", str(folder / "tiny.yaml"), "--output_dir", str(run), *fixed, "--set", *settings]


def command_of(launch: list[str], what: str, step: int, max_restarts: int) -> list[str]:
    more = ["--rdzv-backend", "c10d", "--max-restarts", str(max_restarts), "--monitor-interval", "0.1"]
    script = [str(Path(__file__).with_name("rank_with_trouble.py")), what, str(step)]
    return [sys.executable, "-m", "torch.distributed.run", *launch, *more, *script]


def torchrun(
    folder: Path, run: Path, *more: str, what: str = "none", step: int = 0, max_restarts: int = 0
) -> subprocess.CompletedProcess[str]:
    """A training of two processes, at most a minute and a half long."""
    command = command_of(["--nproc-per-node", "2", "--rdzv-endpoint", "localhost:0"], what, step, max_restarts)
    command += [*options(folder, run), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=90)


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The run folder of an unbroken training of two processes."""
    done = torchrun(folder, folder / "whole")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "whole"


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = load_checkpoint(run / "ckpt" / f"model_step{STEPS}.pth")
    return {**checkpoint.model, **{f"average of {name}": value for name, value in checkpoint.average.items()}}


def assert_same_end(run: Path, whole: Path) -> None:
    ours, theirs = last_weights(run), last_weights(whole)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    names = ("step", "lr", "loss", "gradient_norm")
    lines = [
        [[json.loads(line)[name] for name in names] for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (run, whole)
    ]
    assert lines[0] == lines[1]


def test_one_process_writes_and_all_detect(whole: Path, folder: Path, tmp_path: Path) -> None:
    files = sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file())
    steps = [f"ckpt/model_step{step}.pth" for step in range(1, STEPS + 1)]
    results = ["eval/val/bbox.json", "eval/val/metrics.json"]
    others = ["config.yaml", "environment.json", "eval.jsonl", "log.txt", "metrics.jsonl", "run.json"]
    others += [".lock", ".fpt_files.jsonl", "eval/val/.fpt_files.jsonl"]
    assert files == sorted([*steps, "ckpt/manifest.json", "ckpt/model_best.pth", *results, *others])
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 4, 5]
    arguments = ["--cfg", str(folder / "tiny.yaml"), "--load_ckpt", str(whole / steps[-1])]
    assert evaluate.main([*arguments, "--output_dir", str(tmp_path)]) == 0
    alone, together = (json.loads((path / "bbox.json").read_text()) for path in (tmp_path, whole / "eval" / "val"))
    key = ("image_id", "category_id")
    assert [[item[name] for name in key] for item in alone] == [[item[name] for name in key] for item in together]
    scores = [torch.tensor([item["score"] for item in items]) for items in (alone, together)]
    torch.testing.assert_close(*scores, atol=1e-5, rtol=0)


NO_CHANCE = [
    *("TRAIN.BATCH_SIZE_PER_IM", "100000", "TRAIN.RPN_BATCH_SIZE_PER_IM", "100000", "TRAIN.FG_FRACTION", "1.0"),
    *("TRAIN.RPN_FG_FRACTION", "1.0", "MODEL.FPT.DROPBLOCK_KEEP_PROB", "1.0", "SOLVER.TYPE", "SGD"),
    *(
        "TRAIN.MAX_SIZE",
        "64",
        "SOLVER.BASE_LR",
        "0.0005",
        "SOLVER.MAX_ITER",
        "20",
        "TRAIN.EVAL_PERIOD",
        "0",
        "TRAIN.SNAPSHOT_ITERS",
        "20",
    ),
]
"""All anchors and RoIs are taken, nothing is dropped, images are padded to one size; rounding errors do not grow."""


@pytest.mark.slow
def test_two_processes_learn_what_one_does(folder: Path, tmp_path: Path) -> None:
    more = ["--disp_interval", "1", "--iter_size", "1", "--set", *NO_CHANCE]
    together = subprocess.run(
        [*command_of(["--nproc-per-node", "2", "--rdzv-endpoint", "localhost:0"], "none", 0, 0)]
        + [*options(folder, tmp_path / "two"), *more],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=90,
    )
    assert together.returncode == 0, together.stdout + together.stderr
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the two have: sums in another order grow apart
    try:
        assert train.main([*options(folder, tmp_path / "one"), *more]) == 0
    finally:
        torch.set_num_threads(num_threads)
    runs = [tmp_path / "one", tmp_path / "two"]
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
    losses = [
        torch.tensor([[line[name] for name in line if name.startswith("loss")] for line in part]) for part in lines
    ]
    assert losses[0].shape[0] == 20
    torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=1e-5)
    one, two = (load_checkpoint(run / "ckpt" / "model_step20.pth").model for run in runs)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5)


def test_killed_process_is_started_again_and_the_run_ends_as_the_unbroken_one(
    folder: Path, whole: Path, tmp_path: Path
) -> None:
    done = torchrun(folder, tmp_path, what="kill", step=3, max_restarts=1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumed from" in done.stdout
    assert_same_end(tmp_path, whole)


def test_process_killed_on_one_of_two_machines_is_started_again_on_both(
    folder: Path, whole: Path, tmp_path: Path
) -> None:
    """Two launchers on this machine, with a process each."""
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    endpoint = f"localhost:{store.port}"
    del store
    launch = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-endpoint", endpoint, "--rdzv-id", "two"]
    command = [*command_of(launch, "kill", 3, 1), "--resume", "auto", *options(folder, tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    logs = [tmp_path / "0.txt", tmp_path / "1.txt"]
    machines = []
    for log in logs:
        with log.open("wb") as file:
            machines.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment))
    try:
        statuses = [machine.wait(timeout=120) for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    output = "".join(log.read_text() for log in logs)
    assert statuses == [0, 0], output
    assert "resumed from" in output
    assert_same_end(tmp_path / "run", whole)


def test_signal_to_torchrun_stops_all_after_the_same_step_and_a_resume_ends_as_the_unbroken_run(
    folder: Path, whole: Path, tmp_path: Path
) -> None:
    stopped = torchrun(folder, tmp_path, what="stop", step=2)
    assert stopped.returncode != 0
    assert "stopped by signal 15 after step" in stopped.stdout
    resumed = torchrun(folder, tmp_path, "--resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert_same_end(tmp_path, whole)


def test_image_that_one_process_cannot_read_fails_the_evaluation_on_all_and_not_the_training(
    folder: Path, whole: Path, tmp_path: Path
) -> None:
    images = sorted((folder / "shapes" / "images" / "val").iterdir())
    for image in images:
        (tmp_path / image.name).write_bytes(image.read_bytes() if image != images[-1] else b"")
    done = torchrun(folder, tmp_path / "run", "--set", "DATASETS.val.IMAGE_DIR", str(tmp_path))
    assert done.returncode != 0
    assert done.stderr.count("all 5 steps are done, but the evaluation after step 5 has failed") == 2
    assert images[-1].name in done.stderr
    assert_same_end(tmp_path / "run", whole)


def test_failure_of_one_process_ends_all_with_its_message(folder: Path, tmp_path: Path) -> None:
    done: Any = torchrun(folder, tmp_path, "--set", "TRAIN.SNAPSHOT_ITERS", "100", what="fail", step=3)
    assert done.returncode != 0
    assert "process 1 has had enough" in done.stderr
    assert load_newest(tmp_path)[1].step in (2, 3)  # written while torchrun was ending the processes
