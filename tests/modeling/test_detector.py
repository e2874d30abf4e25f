"""The whole detector on tiny configurations."""

import pytest
import torch

from fpt.core.config import get_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.build import build_model
from fpt.modeling.detector import GeneralizedRCNN
from fpt.modeling.roi_heads.build import BOX_HEADS, MASK_HEADS

NUM_CLASSES = 4
LOSSES = {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask"}


def tiny_cfg(backbone: str = "FPN.torchvision.mobilenet_v3_small") -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = backbone
    cfg.MODEL.MASK_ON = True
    cfg.RESNETS.FREEZE_AT = 0
    cfg.RESNETS.USE_GN = True
    cfg.FPN.DIM = 16
    cfg.FPN.USE_GN = True
    cfg.FAST_RCNN.MLP_HEAD_DIM = cfg.FAST_RCNN.CONV_HEAD_DIM = cfg.MRCNN.DIM_REDUCED = 16
    cfg.FAST_RCNN.NUM_STACKED_CONVS = 2
    cfg.TRAIN.BATCH_SIZE_PER_IM = 16
    cfg.TRAIN.RPN_POST_NMS_TOP_N = cfg.TEST.RPN_POST_NMS_TOP_N = 30
    cfg.TEST.SCORE_THRESH = 0.01
    cfg.TEST.DETECTIONS_PER_IM = 10
    cfg.MODEL.FPT.MAX_KEYS = 16
    return cfg


def use_c4(cfg: CfgNode) -> None:
    """res5 in the heads, on the only map of the backbone."""
    cfg.MODEL.CONV_BODY = "ResNet.ResNet18_conv4_body"
    cfg.RESNETS.BASE_CHANNELS = 16
    cfg.FAST_RCNN.ROI_BOX_HEAD = "ResNet.ResNet_roi_conv5_head"
    cfg.FAST_RCNN.ROI_XFORM_RESOLUTION = cfg.MRCNN.ROI_XFORM_RESOLUTION = cfg.MRCNN.RESOLUTION = 14
    cfg.RPN.SIZES = (16, 32)


def _model(cfg: CfgNode | None = None) -> GeneralizedRCNN:
    torch.manual_seed(0)
    return build_model(cfg or tiny_cfg(), num_classes=NUM_CLASSES)


def _images(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=generator) for h, w in sizes]


def _target(num_objects: int = 2) -> dict[str, torch.Tensor]:
    boxes = torch.tensor([[4.0, 4.0, 40.0, 50.0], [20.0, 10.0, 60.0, 44.0]])[:num_objects]
    return {
        "boxes": boxes,
        "labels": torch.tensor([1, 3])[:num_objects],
        "masks": torch.ones(num_objects, 112, 112, dtype=torch.uint8),
    }


def _untouched(model: GeneralizedRCNN) -> list[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def _check_gradients(model: GeneralizedRCNN) -> None:
    assert _untouched(model) == []
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize(
    "backbone",
    ["FPN.ResNet18_conv5_body_fpt", "BFP.torchvision.mobilenet_v3_small", "BPA.torchvision.mobilenet_v3_small"],
)
def test_losses_and_gradients(backbone: str) -> None:
    model = _model(tiny_cfg(backbone))
    losses = model(_images((64, 70), (50, 64)), [_target(), _target(1)])
    assert set(losses) == LOSSES
    assert all(loss.ndim == 0 and loss.dtype == torch.float32 and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    _check_gradients(model)


def test_losses_and_gradients_of_a_batch_are_means_over_its_images() -> None:
    cfg = tiny_cfg()
    cfg.TRAIN.BATCH_SIZE_PER_IM = cfg.TRAIN.RPN_BATCH_SIZE_PER_IM = 100_000  # all are taken: nothing is left to chance
    cfg.TRAIN.FG_FRACTION = cfg.TRAIN.RPN_FG_FRACTION = 1.0
    cfg.MODEL.FPT.DROPBLOCK_KEEP_PROB = 1.0
    images, targets = _images((64, 64), (64, 64), (64, 64)), [_target(2), _target(1), _target(0)]
    model = _model(cfg)
    together = model(images, targets)
    sum(together.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    alone = [model([image], [target]) for image, target in zip(images, targets, strict=True)]
    for losses in alone:
        (sum(losses.values()) / 3).backward()
    for name, loss in together.items():
        torch.testing.assert_close(loss, torch.stack([losses[name] for losses in alone]).mean())
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name], rtol=1e-4, atol=1e-5)


def test_images_without_objects_train_the_background() -> None:
    model = _model()
    losses = model(_images((64, 64), (64, 64)), [_target(0), _target(0)])
    assert losses["loss_bbox"] == losses["loss_rpn_bbox"] == losses["loss_mask"] == 0
    assert losses["loss_cls"] > 0
    sum(losses.values()).backward()
    _check_gradients(model)


@pytest.mark.parametrize("box_head", BOX_HEADS)
def test_every_box_head(box_head: str) -> None:
    cfg = tiny_cfg()
    if "conv5" in box_head:
        use_c4(cfg)
    cfg.FAST_RCNN.ROI_BOX_HEAD = box_head
    cfg.MODEL.MASK_ON = False
    cfg.MODEL.CLS_AGNOSTIC_BBOX_REG = True
    model = _model(cfg)
    losses = model(_images((64, 64)), [_target()])
    assert set(losses) == LOSSES - {"loss_mask"}
    sum(losses.values()).backward()
    _check_gradients(model)
    assert not model.has_masks


@pytest.mark.parametrize("is_specific", [True, False])
@pytest.mark.parametrize("mask_head", MASK_HEADS)
def test_every_mask_head(mask_head: str, is_specific: bool) -> None:
    cfg = tiny_cfg()
    if "v0up" in mask_head:
        use_c4(cfg)
    cfg.MRCNN.ROI_MASK_HEAD = mask_head
    cfg.MRCNN.CLS_SPECIFIC_MASK = is_specific
    model = _model(cfg)
    sum(model(_images((64, 64)), [_target()]).values()).backward()
    _check_gradients(model)
    with torch.no_grad():
        (found,) = model.eval()(_images((64, 64)))
    side = 14 if "v0up" in mask_head else 28
    assert len(found["boxes"]) > 0
    assert found["masks"].shape == (len(found["boxes"]), side, side)


def test_detections_keep_their_contract() -> None:
    model = _model().eval()
    sizes = [(64, 70), (50, 64)]
    with torch.no_grad():
        found = model(_images(*sizes))
    for item, (h, w) in zip(found, sizes, strict=True):
        assert {name: value.dtype for name, value in item.items()} == {
            "boxes": torch.float32,
            "labels": torch.int64,
            "scores": torch.float32,
            "masks": torch.float32,
        }
        assert 0 < len(item["boxes"]) <= 10
        assert item["boxes"].min() >= 0
        assert item["boxes"][:, 2].max() <= w
        assert item["boxes"][:, 3].max() <= h
        assert item["labels"].min() >= 1
        assert item["labels"].max() < NUM_CLASSES
        assert (item["scores"].diff() <= 0).all()
        assert item["masks"].min() >= 0
        assert item["masks"].max() <= 1


def test_a_image_gives_the_same_alone_and_in_a_batch() -> None:
    """Images of other padded sizes run apart, so only the order of floating-point sums differs: 1e-3 pixels."""
    cfg = tiny_cfg("FPN.torchvision.mobilenet_v3_small_fpt")
    model = _model(cfg).eval()
    images = _images((64, 70), (50, 64), (64, 90), (33, 40), (57, 49))
    with torch.no_grad():
        together, alone = model(images), [model([image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], atol=1e-3, rtol=1e-3)


def test_nothing_found_is_no_error() -> None:
    cfg = tiny_cfg()
    cfg.TEST.SCORE_THRESH = 0.99
    with torch.no_grad():
        (found,) = _model(cfg).eval()(_images((40, 40)))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "scores": (0,),
        "masks": (0, 28, 28),
    }


def test_same_seed_gives_the_same_losses() -> None:
    values = []
    for _ in range(2):
        model = _model()
        torch.manual_seed(5)
        values.append([float(loss.detach()) for loss in model(_images((64, 64)), [_target()]).values()])
    assert values[0] == values[1]


def test_bfloat16_autocast_keeps_losses_and_boxes_in_float32() -> None:
    model = _model(tiny_cfg("FPN.torchvision.mobilenet_v3_small_fpt"))
    images, targets = _images((64, 70), (50, 64)), [_target(), _target(0)]
    torch.manual_seed(0)
    plain = model(images, targets)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images, targets)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert losses["loss_cls"].item() == pytest.approx(plain["loss_cls"].item(), rel=0.1)
    sum(losses.values()).backward()
    _check_gradients(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model.eval()(images)
    assert found[0]["boxes"].dtype == found[0]["scores"].dtype == torch.float32


@pytest.mark.parametrize("is_channels_last", [True, False])
def test_memory_format_changes_nothing(is_channels_last: bool) -> None:
    cfg = tiny_cfg()
    cfg.CHANNELS_LAST = is_channels_last
    reference = _model()
    model = _model(cfg)
    model.load_state_dict(reference.state_dict())
    with torch.no_grad():
        (found,), (expected,) = model.eval()(_images((64, 64))), reference.eval()(_images((64, 64)))
    torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-4, rtol=1e-3)
