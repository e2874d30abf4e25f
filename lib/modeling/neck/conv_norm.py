"""A convolution and its normalisation, aware of the padding of a batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from fpt.modeling.neck.area import Area

NormFactory = Callable[[int], nn.Module]


class ConvNorm(nn.Module):
    """Convolution that keeps the size (or divides it by the stride, rounding up), then the normalisation, if any.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the kernel, odd.
        stride: stride.
        norm: makes the normalisation, or None; the convolution has a bias only without it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, norm: NormFactory | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=norm is None)
        self.norm = norm(out_channels) if norm is not None else nn.Identity()

    def forward(self, x: Tensor, area: Area) -> Tensor:
        """[B, C, H, W], zero outside the images, and their area on the output's level -> the same, zero outside."""
        return area.normalise(self.norm, self.conv(x))
