"""Objects without a mask train the box branch, and the mask loss leaves them out."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from fpt.modeling.roi_heads.pooler import RoIPooler
from fpt.modeling.roi_heads.roi_heads import MaskBranch
from fpt.modeling.sampling import SampledRoIs

BOXES = torch.tensor([[4.0, 4.0, 20.0, 24.0], [8.0, 10.0, 30.0, 30.0], [0.0, 0.0, 12.0, 12.0]])


class _Head(nn.Module):
    """One logit a class and cell."""

    def __init__(self) -> None:
        super().__init__()
        self.predictor = nn.Conv2d(8, 3, 1)

    def forward(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        return self.predictor(inputs[0])


def _branch() -> MaskBranch:
    torch.manual_seed(0)
    pooler = RoIPooler(levels=[0], strides=[4], output_size=7, sampling_ratio=2)
    return MaskBranch(pooler=pooler, head=_Head())


def _loss(branch: MaskBranch, indices: list[int], has_mask: list[bool] | None) -> torch.Tensor:
    torch.manual_seed(1)
    masks = (torch.rand(3, 28, 28) > 0.5).to(torch.uint8)
    features = OrderedDict({"2": torch.randn(1, 8, 8, 8)})
    target = {"boxes": BOXES, "labels": torch.tensor([1, 2, 1]), "masks": masks}
    if has_mask is not None:
        target["has_mask"] = torch.tensor(has_mask)
    index = torch.tensor(indices)
    sample = SampledRoIs(boxes=BOXES[index], labels=target["labels"][index], object_index=index)
    return branch.loss(features, [sample], [target])


def test_the_loss_is_that_of_the_objects_with_a_mask() -> None:
    branch = _branch()
    assert torch.equal(_loss(branch, [0, 1, 2], [True, False, True]), _loss(branch, [0, 2], None))
    assert not torch.equal(_loss(branch, [0, 1, 2], None), _loss(branch, [0, 2], None))


def test_no_object_with_a_mask_is_a_loss_of_0_in_the_graph() -> None:
    branch = _branch()
    loss = _loss(branch, [1], [True, False, True])
    assert loss == 0
    loss.backward()
    assert branch.head.predictor.weight.grad is not None
    assert not branch.head.predictor.weight.grad.any()
