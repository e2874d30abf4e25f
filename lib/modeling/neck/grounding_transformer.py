"""Grounding transformer (GT): a fine level takes in the concepts of a coarser one, and its local form (LGT)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fpt.layers.attention import local_mixture_attention
from fpt.modeling.neck.area import Area
from fpt.modeling.neck.conv_norm import Pending, pending
from fpt.modeling.neck.self_transformer import QueryAttention


class GroundingTransformer(QueryAttention):
    """GT of section 3.3: q from the fine map, k and v from the coarse one, negative squared distance (N = 4 there)."""

    similarity = "euclidean"


class LocalGroundingTransformer(nn.Module):
    """LGT of section 3.3: as GT, but each position meets only the window of the coarse map around its own place.

    Args:
        channels: channels of both maps, and of the output.
        key_channels: channels of q and k.
        ratio: how many times smaller the coarse map is: position (y, x) belongs to its cell (y // ratio, x // ratio).
        window: side of the window in coarse cells, odd.
        num_mixtures: parts of the mixture of softmaxes.
        norm: normalisation of the output, or None.
    """

    def __init__(
        self,
        *,
        channels: int,
        key_channels: int,
        ratio: int,
        window: int = 5,
        num_mixtures: int = 4,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.transform = GroundingTransformer(
            channels=channels, key_channels=key_channels, num_mixtures=num_mixtures, norm=norm
        )
        self.ratio = ratio
        self.window = window

    def forward(self, fine: Tensor, coarse: Tensor, area: Area, coarse_area: Area) -> Pending:
        """[B, C, H, W], [B, C, h, w] and the images' areas on both maps -> [B, C, H, W], to be normalised."""
        query, key, value = (
            linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for linear, x in (
                (self.transform.query, fine),
                (self.transform.key, coarse),
                (self.transform.value, coarse),
            )
        )
        if area.valid_hw is None and coarse_area.valid_hw is None:
            return pending(self._attend(query, key, value), self.transform.norm, area)
        crops = zip(area.crops(query), coarse_area.crops(key), coarse_area.crops(value), strict=True)
        images = [self._attend(q[None], k[None], v[None])[0] for q, k, v in crops]
        return pending(area.place(images, fine), self.transform.norm, area)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """LGT of maps without padding."""
        (height, width), (h, w) = query.shape[-2:], key.shape[-2:]
        missing_y, missing_x = self.ratio * h - height, self.ratio * w - width
        if not (0 <= missing_y < self.ratio and 0 <= missing_x < self.ratio):
            raise ValueError(
                f"a local window needs a coarse map of {-(-height // self.ratio)} x {-(-width // self.ratio)} (sizes "
                f"rounded up) for a fine one of {height} x {width}, got {h} x {w}"
            )
        query = F.pad(query, (0, missing_x, 0, missing_y))
        out = local_mixture_attention(query, key, value, self.transform.mixture, window=self.window)
        return out[..., :height, :width]
