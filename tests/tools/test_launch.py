"""The launch scripts: they parse, and the one for torchrun trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fpt.cli.train import build_parser


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
