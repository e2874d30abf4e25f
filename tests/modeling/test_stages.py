"""The stages alone: proposals of no class, and heads on proposals that are given."""

from __future__ import annotations

import pytest
import torch

from fpt.modeling.build import build_model
from fpt.modeling.detector import GeneralizedRCNN
from fpt.modeling.proposal_network import ProposalNetwork
from fpt.utils.errors import UserError

from .test_detector import tiny_cfg

IMAGE = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TARGET = {"boxes": torch.tensor([[8.0, 8.0, 60.0, 56.0]]), "labels": torch.tensor([1])}


def _proposal_network(**options: bool) -> ProposalNetwork:
    cfg = tiny_cfg()
    cfg.MODEL.MASK_ON = False
    cfg.MODEL.RPN_ONLY = True
    torch.manual_seed(0)
    return build_model(cfg, num_classes=2)


def _fast_rcnn() -> GeneralizedRCNN:
    cfg = tiny_cfg()
    cfg.TEST.PROPOSAL_FILES = ("p.npz",)
    torch.manual_seed(0)
    return build_model(cfg, num_classes=4)


def test_proposals_alone() -> None:
    model = _proposal_network()
    losses = model([IMAGE, IMAGE], [TARGET, TARGET])
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_bbox"}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    with torch.no_grad():
        (found,) = model.eval()([IMAGE])
        proposals, _ = model.rpn(model._features(model.normalizer([IMAGE])), sizes_hw=[(64, 96)])
    assert torch.equal(found["boxes"], proposals[0])
    assert set(found["labels"].tolist()) == {1}
    assert (found["scores"].diff() <= 0).all()
    assert ((found["scores"] > 0) & (found["scores"] < 1)).all()
    assert not any(name.startswith("roi_heads") for name in model.state_dict())


def test_heads_on_given_proposals() -> None:
    model = _fast_rcnn()
    assert not any(name.startswith("rpn.") for name in model.state_dict())
    masks = torch.ones(1, 28, 28, dtype=torch.uint8)
    proposals = torch.tensor([[6.0, 8.0, 58.0, 50.0], [70.0, 4.0, 90.0, 30.0]])
    target = {**TARGET, "masks": masks, "proposals": proposals}
    losses = model([IMAGE, IMAGE], [target, {**target, "proposals": proposals[:0]}])
    assert set(losses) == {"loss_cls", "loss_bbox", "loss_mask"}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    model.eval()
    with torch.no_grad():
        both = model([IMAGE, IMAGE], [{"proposals": proposals}, {"proposals": proposals[:0]}])
        (alone,) = model([IMAGE], [{"proposals": proposals}])
    assert len(both[1]["boxes"]) == 0
    assert both[1]["masks"].shape[0] == 0
    torch.testing.assert_close(both[0]["boxes"], alone["boxes"])


def test_given_proposals_equal_the_rpns() -> None:
    """Faster R-CNN, and Fast R-CNN with the same heads on what its RPN proposes, find the same."""
    torch.manual_seed(0)
    faster = build_model(tiny_cfg(), num_classes=4).eval()
    fast = _fast_rcnn().eval()
    weights = {name: value for name, value in faster.state_dict().items() if not name.startswith("rpn.")}
    fast.load_state_dict(weights)
    with torch.no_grad():
        proposals, _ = faster.rpn(faster._features(faster.normalizer([IMAGE])), sizes_hw=[(64, 96)])
        expected, found = faster([IMAGE])[0], fast([IMAGE], [{"proposals": proposals[0]}])[0]
    assert len(expected["boxes"]) > 0
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


def test_messages() -> None:
    model = _fast_rcnn()
    with pytest.raises(UserError, match="the target of image 0 lacks proposals"):
        model([IMAGE], [{**TARGET, "masks": torch.ones(1, 28, 28, dtype=torch.uint8)}])
    with pytest.raises(UserError, match=r"classifies the proposals of a data set \(TEST.PROPOSAL_FILES\)"):
        model.eval()([IMAGE])
