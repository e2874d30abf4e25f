"""Key points in the frames of RoIs: cells of heat maps that they lie in, their loss, and back to points."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def keypoint_targets(keypoints: Tensor, boxes: Tensor, *, size: int) -> Tensor:
    """The cell of a heat map that each key point lies in.

    A point on the right or lower edge of its RoI belongs to the last cell.

    Args:
        keypoints: float32 [F, K, 3] x, y in input pixels and visibility.
        boxes: [F, 4], the RoI of each.
        size: side of the heat maps in cells.

    Returns:
        int64 [F, K], row x size + column; -1 for points that are not annotated or lie outside of their RoI.
    """
    points, low, high = keypoints[..., :2], boxes[:, None, :2], boxes[:, None, 2:]
    cells = ((points - low) * (size / (high - low))).floor().to(torch.int64)
    cells = torch.where(points == high, size - 1, cells)
    is_inside = ((cells >= 0) & (cells < size)).all(dim=-1) & (keypoints[..., 2] > 0)
    return torch.where(is_inside, cells[..., 1] * size + cells[..., 0], -1)


def keypoint_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy over the cells of each heat map; zero, and part of the graph, without any point.

    Args:
        logits: float32 [F, K, S, S].
        targets: int64 [F, K], see ``keypoint_targets``.
        weights: float32 [F], of each point of a RoI in the sum.
    """
    flat = logits.flatten(2)
    entropy = F.cross_entropy(flat.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")
    return (entropy.view_as(targets) * weights[:, None]).sum() + flat.sum() * 0


@torch.no_grad()
def decode_keypoints(logits: Tensor, boxes: Tensor) -> Tensor:
    """The best place of each key point.

    A heat map is brought to the pixels of its box by bicubic interpolation; the centre of its highest pixel is the
    place. The score is the probability of a cell of the heat map with that height.

    Args:
        logits: float32 [D, K, S, S].
        boxes: float32 [D, 4] in input pixels.

    Returns:
        float32 [D, K, 3]: x, y in input pixels, score 0..1.
    """
    found = logits.new_zeros(*logits.shape[:2], 3)
    totals = logits.flatten(2).logsumexp(dim=2)
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1).tolist()
    for index, (width, height) in enumerate(sizes):
        columns, rows = math.ceil(width), math.ceil(height)
        fine = F.interpolate(logits[index, None], size=(rows, columns), mode="bicubic", align_corners=False)[0]
        highest, position = fine.flatten(1).max(dim=1)
        found[index, :, 0] = (position % columns + 0.5) * (width / columns) + boxes[index, 0]
        found[index, :, 1] = (position.div(columns, rounding_mode="floor") + 0.5) * (height / rows) + boxes[index, 1]
        found[index, :, 2] = (highest - totals[index]).exp().clamp(max=1)
    return found
