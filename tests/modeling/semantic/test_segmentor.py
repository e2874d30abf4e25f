"""The segmentor: its contract, sizes and wrong input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fpt.core.config import load_cfg
from fpt.modeling.build import build_model
from fpt.modeling.semantic.segmentor import SemanticSegmentor
from fpt.utils.errors import UserError

SMALL = (
    *("MODEL.TYPE", "semantic_segmentor", "RESNETS.BASE_CHANNELS", "16", "FPN.DIM", "16", "SEMANTIC.HEAD_DIM", "16"),
    *(
        "RESNETS.RES4_DILATION",
        "2",
        "RESNETS.RES5_DILATION",
        "4",
        "MODEL.FPT.LOCAL_WINDOW",
        "3",
        "MODEL.FPT.START",
        "paper",
        "MODEL.FPT.FUSION",
        "concat",
    ),
    *("SEMANTIC.AUXILIARY_DIM", "16", "RESNETS.FREEZE_AT", "0", "FPN.USE_GN", "True"),
)
RESNET = "ResNet18_conv5_body"
NAMES = [f"{neck}.{RESNET}{end}" for neck in ("UFP", "PPM", "ASPP", "FPN") for end in ("", "_fpt")]


def _build(*options: str, name: str = f"UFP.{RESNET}_fpt", num_classes: int = 4) -> SemanticSegmentor:
    torch.manual_seed(0)
    cfg = load_cfg(None, [*SMALL, "MODEL.CONV_BODY", name, *options])
    model = build_model(cfg, num_classes=num_classes + 1)
    assert isinstance(model, SemanticSegmentor)
    return model


def _image(h: int, w: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def _target(h: int, w: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"classes": torch.randint(-1, 4, (h, w), dtype=torch.int16, generator=generator)}


@pytest.mark.parametrize("name", NAMES)
def test_losses_reach_every_parameter(name: str) -> None:
    model = _build("SEMANTIC.DROPOUT", "0", "MODEL.FPT.DROPBLOCK_KEEP_PROB", "1", name=name)
    losses = model([_image(40, 48, 1), _image(40, 48, 2)], [_target(40, 48, 1), _target(40, 48, 2)])
    assert list(losses) == ["loss_sem", "loss_aux"]
    sum(losses.values()).backward()
    dead = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_gives_the_images_own_size(name: str) -> None:
    model = _build(name=name).eval()
    images = [_image(33, 65), _image(8, 100), _image(1, 1), _image(64, 64)]
    with torch.no_grad():
        found = model(images, with_scores=True)
        alone = model([images[0]])
    for image, item in zip(images, found, strict=True):
        assert item["classes"].shape == image.shape[-2:]
        assert item["scores"].shape == (4, *image.shape[-2:])
        torch.testing.assert_close(item["scores"].sum(0), torch.ones(image.shape[-2:]))
        assert torch.equal(item["scores"].argmax(0), item["classes"])
    assert torch.equal(alone[0]["classes"], found[0]["classes"])
    assert "scores" not in alone[0]


def test_the_auxiliary_head_is_an_option_and_weighted() -> None:
    batch = [_image(40, 48)], [_target(40, 48)]
    options = ("SEMANTIC.DROPOUT", "0", "MODEL.FPT.DROPBLOCK_KEEP_PROB", "1")
    with torch.no_grad():
        first = _build(*options)(*batch)["loss_aux"]
        double = _build(*options, "SEMANTIC.AUXILIARY_WEIGHT", "0.8")(*batch)["loss_aux"]
        assert list(_build(*options, "SEMANTIC.AUXILIARY_WEIGHT", "0")(*batch)) == ["loss_sem"]
    assert double.item() == pytest.approx(2 * first.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "strides"),
    [
        (("RESNETS.RES4_DILATION", "1", "RESNETS.RES5_DILATION", "2"), (4, 8, 16, 16)),
        (("RESNETS.MULTI_GRID", "(1, 2)"), (4, 8, 8, 8)),
        (("RESNETS.DEEP_STEM", "True"), (4, 8, 8, 8)),
        (("RESNETS.USE_SYNC_BN", "True", "SEMANTIC.NORM", "SyncBN", "MODEL.FPT.NORM", "SyncBN"), (4, 8, 8, 8)),
    ],
)
def test_backbones(options: tuple[str, ...], strides: tuple[int, ...]) -> None:
    model = _build(*options)
    assert model.backbone.strides == strides
    maps = model.backbone(torch.rand(1, 3, 64, 96))
    assert [64 // item.shape[2] for item in maps.values()] == list(strides)
    sum(model([_image(40, 48)], [_target(40, 48)]).values()).backward()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (None, "needs targets"),
        ([], "1 images and 0 targets"),
        ([{}], "needs classes of shape"),
        ([{"classes": torch.zeros(8, 9, dtype=torch.int16)}], "needs classes of shape"),
        ([{"classes": torch.full((40, 48), 4)}], "class 4, expected 0 to 3"),
        ([{"classes": torch.full((40, 48), -2)}], "class -2"),
    ],
)
def test_wrong_targets(targets: list[dict[str, Tensor]] | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _build()([_image(40, 48)], targets)


def test_wrong_options() -> None:
    with pytest.raises(UserError, match="pyramid of one resolution"):
        _build("MODEL.TYPE", "detector")
    with pytest.raises(UserError, match="CLASS_WEIGHTS has 2 numbers, but there are 4"):
        _build("SEMANTIC.CLASS_WEIGHTS", "(1, 2)")
    with pytest.raises(UserError, match="res5 has 2 blocks"):
        _build("RESNETS.MULTI_GRID", "(1, 2, 4)")
    for key, value in (
        ("CROP_SIZE", "(1000,)"),
        ("WINDOW", "(100,)"),
        ("SCALE_RANGE", "(2, 1)"),
        ("UFP_KERNELS", "(2,)"),
    ):
        with pytest.raises(UserError, match=f"SEMANTIC.{key}"):
            load_cfg(None, [f"SEMANTIC.{key}", value])
    with pytest.raises(UserError, match="one kind of normalisation"):
        load_cfg(None, ["RESNETS.USE_GN", "True", "RESNETS.USE_SYNC_BN", "True"])
