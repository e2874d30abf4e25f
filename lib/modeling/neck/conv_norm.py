"""Convolutions with their normalisation, and maps whose normalisation is put off so that training need not keep it.

A convolution keeps its input for the backward pass, and a normalisation before it keeps its own input too: two maps
where one tells the other. Here the normalised map, or any other that is cheap to make, is made again in backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from fpt.layers.autocast import is_autocast_on
from fpt.modeling.neck.area import Area, NormFactory
from fpt.modeling.neck.pooling import is_symbol


def made_again(function: Callable[[], Tensor]) -> Tensor:
    """function(), of which training keeps nothing but what it was given; backward makes it again, up to its last step.

    Where the last operation is a convolution, that is not done again: of it only its input is needed. The function must
    neither draw random numbers nor change anything.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function()
    out: Tensor = checkpoint(function, use_reentrant=False, preserve_rng_state=False)
    return out


@contextmanager
def not_kept(x: Tensor, make: Callable[[], Tensor]) -> Iterator[None]:
    """Operations within the block that need x for their backward do not keep it; backward calls make() for it.

    The others keep their tensors without their graph: an operation that keeps its own output, such as softmax, would
    hold itself otherwise, and with it all that led to it, where no backward pass follows.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        yield
        return
    kind, dtype, place = x.device.type, x.dtype, (x.data_ptr(), x.shape, x.stride())
    is_mixed = is_autocast_on(kind)

    def pack(saved: Tensor) -> Tensor | None:
        return None if (saved.data_ptr(), saved.shape, saved.stride()) == place else saved.detach()

    def unpack(saved: Tensor | None) -> Tensor:
        if saved is not None:
            return saved
        with torch.no_grad(), torch.autocast(kind, dtype=dtype) if is_mixed else nullcontext():
            return make()

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


class Pending(NamedTuple):
    """A map that is still to be normalised.

    Attributes:
        map: [B, C, H, W].
        norm: its normalisation.
        area: the images' cells on it.
    """

    map: Tensor
    norm: nn.Module
    area: Area

    def finish(self) -> Tensor:
        """The normalised map [B, C, H, W], zero outside the images."""
        return self.area.normalise(self.norm, self.map)


def pending(x: Tensor, norm: nn.Module, area: Area) -> Pending:
    """The map before its normalisation; after it where the normalisation counts its calls, as BatchNorm does."""
    waits = Pending(x, norm, area)
    return waits if _may_be_repeated(norm) else Pending(waits.finish(), nn.Identity(), area)


def _may_be_repeated(norm: nn.Module) -> bool:
    return isinstance(norm, (nn.GroupNorm, nn.Identity))


class ConvNorm(nn.Module):
    """Convolution that keeps the size (or divides it by the stride, rounding up), then the normalisation, if any.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the kernel, odd.
        stride: stride.
        dilation: of the kernel.
        groups: of channels, each of which sees none of the others.
        norm: makes the normalisation, or None.
        has_bias: the convolution has a bias; None = only without a normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        norm: NormFactory | None = None,
        has_bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=norm is None if has_bias is None else has_bias,
        )
        self.norm = norm(out_channels) if norm is not None else nn.Identity()

    def forward(self, x: Tensor, area: Area) -> Tensor:
        """[B, C, H, W], zero outside the images, and their area on the output's level -> the same, zero outside."""
        return area.normalise(self.norm, self._convolve(x))

    def _convolve(self, x: Tensor) -> Tensor:
        """The convolution. A map of one column gets one of zeros, which changes no sum where the stride is 2.

        oneDNN's gradient of the weights in bfloat16 reads memory that nobody has written without it (PyTorch 2.14).
        """
        is_thin = self.conv.stride[1] > 1 and not is_symbol(x.shape[-1]) and x.shape[-1] == 1
        return self.conv(F.pad(x, (0, 1)) if is_thin else x)

    def convolve(self, make_input: Callable[[], Tensor], area: Area) -> Pending:
        """The convolution of a map that backward makes again; its normalisation is still to come."""
        return pending(made_again(lambda: self._convolve(make_input())), self.norm, area)

    def postponed(self, make_input: Callable[[], Tensor], area: Area) -> Callable[[], Tensor]:
        """What makes the output [B, C, H, W] of this layer, from its input on: for use where it is made again.

        Where the normalisation counts its calls it is made now, once.
        """
        if _may_be_repeated(self.norm):
            return lambda: self(make_input(), area)
        return self.convolve(make_input, area).finish
