"""The launch scripts: they parse, and the one for torchrun trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from fpt.checkpoint.store import load_newest, steps_in
from fpt.cli.train import build_parser
from fpt.synthetic.shapes import generate_shapes


@pytest.mark.parametrize("name", ["torchrun.sh", "slurm.sh"])
def test_scripts_parse(root: Path, name: str) -> None:
    subprocess.run(["bash", "-n", root / "tools" / "launch" / name], check=True)
    assert os.access(root / "tools" / "launch" / name, os.X_OK)


def test_options_of_the_kubernetes_job_are_those_of_the_command(root: Path) -> None:
    job = yaml.safe_load((root / "tools" / "launch" / "pytorchjob.yaml").read_text())
    assert (job["kind"], job["spec"]["nprocPerNode"]) == ("PyTorchJob", "8")
    worker = job["spec"]["pytorchReplicaSpecs"]["Worker"]
    (container,) = worker["template"]["spec"]["containers"]
    args = build_parser().parse_args(container["args"])
    assert args.batch_size % (worker["replicas"] * int(job["spec"]["nprocPerNode"])) == 0
    assert (str(args.output_dir), args.resume) == ("/runs/fpt", "auto")
    assert (root / args.cfg_file).is_file()


def test_torchrun_script_starts_the_processes(root: Path) -> None:
    environment = {**os.environ, "PROCESSES": "2", "RESTARTS": "0", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [root / "tools" / "launch" / "torchrun.sh", "--cfg", "no_such.yaml", "--output_dir", "nowhere"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode != 0
    assert done.stderr.count("no_such.yaml does not exist") == 2


SLURM = {
    "scontrol": 'if [ "$1" = requeue ]; then echo "$2" > requeued; else echo localhost; fi',
    "srun": 'echo $$ > srun.pid; exec "$@"',
    "scancel": 'kill -"${1#--signal=}" "$(cat srun.pid)"',
}
"""What the job's script calls, as far as it needs it."""
YAML = """\
MODEL: {CONV_BODY: FPN.ResNet18_conv5_body}
DATASETS: {train: {IMAGE_DIR: shapes/images/train, ANN_FILE: shapes/annotations/train.json}}
RESNETS: {USE_GN: True, STRIDE_1X1: False, FREEZE_AT: 0, BASE_CHANNELS: 16}
GROUP_NORM: {NUM_GROUPS: 4}
FPN: {DIM: 16, USE_GN: True}
FAST_RCNN: {MLP_HEAD_DIM: 16}
TRAIN: {DATASETS: [train], SCALES: [64], IMS_PER_BATCH: 1, BATCH_SIZE_PER_IM: 16, SNAPSHOT_ITERS: 1,
  KEEP_CHECKPOINTS: 2}
DATA_LOADER: {NUM_THREADS: 0}
DEVICE: cpu
"""


def test_slurm_job_saves_and_requeues_ahead_of_its_limit_and_goes_on(root: Path, tmp_path: Path) -> None:
    generate_shapes(tmp_path / "shapes", num_train=4, num_val=0, size=64)
    (tmp_path / "tiny.yaml").write_text(YAML)
    for name, text in SLURM.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PROCESSES": "1", "RESTARTS": "0", "SLURM_JOB_ID": "7"}
    environment |= {"SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_NUM_NODES": "1", "SLURM_SUBMIT_DIR": str(root)}
    environment["PATH"] = f"{tmp_path}:{Path(sys.executable).parent}:{environment['PATH']}"
    run = tmp_path / "run"

    def start(max_iter: int) -> subprocess.Popen[bytes]:
        command = [root / "tools" / "launch" / "slurm.sh", "--cfg", tmp_path / "tiny.yaml", "--output_dir", run]
        command += ["--set", "SOLVER.MAX_ITER", str(max_iter)]
        with (tmp_path / "job.txt").open("ab") as file:
            return subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=tmp_path)

    job = start(100_000)
    end = time.monotonic() + 60
    while not steps_in(run / "ckpt") and time.monotonic() < end:
        time.sleep(0.1)
    job.send_signal(signal.SIGUSR1)
    job.wait(timeout=60)
    output = (tmp_path / "job.txt").read_text()
    assert "stopped by signal 15" in output, output
    assert (tmp_path / "requeued").read_text() == "7\n"
    step = load_newest(run)[1].step
    assert start(step + 1).wait(timeout=60) == 0
    assert f"resumed from {run / 'ckpt' / f'model_step{step}.pth'}" in (tmp_path / "job.txt").read_text()
    assert load_newest(run)[1].step == step + 1
