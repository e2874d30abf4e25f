"""The set-up script: a line a phase, the CPU build of PyTorch first without a GPU, and what happens when pip fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAKE_PYTHON = """\
#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
  *"import torch"*) exit {has_torch} ;;
  *urlopen*) exit {index_answers} ;;
  *"--index-url"*) echo "no such wheel"; exit {cpu_build} ;;
  *"-e .["*) exit 1 ;;
esac
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or any(Path("/dev").glob("nvidia[0-9]*")), reason="without a GPU there are two builds"
)


def run_setup(
    root: Path, folder: Path, *, has_torch: int = 1, index_answers: int = 0, cpu_build: int = 0, pip_args: str = ""
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The script in a folder with a virtual environment that only notes how it is called; its calls of pip."""
    (folder / "tools").mkdir()
    shutil.copy(root / "tools" / "setup.sh", folder / "tools")
    shutil.copy(root / "requirements.txt", folder)
    log, bin_folder = folder / "log", folder / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    content = FAKE_PYTHON.format(log=log, has_torch=has_torch, index_answers=index_answers, cpu_build=cpu_build)
    for name in ("python", "pip"):
        (bin_folder / name).write_text(content)
        (bin_folder / name).chmod(0o755)
    environment = {**os.environ, "PYTHON": sys.executable, "PIP_ARGS": pip_args}
    command = ["bash", str(folder / "tools" / "setup.sh"), "runtime"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done, [line for line in log.read_text().splitlines() if "pip install" in line]


def test_the_cpu_build_comes_first(root: Path, tmp_path: Path) -> None:
    done, calls = run_setup(root, tmp_path)
    assert done.returncode == 0
    assert calls[0].startswith("-m pip install --quiet --index-url https://download.pytorch.org/whl/cpu --timeout 5")
    assert "torch>=" in calls[0]
    assert "torchvision>=" in calls[0]
    assert calls[1:] == ["-m pip install --quiet -e .", "-m pip install --quiet -e .[fasteval]"]
    phases = [line.partition(" ... ")[0] for line in done.stdout.splitlines()]
    assert phases[:2] == ["PyTorch, CPU build", "fpt and what it needs"]
    assert "without hotcoco evaluation uses pycocotools" in done.stdout


@pytest.mark.parametrize("trouble", [{"index_answers": 1}, {"cpu_build": 1}])
def test_the_usual_build_is_the_fall_back(root: Path, tmp_path: Path, trouble: dict[str, int]) -> None:
    done, calls = run_setup(root, tmp_path, **trouble)
    assert done.returncode == 0
    usual = [call for call in calls if "torch>=" in call and "--index-url" not in call]
    assert len(usual) == 1


def test_what_is_there_or_asked_for_is_respected(root: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    _, calls = run_setup(root, tmp_path / "a", has_torch=0)
    assert not any("torch>=" in call for call in calls)
    (tmp_path / "b").mkdir()
    done, calls = run_setup(root, tmp_path / "b", pip_args="--index-url https://mine", cpu_build=1)
    assert calls[0].startswith("-m pip install --quiet --index-url https://mine torch>=")
    assert done.returncode != 0
    assert "PyTorch ... failed" in done.stdout
    assert "no such wheel" in done.stderr
