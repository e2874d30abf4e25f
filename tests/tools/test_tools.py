"""The scripts under tools/ are thin: they only call the commands of the package."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = {"train_net_step": "train", "test_net": "test", "infer_simple": "infer"}


@pytest.mark.parametrize(("tool", "command"), COMMANDS.items())
def test_tool_is_thin_and_helps(root: Path, tool: str, command: str) -> None:
    path = root / "tools" / f"{tool}.py"
    text = path.read_text()
    assert f"from fpt.cli.entry import {command}" in text
    assert len(text.splitlines()) < 12
    shown = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, check=True).stdout
    assert {"--cfg", "--set", "--dataset", "--load_ckpt", "--load_detectron"} <= set(shown.replace(",", " ").split())


def test_tool_passes_the_exit_status_on(root: Path) -> None:
    path = root / "tools" / "test_net.py"
    command = [sys.executable, str(path), "--cfg", "none.yaml", "--load_ckpt", "none.pth"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "none.yaml does not exist" in result.stderr
