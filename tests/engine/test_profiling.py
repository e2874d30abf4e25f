"""The trace of a few steps, and the table of what was slow in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from fpt.engine.profiling import StepProfile


class Model(nn.Module):
    """One part works a hundred times as much as the other."""

    def __init__(self) -> None:
        super().__init__()
        self.small = nn.Linear(8, 8)
        self.large = nn.ModuleDict({"inner": nn.Linear(512, 512)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.large["inner"](x).sum() + self.small(x[:, :8]).sum()


def run_steps(profile: StepProfile, model: nn.Module, last: int) -> None:
    for step in range(1, last + 1):
        model(torch.rand(256, 512)).backward()
        profile(step)


def test_trace_and_slowest_parts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Model()
    profile = StepProfile(tmp_path, model, first=3, num_steps=2)
    with caplog.at_level("INFO", logger="fpt"):
        run_steps(profile, model, 6)
    names = [event.get("name") for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]]
    assert names.count("part: large.inner") == 2
    table = (tmp_path / "slowest.txt").read_text()
    assert table in caplog.text
    parts, operations = (block.splitlines()[1:] for block in table.split("\n\n"))
    assert {line.split()[0] for line in parts} == {"large.inner", "small"}
    assert len(operations) == 10
    assert any(line.startswith("aten::addmm") for line in operations)
    assert not model.small._forward_hooks


def test_training_that_ends_early_leaves_what_there_is(tmp_path: Path) -> None:
    model = Model()
    profile = StepProfile(tmp_path, model, first=2, num_steps=5)
    run_steps(profile, model, 3)
    profile.close()
    profile.close()
    assert (tmp_path / "trace.json").is_file()
