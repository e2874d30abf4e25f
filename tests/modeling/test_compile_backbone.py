"""The compiled backbone: the same maps and gradients, the same names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fpt.modeling.detector import compile_backbone
from fpt.utils.errors import UserError


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"c1": self.conv(x).relu()}


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"backbone": Backbone()})


def gradient(model: nn.Module, size: int) -> torch.Tensor:
    model.zero_grad()
    model["backbone"](torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size))["c1"].square().sum().backward()
    return model["backbone"].conv.weight.grad.clone()


@pytest.mark.parametrize("size", [8, 13])
def test_gradients_and_names_stay(size: int) -> None:
    model, plain = make_model(), make_model()
    compile_backbone(model, backend="aot_eager")
    assert list(model.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(gradient(model, size), gradient(plain, size))


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="install g"):
        compile_backbone(make_model())
