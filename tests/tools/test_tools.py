"""The scripts under tools/ are thin: they only call the commands of the package."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL_OPTIONS = {"--cfg", "--set", "--dataset", "--load_ckpt", "--load_detectron"}
COMMANDS = {
    "train_net_step": ("train", "fpt-train", MODEL_OPTIONS),
    "test_net": ("test", "fpt-test", MODEL_OPTIONS),
    "infer_simple": ("infer", "fpt-infer", MODEL_OPTIONS),
    "visualize_attention": ("attention", "fpt-attention", MODEL_OPTIONS | {"--points"}),
    "check_dataset": ("check_data", "fpt-check-data", {"--cfg", "--set", "--dataset", "--read_images"}),
    "convert_weights": ("convert", "fpt-convert", {"--to", "--half"}),
    "make_shapes": ("shapes", "fpt-shapes", {"--output_dir"}),
}


@pytest.mark.parametrize("tool", COMMANDS)
def test_tool_is_thin_and_helps(root: Path, tool: str) -> None:
    command, _, options = COMMANDS[tool]
    path = root / "tools" / f"{tool}.py"
    text = path.read_text()
    assert f"from fpt.cli.entry import {command}" in text
    assert len(text.splitlines()) < 12
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    command_line = [sys.executable, str(path), "--help"]
    shown = subprocess.run(command_line, capture_output=True, text=True, check=True, env=environment).stdout
    assert shown.startswith(f"usage: {tool}.py ")
    assert options <= set(shown.replace(",", " ").split())


@pytest.mark.parametrize("tool", COMMANDS)
def test_usage_names_the_command_where_that_was_started(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command, program, _ = COMMANDS[tool]
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{program}"])
    usage = importlib.import_module(f"fpt.cli.{command}").build_parser().format_usage()
    assert usage.startswith(f"usage: {program} ")


def test_tool_passes_the_exit_status_on(root: Path) -> None:
    path = root / "tools" / "test_net.py"
    command = [sys.executable, str(path), "--cfg", "none.yaml", "--load_ckpt", "none.pth"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "none.yaml does not exist" in result.stderr
