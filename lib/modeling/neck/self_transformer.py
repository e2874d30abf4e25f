"""Self-transformer (ST): the positions of one level interact; and what it shares with the grounding transformer."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fpt.layers.attention import Similarity, mixture_attention
from fpt.modeling.neck.area import Area
from fpt.modeling.neck.conv_norm import Pending, not_kept, pending
from fpt.modeling.neck.pyramid_keys import KeyTokens


class QueryAttention(nn.Module):
    """Base of the transformers in which every position of a map looks at tokens.

    Args:
        channels: channels of the map, of the tokens, and of the output.
        key_channels: channels of q and k.
        num_mixtures: parts of the mixture of softmaxes.
        norm: normalisation of the output, or None.
    """

    similarity: ClassVar[Similarity]

    def __init__(self, *, channels: int, key_channels: int, num_mixtures: int, norm: nn.Module | None) -> None:
        super().__init__()
        if key_channels % num_mixtures:
            raise ValueError(f"{key_channels} key channels cannot be split into {num_mixtures} mixtures")
        self.query = nn.Linear(channels, key_channels)
        self.key = nn.Linear(channels, key_channels)
        self.value = nn.Linear(channels, channels)
        self.mixture = nn.Parameter(torch.randn(num_mixtures, key_channels) * key_channels**-0.5)
        self.norm = norm or nn.Identity()

    def forward(self, features: Tensor, keys: KeyTokens, area: Area) -> Pending:
        """Every position looks at the tokens.

        Args:
            features: [B, C, H, W].
            keys: what they look at.
            area: the images' positions on the map.

        Returns:
            [B, C, H, W], to be normalised.
        """
        cells = features.permute(0, 2, 3, 1)
        queries = self.query(cells).flatten(1, 2)
        with self._made_again(queries, cells):
            out = mixture_attention(
                queries,
                self.key(keys.tokens),
                self.value(keys.tokens),
                self.mixture,
                similarity=self.similarity,
                key_padding_mask=keys.padding,
            )
        return pending(out.unflatten(1, features.shape[-2:]).permute(0, 3, 1, 2), self.norm, area)

    def _made_again(self, queries: Tensor, cells: Tensor) -> AbstractContextManager[None]:
        """Within, the queries are not kept for backward, where they can be made of the cells again."""
        if not _is_plain(self.query):
            return nullcontext()
        weight, bias = self.query.weight, self.query.bias
        return not_kept(queries, lambda: F.linear(cells, weight, bias).flatten(1, 2))


def _is_plain(linear: nn.Module) -> bool:
    """Whether a module is x @ weight + bias and no more: not a wrapper (LoRA), not pruned, without hooks."""
    return type(linear) is nn.Linear and not linear._forward_hooks and not linear._forward_pre_hooks


class SelfTransformer(QueryAttention):
    """ST of "Feature Pyramid Transformer", section 3.2: q, k and v from one map, dot product (N = 2 in the paper)."""

    similarity = "dot"
