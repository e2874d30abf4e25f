"""MODEL.LEGACY: what Detectron and torchvision count otherwise, against formulas of theirs."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
import torchvision
from torchvision.models.detection.anchor_utils import AnchorGenerator as TorchvisionAnchors
from torchvision.models.detection.image_list import ImageList

from fpt.core.config import load_cfg
from fpt.dataloaders.transforms import ResizeAndFlip
from fpt.engine.inference import to_detections
from fpt.layers.roi_align import roi_align
from fpt.modeling.build import build_model
from fpt.modeling.roi_heads.pooler import RoIPooler
from fpt.modeling.rpn.anchors import AnchorGenerator
from fpt.modeling.rpn.proposals import ProposalSettings, select_proposals
from fpt.modeling.sampling import image_weights, match_anchors, sample_rois
from fpt.structures.boxes import BoxCoder, scale_inclusive
from fpt.utils.errors import UserError


def _inclusive_anchors(stride: int, sizes: tuple[int, ...], ratios: tuple[float, ...]) -> np.ndarray:
    """Corners that belong to the box, around the middle of the pixels 0 .. stride - 1."""
    middle = (stride - 1) / 2
    corners = []
    for ratio in ratios:
        width = np.round(np.sqrt(stride * stride / ratio))
        height = np.round(width * ratio)
        for size in sizes:
            w, h = width * size / stride, height * size / stride
            corners.append([middle - (w - 1) / 2, middle - (h - 1) / 2, middle + (w - 1) / 2, middle + (h - 1) / 2])
    return np.array(corners)


@pytest.mark.parametrize(("stride", "sizes"), [(4, (32,)), (16, (32, 64, 128, 256, 512)), (64, (512,))])
def test_anchors_are_detectrons(stride: int, sizes: tuple[int, ...]) -> None:
    ratios = (0.5, 1.0, 2.0)
    ours = AnchorGenerator(sizes=[sizes], aspect_ratios=ratios, strides=[stride], rounding="detectron")
    (anchors,) = ours([(1, 2)])
    inclusive = anchors.numpy() - np.array([0, 0, 1, 1])
    expected = _inclusive_anchors(stride, sizes, ratios)
    np.testing.assert_allclose(inclusive[: len(expected)], expected, atol=1e-4)
    np.testing.assert_allclose(inclusive[len(expected) :], expected + np.array([stride, 0, stride, 0]), atol=1e-4)


def test_known_anchors_of_detectron() -> None:
    """The table in the comment of Detectron's generate_anchors: stride 16, sizes 128, 256, 512, its ratio 0.5."""
    ours = AnchorGenerator(sizes=[(128, 256, 512)], aspect_ratios=(0.5,), strides=[16], rounding="detectron")
    (anchors,) = ours([(1, 1)])
    expected = [[-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199]]
    torch.testing.assert_close(anchors - torch.tensor([0, 0, 1, 1]), torch.tensor(expected, dtype=torch.float32))


def test_anchors_are_torchvisions_bit_by_bit() -> None:
    sizes, strides, cells = (32, 64), (4, 8), [(6, 5), (3, 3)]  # a map of odd size has another stride there
    ours = AnchorGenerator(
        sizes=[(size,) for size in sizes],
        aspect_ratios=(0.5, 1.0, 2.0),
        strides=strides,
        rounding="torchvision",
        offset=0.0,
    )(cells)
    reference = TorchvisionAnchors(tuple((size,) for size in sizes), ((0.5, 1.0, 2.0),) * 2)
    maps = [torch.zeros(1, 1, *cell) for cell in cells]
    (theirs,) = reference(ImageList(torch.zeros(1, 3, 24, 20), [(24, 20)]), maps)
    assert torch.equal(torch.cat(ours), theirs)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_unaligned_roi_align_is_torchvisions(sampling_ratio: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 12, 10)
    low = torch.rand(20, 2) * 30
    rois = torch.cat([torch.randint(0, 2, (20, 1)).float(), low, low + torch.rand(20, 2) * 20], dim=1)
    rois[0, 3:] = rois[0, 1:3] + 0.5  # less than a cell
    ours = roi_align(x, rois, output_size=7, spatial_scale=0.25, sampling_ratio=sampling_ratio, is_aligned=False)
    theirs = torchvision.ops.roi_align(x, rois, 7, 0.25, sampling_ratio, aligned=False)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_roi_of_detectron_ends_at_its_last_pixel() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 12, 10)
    pooler = RoIPooler(levels=(0,), strides=(4,), output_size=7, is_aligned=False, margin=1.0)
    (pooled,) = pooler(OrderedDict(p2=x), [torch.tensor([[4.0, 5.0, 30.0, 33.0]])])
    inclusive = torch.tensor([[0.0, 4.0, 5.0, 29.0, 32.0]])
    torch.testing.assert_close(pooled, torchvision.ops.roi_align(x, inclusive, 7, 0.25, 2), atol=1e-5, rtol=1e-5)


def test_proposals_of_a_batch_are_its_best() -> None:
    anchors = torch.tensor([[0.0, 0.0, 9.0, 9.0], [20.0, 20.0, 29.0, 29.0], [40.0, 40.0, 49.0, 49.0]])
    logits = torch.tensor([[3.0, 1.0, -2.0], [2.0, 0.5, 0.0]])
    settings = {"pre_nms_top_n": 9, "post_nms_top_n": 3, "nms_threshold": 0.7}
    counts = {}
    for over_batch in (False, True):
        found = select_proposals(
            [logits],
            [torch.zeros(2, 3, 4)],
            [anchors],
            sizes_hw=[(64, 64)] * 2,
            settings=ProposalSettings(**settings, over_batch=over_batch),
            box_coder=BoxCoder(),
        )
        counts[over_batch] = [boxes.tolist() for boxes, _ in found]
    assert [len(boxes) for boxes in counts[False]] == [3, 3]
    assert counts[True] == [anchors[:2].tolist(), anchors[:1].tolist()]


def test_weights_over_a_batch_count_each_sample_alike() -> None:
    device = torch.device("cpu")
    assert image_weights([1, 3], device=device, over_batch=True).tolist() == [0.25] * 4
    torch.testing.assert_close(image_weights([1, 3], device=device), torch.tensor([0.5, 1 / 6, 1 / 6, 1 / 6]))
    assert image_weights([0, 0], device=device, over_batch=True).tolist() == []


def test_boxes_go_there_and_back() -> None:
    boxes = np.array([[4, 6, 14, 26]], np.float32)  # the pixels 4 .. 13 and 6 .. 25
    scaled = scale_inclusive(boxes, 2.0)
    assert scaled.tolist() == [[8, 12, 27, 51]]  # corners 13 and 25 twice as far, and a pixel more
    np.testing.assert_allclose(scale_inclusive(scaled, 0.5), boxes)
    assert scale_inclusive(np.array([[1, 1, 1.5, 1.5]], np.float32), 4.0).tolist() == [[4, 4, 5, 5]]


def test_training_and_detection_scale_alike() -> None:
    transform = ResizeAndFlip((20,), 100, inclusive_corners=True)
    original = np.array([[4, 6, 14, 26]], np.float32)
    boxes = transform.boxes(original, (40, 30), (80, 60), False)
    output = {"boxes": torch.from_numpy(boxes), "labels": torch.tensor([1]), "scores": torch.tensor([0.5])}
    found = to_detections(output, image_id=1, size_hw=(40, 30), input_hw=(80, 60), inclusive_corners=True)
    np.testing.assert_allclose(found.boxes, original, atol=1e-5)
    flipped = transform.boxes(original, (40, 30), (80, 60), True)
    assert flipped.tolist() == [[32, 12, 51, 51]]  # the pixels 16 .. 25 of 30


@pytest.mark.parametrize(("value", "meaning"), [("True", "detectron"), (False, "off"), ("torchvision", "torchvision")])
def test_the_switch_reaches_every_part(value: object, meaning: str) -> None:
    options = ["MODEL.CONV_BODY", "ResNet18_conv5_body", "MODEL.MASK_ON", "True", "MODEL.LEGACY", value]
    cfg = load_cfg(None, options)
    assert meaning == cfg.MODEL.LEGACY
    with torch.device("meta"):
        model = build_model(cfg, num_classes=3)
    heads = model.roi_heads
    assert model.rpn.anchor_generator.offset == (0.0 if meaning == "torchvision" else 0.5)
    assert heads.box_pooler.is_aligned == heads.mask_branch.pooler.is_aligned == (meaning == "off")
    assert heads.over_batch == heads.mask_branch.over_batch == model.rpn.losses_over_batch == (meaning != "off")
    is_detectron = meaning == "detectron"
    assert heads.box_pooler.margin == heads.mask_branch.pooler.margin == float(is_detectron)
    assert model.rpn.training_settings.over_batch == model.has_inclusive_corners == is_detectron
    assert not model.rpn.test_settings.over_batch


def test_a_wrong_word_is_named() -> None:
    with pytest.raises(
        UserError, match="MODEL.LEGACY is 'caffe', but must be one of 'auto', 'off', 'detectron', 'torchvision'"
    ):
        load_cfg(None, ["MODEL.LEGACY", "caffe"])


def test_the_only_map_of_a_c4_model_gives_the_best_proposals_of_each_image() -> None:
    options = [
        "MODEL.CONV_BODY",
        "ResNet.ResNet18_conv4_body",
        "FAST_RCNN.ROI_BOX_HEAD",
        "ResNet.ResNet_roi_conv5_head",
    ]
    model = build_model(load_cfg(None, [*options, "MODEL.LEGACY", "detectron"]), num_classes=3)
    assert not model.rpn.training_settings.over_batch
    assert model.has_inclusive_corners


def test_thresholds_of_0_switch_off_as_in_detectron() -> None:
    options = ["MODEL.CONV_BODY", "FPN.ResNet18_conv5_body", "TRAIN.CROWD_FILTER_THRESH", "0"]
    options += ["TRAIN.RPN_NMS_THRESH", "0", "TEST.RPN_NMS_THRESH", "0"]
    model = build_model(load_cfg(None, options), num_classes=3)
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10]])
    for settings in (model.rpn.training_settings, model.rpn.test_settings):
        ((kept, _),) = select_proposals(
            [torch.tensor([[0.9, 0.8, 0.7]])],
            [torch.zeros(1, 3, 4)],
            [anchors],
            sizes_hw=[(20, 20)],
            settings=settings,
            box_coder=BoxCoder(),
        )
        assert len(kept) == 3
    crowd, inside = torch.tensor([[0.0, 0, 50, 50]]), torch.tensor([[5.0, 5, 15, 15]])
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "crowd_boxes": crowd}
    assert match_anchors(
        inside, target["boxes"], crowd, size_hw=(50, 50), sampling=model.rpn.sampling
    ).label.tolist() == [0]
    assert sample_rois(inside, target, sampling=model.roi_heads.sampling).labels.tolist() == [0]
