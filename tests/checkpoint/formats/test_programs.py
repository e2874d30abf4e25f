"""Names of parameters in other programs: lists of published files, torchvision's own models, there and back."""

import pytest
import torch
import torchvision

from fpt.checkpoint.formats.programs import DETECTRON, DETECTRON2, DETECTRON_PYTORCH, PROGRAMS, TORCHVISION, our_layout
from fpt.checkpoint.formats.reader import complete_affine, num_classes_of, translate
from fpt.checkpoint.formats.renaming import Renaming, Rule
from fpt.checkpoint.formats.values import TO_OURS, TO_THEIRS
from fpt.core.config import load_cfg
from fpt.modeling.build import build_model

from .lists import LISTS, config_of, read_list, seeded


def _build(cfg, num_classes: int) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return build_model(cfg, num_classes=num_classes).state_dict()


@pytest.mark.skipif(not LISTS, reason="FPT_SHARED names no folder with lists of published files")
@pytest.mark.parametrize("name", LISTS)
def test_a_published_file_has_a_place_for_everything(name: str) -> None:
    tensors = seeded(read_list(name))
    translated = translate(tensors)
    is_whole = "imagenet" not in name
    wanted = _build(config_of(name), num_classes_of(translated.model) or 2)
    if not is_whole:
        wanted = {key: value for key, value in wanted.items() if key.startswith("backbone.")}
    complete_affine(translated.model, wanted)
    assert translated.unused == []
    assert {key: tuple(value.shape) for key, value in translated.model.items()} == {
        key: tuple(value.shape) for key, value in wanted.items()
    }
    assert len(set(translated.names.values())) == len(translated.names)
    assert len(translated.names) + len(translated.orphans) == len(tensors)
    assert all(orphan.startswith(("conv1_b", "fc1000_", "pred_", "kps_score_")) for orphan in translated.orphans)
    assert translated.has_group_norm == ("GN" in name)


@pytest.mark.skipif(not LISTS, reason="FPT_SHARED names no folder with lists of published files")
@pytest.mark.parametrize("name", LISTS)
def test_the_names_come_back(name: str) -> None:
    translated = translate(seeded(read_list(name)))
    statistics = [] if "GN" in name else ["backbone.bn1.running_mean"]
    back = translated.program.renaming(our_layout([*translated.model, *statistics]))
    for ours, theirs in translated.names.items():
        assert back.to_theirs(ours)[0] in (theirs, theirs.replace("_mask_fcn", "_[mask]_fcn"))


@pytest.mark.parametrize(
    ("name", "options", "classes"),
    [
        ("fasterrcnn_resnet50_fpn", (), 5),
        ("maskrcnn_resnet50_fpn", ("MODEL.MASK_ON", "True"), 5),
        ("keypointrcnn_resnet50_fpn", ("MODEL.KEYPOINTS_ON", "True", "KRCNN.NUM_KEYPOINTS", "17"), 2),
        (
            "retinanet_resnet50_fpn",
            (
                *("RETINANET.RETINANET_ON", "True", "FPN.RPN_MIN_LEVEL", "3", "FPN.RPN_MAX_LEVEL", "7"),
                *("FPN.EXTRA_CONV_LEVELS", "True", "FPN.EXTRA_CONV_SOURCE", "P5"),
            ),
            5,
        ),
    ],
)
def test_torchvisions_detectors_have_a_place_for_everything(name: str, options: tuple[str, ...], classes: int) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    translated = translate(theirs.state_dict())
    assert translated.program is TORCHVISION
    assert translated.unused == []
    wanted = _build(load_cfg(None, ["MODEL.CONV_BODY", "FPN.ResNet50_conv5_body", *options]), classes)
    model = {key: value for key, value in translated.model.items() if not key.endswith("num_batches_tracked")}
    assert {key: value.shape for key, value in model.items()} == {key: value.shape for key, value in wanted.items()}
    assert num_classes_of(model) == classes
    renaming = TORCHVISION.renaming(our_layout(model))
    values = {renaming.to_theirs(key)[0]: TO_THEIRS[renaming.to_theirs(key)[1]](value) for key, value in model.items()}
    assert {key: value.shape for key, value in values.items()} == {
        key: value.shape for key, value in theirs.state_dict().items() if not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    "options",
    [
        ("MODEL.CONV_BODY", "FPN.ResNet50_conv5_body", "MODEL.MASK_ON", "True"),
        (
            *("MODEL.CONV_BODY", "FPN.ResNet101_conv5_body", "RESNETS.USE_GN", "True", "FPN.USE_GN", "True"),
            *("MODEL.MASK_ON", "True", "MRCNN.ROI_MASK_HEAD", "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn"),
            *("FAST_RCNN.ROI_BOX_HEAD", "fast_rcnn_heads.roi_Xconv1fc_gn_head"),
        ),
        (
            *("MODEL.CONV_BODY", "ResNet.ResNet50_conv4_body", "FAST_RCNN.ROI_XFORM_RESOLUTION", "14"),
            *("FAST_RCNN.ROI_BOX_HEAD", "ResNet.ResNet_roi_conv5_head"),
        ),
    ],
)
def test_models_of_ours_go_there_and_back(program, options: tuple[str, ...]) -> None:
    if program is TORCHVISION and options[1] != "FPN.ResNet50_conv5_body":
        pytest.skip("torchvision has no such model")
    ours = _build(load_cfg(None, list(options)), 4)
    renaming = program.renaming(our_layout(ours))
    theirs = {name: renaming.to_theirs(name) for name in ours if "running_" not in name or program is not DETECTRON}
    assert [name for name, found in theirs.items() if found is None] == []
    names = [found[0] for found in theirs.values()]
    assert len(set(names)) == len(names)
    assert program.recognise(names)
    assert next(other for other in PROGRAMS if other.recognise(names)) is program
    back = program.renaming(program.layout(names))
    assert {name: back.to_ours(found[0])[0] for name, found in theirs.items()} == {name: name for name in theirs}


def test_names_of_detectron_pytorch_by_hand() -> None:
    names = {
        "Conv_Body.conv_top.weight": "neck.pyramid.laterals.3.conv.weight",
        "Conv_Body.topdown_lateral_modules.0.conv_lateral.weight": "neck.pyramid.laterals.2.conv.weight",
        "Conv_Body.topdown_lateral_modules.2.conv_lateral.bias": "neck.pyramid.laterals.0.conv.bias",
        "Conv_Body.posthoc_modules.0.weight": "neck.pyramid.outputs.3.conv.weight",
        "Conv_Body.posthoc_modules.3.weight": "neck.pyramid.outputs.0.conv.weight",
        "Conv_Body.conv_body.res1.conv1.weight": "backbone.conv1.weight",
        "Conv_Body.conv_body.res4.5.bn3.bias": "backbone.layer3.5.bn3.bias",
        "Conv_Body.conv_body.res5.0.downsample.1.weight": "backbone.layer4.0.downsample.1.weight",
        "RPN.FPN_RPN_cls_score.bias": "rpn.head.objectness.bias",
        "Box_Head.fc2.weight": "roi_heads.box_head.fc2.0.weight",
        "Mask_Head.conv_fcn.0.weight": "roi_heads.mask_branch.head.conv1.layers.0.0.weight",
        "Mask_Head.conv_fcn.6.weight": "roi_heads.mask_branch.head.convs.2.0.weight",
        "Mask_Head.upconv5.bias": "roi_heads.mask_branch.head.upsample.bias",
        "Mask_Outs.classify.weight": "roi_heads.mask_branch.head.predictor.weight",
        "Keypoint_Head.conv_fcn.14.weight": "roi_heads.keypoint_branch.head.convs.7.0.weight",
        "Keypoint_Outs.classify.weight": "roi_heads.keypoint_branch.head.upsample.weight",
    }
    translated = translate({name: torch.zeros(1) for name in names})
    assert translated.program is DETECTRON_PYTORCH
    assert {theirs: ours for ours, theirs in translated.names.items()} == names


def test_placeholders_count_and_stand_for_words() -> None:
    renaming = Renaming([Rule("layer{s-1}.{k}.{p}", "res{s}_{k}_{p}")], {"p": {"weight": "w"}})
    assert renaming.to_ours("res4_12_w") == ("layer3.12.weight", "")
    assert renaming.to_theirs("layer3.12.weight") == ("res4_12_w", "")
    assert renaming.to_ours("res4_12_weight") is None


@pytest.mark.parametrize("name", sorted(TO_OURS))
def test_values_come_back_bit_by_bit(name: str) -> None:
    torch.manual_seed(0)
    theirs = torch.randn(36, 2, 1, 1)
    if name == "first_class_unused":
        theirs.view(9, 4, 2)[:, 0] = 0
    elif name == "agnostic_boxes":
        theirs = theirs[:8]
        theirs[:4] = 0
    assert torch.equal(TO_THEIRS[name](TO_OURS[name](theirs)), theirs)


def test_values_by_hand() -> None:
    assert TO_OURS["background_last"](torch.tensor([1.0, 2.0, 0.0])).tolist() == [0, 1, 2]
    assert TO_OURS["no_background_masks"](torch.tensor([1.0, 2.0])).tolist() == [0, 1, 2]
    assert TO_OURS["no_background_boxes"](torch.arange(1.0, 9.0)).tolist() == [0, 0, 0, 0, *range(1, 9)]
    theirs = torch.tensor([10 * octave + ratio for octave in range(3) for ratio in range(3)])
    assert TO_OURS["octaves"](theirs).tolist() == [10 * octave + ratio for ratio in range(3) for octave in range(3)]
    assert TO_OURS["first_class_unused"](torch.arange(18)).tolist() == list(range(1, 18, 2))


def test_a_single_box_for_all_classes_gets_no_background() -> None:
    prefix = "roi_heads.box_predictor"
    names = {
        "backbone.bottom_up.stem.conv1.norm.weight": torch.zeros(4),
        f"{prefix}.cls_score.weight": torch.zeros(4, 8),
        f"{prefix}.bbox_pred.weight": torch.zeros(4, 8),
    }
    translated = translate(names)
    assert translated.program is DETECTRON2
    assert translated.model[f"{prefix}.bbox_pred.weight"].shape == (4, 8)
    names[f"{prefix}.cls_score.weight"] = torch.zeros(2, 8)
    assert translate(names).model[f"{prefix}.bbox_pred.weight"].shape == (8, 8)
