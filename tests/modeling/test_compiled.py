"""The compiled body: the same maps and gradients, the same names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fpt.modeling.compiled import compile_body
from fpt.utils.errors import UserError


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"c1": self.conv(x).relu()}


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"body": Body()})


def gradient(model: nn.Module, size: int) -> torch.Tensor:
    model.zero_grad()
    model["body"](torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size))["c1"].square().sum().backward()
    return model["body"].conv.weight.grad.clone()


@pytest.mark.parametrize("size", [8, 13])
def test_gradients_and_names_stay(size: int) -> None:
    model, plain = make_model(), make_model()
    compile_body(model, backend="aot_eager")
    assert list(model.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(gradient(model, size), gradient(plain, size))


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="install g"):
        compile_body(make_model())
