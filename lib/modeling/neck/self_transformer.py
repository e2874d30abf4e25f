"""Self-transformer (ST): interaction of the positions of one level."""

from __future__ import annotations

from torch import Tensor, nn

from fpt.layers.attention import mixture_attention
from fpt.modeling.neck.pyramid_keys import KeyTokens
from fpt.modeling.neck.query_attention import QueryAttention


class SelfTransformer(QueryAttention):
    """ST of "Feature Pyramid Transformer", section 3.2: q, k and v from one map, dot product, mixture of softmaxes.

    Args:
        channels: channels of the map, and of the output.
        key_channels: channels of q and k.
        num_mixtures: parts of the mixture of softmaxes.
        norm: normalisation of the output, or None.
    """

    def __init__(
        self, *, channels: int, key_channels: int, num_mixtures: int = 2, norm: nn.Module | None = None
    ) -> None:
        super().__init__(channels=channels, key_channels=key_channels, num_mixtures=num_mixtures, norm=norm)

    def attend(self, query: Tensor, keys: KeyTokens) -> Tensor:
        """[B, Nq, Dk] and the tokens of the same map -> [B, Nq, C]."""
        return mixture_attention(
            query,
            self.key(keys.tokens),
            self.value(keys.tokens),
            self.mixture,
            similarity="dot",
            key_padding_mask=keys.padding,
        )
