"""Where the transformers of a neck look: rows of attention for one position, and the channel weights of RT."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fpt.layers.attention import mixture_attention, mixture_shares
from fpt.modeling.neck.area import WHOLE
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.neck.grounding_transformer import LocalGroundingTransformer
from fpt.modeling.neck.pyramid_keys import pooled_size
from fpt.modeling.neck.query_grid import query_grid
from fpt.modeling.neck.self_transformer import QueryAttention

_COLUMNS_AT_ONCE = 1024


@dataclass(frozen=True)
class AttentionRow:
    """With what weights a position of one level looks at a level.

    Attributes:
        kind: "ST", "GT" or "LGT".
        level: name of the level that is looked at.
        parts: [M, h, w], the softmax of each part on the grid of keys: the cells of the level, or MAX_KEYS' coarser
            ones. Of LGT the sum may be below 1: keys outside the map keep their share.
        shares: [M], pi.
    """

    kind: str
    level: str
    parts: Tensor
    shares: Tensor

    @property
    def weights(self) -> Tensor:
        """[h, w], the mixed weights sum_n pi_n P_n."""
        return (self.shares[:, None, None] * self.parts).sum(0)


@torch.no_grad()
def attention_rows(
    transformer: FeaturePyramidTransformer, features: OrderedDict[str, Tensor], *, level: str, position: tuple[int, int]
) -> list[AttentionRow]:
    """What a position of a level sees: its own level through ST, every coarser level through GT or LGT.

    Args:
        transformer: the neck.
        features: what goes into it, for one image without padding: {name: [1, C, h, w]}, finest first.
        level: name of the level of the query.
        position: row and column of the query on it, in cells; where squares of cells ask as one, its square asks.

    Raises:
        ValueError: more than one image, an unknown level, or a position outside it.
    """
    names = list(features)
    if level not in features or any(len(x) != 1 for x in features.values()):
        raise ValueError(f"level {level!r} of one image is asked for, but the maps are {_describe(features)}")
    here = features[level]
    row, column = position
    if not (0 <= row < here.shape[-2] and 0 <= column < here.shape[-1]):
        raise ValueError(f"position {position} is outside of level {level}, {here.shape[-2]} x {here.shape[-1]} cells")
    index = names.index(level)
    grid = query_grid(here, WHOLE, transformer.query_strides[index])
    cell = grid.means(here)[0, :, row // grid.side, column // grid.side]
    rows = []
    if transformer.selfs:
        rows.append(_row("ST", transformer.self_transformer(index), cell, here, level, transformer.max_keys))
    if transformer.groundings:
        for coarse in range(index + 1, len(names)):
            module, name = transformer.grounding_transformer(index, coarse), names[coarse]
            if isinstance(module, LocalGroundingTransformer):
                rows.append(_local_row(module, cell, position, features[name], name))
            else:
                rows.append(_row("GT", module, cell, features[name], name, transformer.max_keys))
    return rows


def rendering_weights(features: OrderedDict[str, Tensor], *, level: str) -> OrderedDict[str, Tensor]:
    """Weights [C] of the channels with which RT renders each finer level on `level`: GAP of the finer map (one image).

    They do not depend on the position.
    """
    names = list(features)
    return OrderedDict((name, features[name][0].mean(dim=(1, 2))) for name in names[: names.index(level)])


def _row(kind: str, module: QueryAttention, cell: Tensor, seen: Tensor, name: str, max_keys: int) -> AttentionRow:
    size = pooled_size(seen.shape[-2], seen.shape[-1], max_keys)
    grid = F.adaptive_avg_pool2d(seen, size) if size != tuple(seen.shape[-2:]) else seen
    keys = module.key(grid[0].flatten(1).mT)
    shares = mixture_shares(keys[None], module.mixture)[0]
    return AttentionRow(kind, name, _parts(module, cell, keys).unflatten(1, size), shares)


def _local_row(
    module: LocalGroundingTransformer, cell: Tensor, position: tuple[int, int], seen: Tensor, name: str
) -> AttentionRow:
    transform, margin = module.transform, module.window // 2
    keys = transform.key(seen[0].permute(1, 2, 0))
    top, left = position[0] // module.ratio, position[1] // module.ratio
    padded = F.pad(keys, (0, 0, margin, margin, margin, margin))
    window = padded[top : top + module.window, left : left + module.window]
    parts = _parts(transform, cell, window.flatten(0, 1))
    whole = parts.new_zeros(len(parts), *padded.shape[:2])
    whole[:, top : top + module.window, left : left + module.window] = parts.unflatten(1, window.shape[:2])
    inside = whole[:, margin : whole.shape[1] - margin, margin : whole.shape[2] - margin]
    return AttentionRow("LGT", name, inside, mixture_shares(keys.flatten(0, 1)[None], transform.mixture)[0])


def _parts(module: QueryAttention, cell: Tensor, keys: Tensor) -> Tensor:
    """[M, Nk], the softmax of each part of one query over keys [Nk, Dk].

    What attention gives for values that are the identity are its weights; each part is an attention of its own, with a
    single softmax.
    """
    num_parts, num_keys = len(module.mixture), len(keys)
    query, keys = (x.unflatten(-1, (num_parts, -1)).transpose(0, 1) for x in (module.query(cell)[None], keys))
    one_part = query.new_zeros(1, query.shape[-1])
    columns = []
    for start in range(0, num_keys, _COLUMNS_AT_ONCE):
        width = min(_COLUMNS_AT_ONCE, num_keys - start)
        identity = torch.zeros(num_keys, width, device=keys.device)
        identity[start : start + width].fill_diagonal_(1)
        identity = identity.expand(num_parts, -1, -1)
        columns.append(mixture_attention(query, keys, identity, one_part, similarity=module.similarity)[:, 0])
    return torch.cat(columns, dim=-1)


def _describe(features: OrderedDict[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(x.shape)}" for name, x in features.items())
