"""DropBlock (Ghiasi et al., 2018): zeroes square blocks of a feature map while training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class DropBlock(nn.Module):
    """Zeroes blocks of `block_size` x `block_size` cells in all channels at once, and rescales what is left.

    One mask serves all channels (one of the two forms of the paper): its cost is then a 1/C of the map's.

    Args:
        block_size: side of a block in cells; a smaller map gets blocks of its own side.
        keep_prob: expected share of cells that stay; 1 switches the module off.
    """

    def __init__(self, *, block_size: int = 5, keep_prob: float = 0.9) -> None:
        super().__init__()
        if block_size < 1 or not 0 < keep_prob <= 1:
            raise ValueError(f"block_size is {block_size} (must be >= 1), keep_prob {keep_prob} (must be in (0, 1])")
        self.block_size = block_size
        self.keep_prob = keep_prob

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape; identity in evaluation."""
        mask = self.mask(x)
        return x if mask is None else x * mask

    def mask(self, x: Tensor) -> Tensor | None:
        """What [B, C, H, W] is multiplied by: [B, 1, H, W] in its type, or None where nothing is dropped."""
        if not self.training or self.keep_prob == 1 or x.numel() == 0:
            return None
        batch, _, height, width = x.shape
        size = min(self.block_size, height, width)
        rows, columns = height - size + 1, width - size + 1
        # the probability of each block, such that about 1 - keep_prob of the cells are dropped
        probability = min(1.0, (1 - self.keep_prob) * height * width / (size**2 * rows * columns))
        corners = torch.rand(batch, 1, rows, columns, device=x.device) < probability
        margin = size - 1
        dropped = F.max_pool2d(F.pad(corners.float(), (margin, margin, margin, margin)), size, stride=1)
        kept = 1 - dropped
        share = kept.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
        return (kept / share).to(x.dtype)

    def extra_repr(self) -> str:
        """Settings, for printing."""
        return f"block_size={self.block_size}, keep_prob={self.keep_prob}"
