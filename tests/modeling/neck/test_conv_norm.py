"""Maps that training makes again in backward instead of keeping them."""

from __future__ import annotations

import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fpt.modeling.neck.area import WHOLE
from fpt.modeling.neck.conv_norm import ConvNorm, Pending, made_again, not_kept, pending


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(2, channels)


def _chain() -> tuple[ConvNorm, ConvNorm, Tensor]:
    torch.manual_seed(0)
    return ConvNorm(4, 8, norm=_norm), ConvNorm(8, 4, norm=_norm), torch.randn(2, 4, 9, 7, requires_grad=True)


def _parameters(*modules: nn.Module) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


def test_outputs_and_gradients_are_those_of_the_modules_one_after_the_other() -> None:
    first, second, x = _chain()
    expected = second(first(x, WHOLE), WHOLE)
    found = second.convolve(first.convolve(lambda: x, WHOLE).finish, WHOLE).finish()
    assert torch.equal(found, expected)
    grad = torch.randn(expected.shape)
    sources = [x, *_parameters(first, second)]
    for a, b in zip(
        torch.autograd.grad(found, sources, grad), torch.autograd.grad(expected, sources, grad), strict=True
    ):
        assert torch.equal(a, b)


def test_the_normalised_map_is_not_kept() -> None:
    first, second, x = _chain()
    made: list[weakref.ref[Tensor]] = []
    first.norm.register_forward_hook(lambda module, args, out: made.append(weakref.ref(out)))
    out = second.convolve(first.convolve(lambda: x, WHOLE).finish, WHOLE)
    assert len(made) == 1
    assert made[0]() is None
    kept = second(first(x, WHOLE), WHOLE)
    assert made[1]() is not None
    out.map.sum().backward()
    assert len(made) == 3  # made again once
    assert kept.shape == out.map.shape


def test_the_last_convolution_is_not_done_again() -> None:
    first, second, x = _chain()
    counts = []
    for run in (
        lambda: second(first(x, WHOLE), WHOLE),
        lambda: second.convolve(first.convolve(lambda: x, WHOLE).finish, WHOLE).finish(),
    ):
        with FlopCounterMode(display=False) as counter:
            run().sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_batch_norm_counts_a_batch_once() -> None:
    conv = ConvNorm(4, 4, norm=nn.BatchNorm2d)
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    conv.convolve(conv.convolve(lambda: x, WHOLE).finish, WHOLE).finish().sum().backward()
    assert conv.norm.num_batches_tracked == 2  # it was called twice


@pytest.mark.parametrize("norm", [nn.Identity(), nn.GroupNorm(2, 4), nn.BatchNorm2d(4)])
def test_a_pending_map_finishes_as_its_normalisation_would(norm: nn.Module) -> None:
    x = torch.randn(2, 4, 3, 5)
    waits = pending(x, norm, WHOLE)
    assert isinstance(waits, Pending)
    assert torch.equal(waits.finish(), norm(x))


def test_without_gradients_the_function_is_called_once() -> None:
    calls = []
    with torch.no_grad():
        out = made_again(lambda: calls.append(1) or torch.ones(2))
    assert out.tolist() == [1, 1]
    assert len(calls) == 1


class _Witness:
    """Lives as long as the graph that it is part of."""


def test_a_forward_pass_without_a_backward_one_holds_nothing() -> None:
    x, linear, witness = torch.randn(3, 4, requires_grad=True), nn.Linear(4, 4), _Witness()
    y = linear(x)
    y.register_hook(lambda grad, held=witness: None)
    with not_kept(y, lambda: linear(x)):
        out = torch.softmax(y, dim=-1) * y  # softmax keeps its own output
    held = weakref.ref(witness)
    del out, y, witness
    assert held() is None


@pytest.mark.parametrize("size", [(9, 1), (1, 1), (1, 6), (9, 6)])
def test_thin_maps_have_the_gradients_of_float32_in_bfloat16(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = ConvNorm(32, 32, stride=2), torch.randn(2, 32, *size)
    expected = torch.nn.functional.conv2d(x, layer.conv.weight, layer.conv.bias, stride=2, padding=1)
    assert torch.allclose(layer(x, WHOLE), expected, atol=1e-5)
    (reference,) = torch.autograd.grad(expected.square().sum(), layer.conv.weight)
    for _ in range(5):
        with torch.autocast("cpu", torch.bfloat16):
            loss = layer(x, WHOLE).float().square().sum()
        (found,) = torch.autograd.grad(loss, layer.conv.weight)
        assert (found - reference).norm() < 0.05 * reference.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_kept_is_made_again_with_the_same_gradients(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    linear, other = nn.Linear(4, 3), torch.randn(5, 3, requires_grad=True)
    x = torch.randn(5, 4, requires_grad=True)
    sources = [x, other, *linear.parameters()]
    calls: list[int] = []

    def make() -> Tensor:
        calls.append(1)
        return linear(x)

    def run(*, keeps: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = linear(x)
            with nullcontext() if keeps else not_kept(y, make):
                return (y * other.to(dtype)).float().sum()

    expected = torch.autograd.grad(run(keeps=True), sources)
    loss = run(keeps=False)
    assert calls == []
    for a, b in zip(torch.autograd.grad(loss, sources), expected, strict=True):
        assert torch.equal(a, b)
    assert calls == [1]  # for the gradient of `other`, the one that needs it
