"""Grounding transformer (GT): a fine level takes in the concepts of a coarser one, and its local form (LGT)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fpt.layers.attention import local_mixture_attention
from fpt.modeling.neck.area import Area
from fpt.modeling.neck.query_attention import QueryAttention


class GroundingTransformer(QueryAttention):
    """GT of section 3.3: q from the fine map, k and v from the coarse one, negative squared distance (N = 4 there)."""

    similarity = "euclidean"


class LocalGroundingTransformer(nn.Module):
    """LGT of section 3.3: as GT, but each position meets only the window of the coarse map around its own place.

    Args:
        channels: channels of both maps, and of the output.
        key_channels: channels of q and k.
        window: side of the window in coarse cells, odd.
        num_mixtures: parts of the mixture of softmaxes.
        norm: normalisation of the output, or None.
    """

    def __init__(
        self, *, channels: int, key_channels: int, window: int = 5, num_mixtures: int = 4, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.transform = GroundingTransformer(
            channels=channels, key_channels=key_channels, num_mixtures=num_mixtures, norm=norm
        )
        self.window = window

    def forward(self, fine: Tensor, coarse: Tensor, area: Area, coarse_area: Area) -> Tensor:
        """[B, C, H, W], [B, C, h, w] and the images' areas on both maps -> [B, C, H, W]."""
        query, key, value = (
            linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for linear, x in (
                (self.transform.query, fine),
                (self.transform.key, coarse),
                (self.transform.value, coarse),
            )
        )
        if area.valid_hw is None or coarse_area.valid_hw is None:
            out = local_mixture_attention(query, key, value, self.transform.mixture, window=self.window)
        else:
            out = torch.zeros_like(fine)
            for i, ((height, width), (h, w)) in enumerate(zip(area.valid_hw, coarse_area.valid_hw, strict=True)):
                crops = query[i : i + 1, :, :height, :width], key[i : i + 1, :, :h, :w], value[i : i + 1, :, :h, :w]
                local = local_mixture_attention(*crops, self.transform.mixture, window=self.window)
                out[i : i + 1, :, :height, :width] = local
        return area.normalise(self.transform.norm, out)
