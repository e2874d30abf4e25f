"""RoIAlign against torchvision's operator and a hand-computed value."""

import pytest
import torch
from torchvision.ops import roi_align as reference

from fpt.layers.roi_align import roi_align


def _rois(count: int) -> torch.Tensor:
    corner = torch.rand(count, 2) * 60 - 15
    size = torch.rand(count, 2) * 50
    return torch.cat([torch.randint(0, 2, (count, 1)).float(), corner, corner + size], dim=1)


@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [1, 7])
def test_equals_torchvision_forward_and_backward(ratio: int, size: int) -> None:
    torch.manual_seed(0)
    rois = _rois(40)
    grads, outs = [], []
    for function in (roi_align, reference):
        x = torch.randn(2, 5, 13, 17, generator=torch.Generator().manual_seed(1)).requires_grad_()
        if function is roi_align:
            out = roi_align(x, rois, output_size=size, spatial_scale=0.25, sampling_ratio=ratio)
        else:
            out = reference(x, rois, (size, size), 0.25, ratio, True)
        (out * torch.arange(out.numel()).view(out.shape).cos()).sum().backward()
        grads.append(x.grad)
        outs.append(out)
    torch.testing.assert_close(*outs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(*grads, atol=1e-3, rtol=1e-3)


def test_ramp_is_read_at_the_centres_of_the_cells() -> None:
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8)
    rois = torch.tensor([[0, 2.0, 2.0, 6.0, 6.0]])
    out = roi_align(ramp, rois, output_size=2, spatial_scale=1.0)
    # cells span 2..4 and 4..6: centres 3 and 5, and pixel i has its centre at i + 0.5
    torch.testing.assert_close(out[0, 0], torch.tensor([[2.5, 4.5], [2.5, 4.5]]))


def test_no_rois_keep_the_graph() -> None:
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    out = roi_align(x, torch.zeros(0, 5), output_size=7, spatial_scale=1.0)
    assert out.shape == (0, 3, 7, 7)
    out.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


def test_half_precision_maps_are_pooled_in_float32() -> None:
    out = roi_align(
        torch.ones(1, 3, 4, 4, dtype=torch.bfloat16),
        torch.tensor([[0, 0, 0, 4, 4.0]]),
        output_size=2,
        spatial_scale=1.0,
    )
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, torch.ones(1, 3, 2, 2))
