"""The self-transformer where its linear map of queries is another module's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from fpt.modeling.neck.area import WHOLE
from fpt.modeling.neck.pyramid_keys import KeyTokens
from fpt.modeling.neck.self_transformer import SelfTransformer


class _LowRank(nn.Module):
    """A linear map with an update of low rank, whose weight and bias are those of the map alone."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.down = base, nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    @property
    def bias(self) -> Tensor:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def _prune(linear: nn.Linear) -> nn.Module:
    return prune.l1_unstructured(linear, "weight", 0.5)


def _doubling(linear: nn.Linear) -> nn.Module:
    linear.register_forward_hook(lambda module, args, out: 2 * out)
    return linear


@pytest.mark.parametrize("wrap", [lambda linear: linear, _LowRank, _prune, _doubling, nn.Sequential])
def test_gradients_where_the_queries_come_from_another_module(
    wrap: Callable[[nn.Linear], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer = SelfTransformer(channels=8, key_channels=8, num_mixtures=2, norm=None)
    layer.query = wrap(layer.query)
    x = torch.randn(1, 8, 5, 4, requires_grad=True)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)

    def gradients() -> tuple[Tensor | None, ...]:
        out = layer(x, KeyTokens(x.flatten(2).mT, None), WHOLE).finish()
        return torch.autograd.grad(out.square().sum(), [x, *layer.parameters()], allow_unused=True)

    for _ in range(2):  # hooks that set a weight have an old one to set it from in the second step
        found = gradients()
        with monkeypatch.context() as patch:
            patch.setattr("fpt.modeling.neck.self_transformer.not_kept", lambda x, make: nullcontext())
            expected = gradients()
        for a, b in zip(found, expected, strict=True):
            assert (a is b is None) or torch.allclose(a, b, atol=1e-6)
        optimizer.zero_grad()
        for parameter, grad in zip(layer.parameters(), expected[1:], strict=True):
            parameter.grad = grad
        optimizer.step()
