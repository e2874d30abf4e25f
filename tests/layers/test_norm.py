"""Normalisation layers."""

import pytest
import torch
from torch import nn

from fpt.layers import norm as norm_module
from fpt.layers.norm import FrozenBatchNorm2d, group_norm, num_groups_for, replace_batch_norm
from fpt.layers.sync_batch_norm import SyncBatchNorm2d


def _trained(channels: int, eps: float = 1e-5) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels, eps=eps)
    for tensor in (layer.weight, layer.bias, layer.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(layer.running_var, 0.5, 2)
    return layer.eval()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_frozen_batch_norm_equals_batch_norm_in_evaluation_mode(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    trained, frozen = _trained(6), FrozenBatchNorm2d(6)
    frozen.load_state_dict(trained.state_dict(), strict=False)
    x = torch.randn(2, 6, 5, 4).contiguous(memory_format=memory_format)
    out = frozen.train()(x)
    torch.testing.assert_close(out, trained(x))
    assert out.is_contiguous(memory_format=memory_format)
    assert list(frozen.parameters()) == []


def test_frozen_batch_norm_keeps_the_type_of_its_input() -> None:
    assert FrozenBatchNorm2d(4)(torch.zeros(1, 4, 2, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("channels", "wanted", "groups"), [(64, 32, 32), (48, 32, 24), (24, 32, 12), (7, 4, 1), (1, 4, 1)]
)
def test_groups_fall_back_to_the_largest_divisor(channels: int, wanted: int, groups: int) -> None:
    assert num_groups_for(channels, wanted) == groups
    assert group_norm(channels, num_groups=wanted)(torch.zeros(1, channels, 2, 2)).shape[1] == channels


def test_a_batch_norm_that_learns_keeps_epsilon_and_momentum() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=1e-3, momentum=0.01))
    replace_batch_norm(model, SyncBatchNorm2d)
    assert type(model[1]) is SyncBatchNorm2d
    assert (model[1].eps, model[1].momentum) == (1e-3, 0.01)


def test_replacing_batch_norm_keeps_the_function_and_epsilon() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(_trained(4, eps=0.5)))
    x = torch.randn(2, 3, 4, 4)
    expected, state = model.eval()(x), model.state_dict()
    replace_batch_norm(model, None)
    model.load_state_dict(state, strict=False)
    torch.testing.assert_close(model.train()(x), expected)
    replace_batch_norm(model, group_norm)
    assert isinstance(model[1][0], FrozenBatchNorm2d)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_of_group_norm_in_half_types_are_those_of_float32(
    dtype: torch.dtype, memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norm_module, "_LARGE_MAP", 1)
    monkeypatch.setattr(norm_module, "_PART_NUMBERS", 2 * 3 * 7 * 5)
    torch.manual_seed(0)
    norm, reference = group_norm(12, num_groups=4), nn.GroupNorm(4, 12)
    reference.load_state_dict(norm.state_dict())
    x = torch.randn(2, 12, 7, 5).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    exact = x.detach().float().requires_grad_()
    out, expected = norm(x), reference(exact)
    grad = torch.randn(out.shape).to(dtype)
    out.backward(grad)
    expected.backward(grad.float())
    assert out.dtype == x.grad.dtype == dtype
    assert out.is_contiguous(memory_format=memory_format)
    tolerances = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 2 * torch.finfo(dtype).eps}
    torch.testing.assert_close(out.float(), expected, **tolerances)
    torch.testing.assert_close(x.grad.float(), exact.grad, **tolerances)
    for parameter, other in zip(norm.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-2, atol=1e-2)
