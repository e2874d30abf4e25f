"""The first layer of a head, and the maximum over levels that adaptive feature pooling takes after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn


class MaxFusion(nn.Module):
    """One layer for each input, then the element-wise maximum (adaptive feature pooling, Liu et al. 2018, section 3.2).

    With a single input it is that layer alone.

    Args:
        num_inputs: RoI features of so many levels come in.
        layer: builds the layer of one input.
    """

    def __init__(self, *, num_inputs: int, layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer() for _ in range(num_inputs))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Tensors of one shape -> the maximum of what the layers make of them."""
        outputs = [layer(x) for layer, x in zip(self.layers, inputs, strict=True)]
        fused = outputs[0]
        for output in outputs[1:]:
            fused = fused.maximum(output)
        return fused
