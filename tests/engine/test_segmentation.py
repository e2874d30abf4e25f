"""Windows, scales and mirroring of inference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpt.core.config import load_cfg
from fpt.engine.segmentation import SegmentationSettings, segment_image, window_starts
from fpt.modeling.build import build_model
from fpt.modeling.semantic.segmentor import SemanticSegmentor

PLAIN = SegmentationSettings(flip_order=(0, 1, 3, 2))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    options = ("MODEL.TYPE", "semantic_segmentor", "MODEL.CONV_BODY", "UFP.ResNet18_conv5_body_fpt", "FPN.DIM", "16")
    small = ("RESNETS.BASE_CHANNELS", "16", "SEMANTIC.HEAD_DIM", "16", "MODEL.FPT.LOCAL_WINDOW", "3")
    return build_model(load_cfg(None, [*options, *small]), num_classes=5).eval()


class Local(SemanticSegmentor):
    """Logits of a pixel from its own colour alone, so that windows cannot differ."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)) / 50)

    def coarse_logits(self, images: Tensor) -> Tensor:
        return torch.einsum("ck,nkhw->nchw", self.weight, images.float())


def _image(h: int, w: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 3, 5, 6, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, (h, w), mode="bilinear")[0].to(torch.uint8)


def test_a_window_that_covers_the_image_is_the_image(model: SemanticSegmentor) -> None:
    image = _image(64, 96)
    classes, scores = segment_image(model, image, PLAIN, size_hw=(64, 96))
    for window in ((64, 96), (100, 200)):
        found = segment_image(model, image, replace(PLAIN, window_hw=window), size_hw=(64, 96))
        assert torch.equal(found[0], classes)
        torch.testing.assert_close(found[1], scores, atol=1e-6, rtol=0)
    (expected,) = model([image], with_scores=True)
    assert torch.equal(expected["classes"], classes.long())
    torch.testing.assert_close(expected["scores"].amax(0), scores, atol=1e-6, rtol=0)


def test_windows_agree_where_a_pixel_sees_itself_alone() -> None:
    image = _image(61, 97)
    classes, scores = segment_image(Local(), image, PLAIN, size_hw=(61, 97))
    found = segment_image(Local(), image, replace(PLAIN, window_hw=(24, 40)), size_hw=(61, 97))
    assert torch.equal(found[0], classes)
    torch.testing.assert_close(found[1], scores, atol=1e-6, rtol=0)
    assert len(classes.unique()) > 2


def test_the_mirrored_image_exchanges_left_and_right() -> None:
    """A model that sees sides: class 2 (left) where the pixel is in the left half, class 3 (right) else."""

    class Sides(Local):
        def coarse_logits(self, images: Tensor) -> Tensor:
            w = images.shape[-1]
            logits = torch.zeros(len(images), 4, *images.shape[-2:])
            logits[:, 2, :, : w // 2], logits[:, 3, :, w // 2 :] = 5, 5
            return logits

    classes, scores = segment_image(Sides(), _image(8, 20), replace(PLAIN, is_mirrored=True), size_hw=(8, 20))
    assert classes[:, :10].unique().tolist() == [2]
    assert classes[:, 10:].unique().tolist() == [3]
    alone = segment_image(Sides(), _image(8, 20), PLAIN, size_hw=(8, 20))[1]
    torch.testing.assert_close(scores, alone)


def test_scales_are_averaged_and_the_size_is_the_originals(model: SemanticSegmentor) -> None:
    image = _image(64, 96)
    settings = replace(PLAIN, scales=(0.5, 1.0, 1.5))
    classes, scores = segment_image(model, image, settings, size_hw=(51, 77))
    assert classes.shape == scores.shape == (51, 77)
    assert classes.dtype == torch.uint8
    assert 0.25 <= scores.min()
    assert scores.max() <= 1


def test_probabilities_are_those_of_whole_maps_averaged(model: SemanticSegmentor) -> None:
    image, order, size_hw = _image(64, 96), [0, 1, 3, 2], (51, 77)
    settings = replace(PLAIN, scales=(0.5, 1.0), is_mirrored=True, flip_order=order)
    classes, scores = segment_image(model, image, settings, size_hw=size_hw)
    total = torch.zeros(4, *size_hw)
    with torch.no_grad():
        for view in (F.interpolate(image[None].float(), (32, 48), mode="bilinear", antialias=True)[0], image):
            straight, mirrored = model.logits(view[None]), model.logits(view.flip(-1)[None]).flip(-1)[:, order]
            for logits in (straight, mirrored):
                total += F.interpolate(logits, size_hw, mode="bilinear").softmax(dim=1)[0] / 4
    torch.testing.assert_close(scores, total.amax(0), atol=1e-5, rtol=0)
    assert (total.gather(0, classes.long()[None])[0] >= total.amax(0) - 1e-5).all()


@pytest.mark.parametrize("settings", [PLAIN, replace(PLAIN, window_hw=(200, 300)), replace(PLAIN, is_mirrored=True)])
def test_no_map_of_all_classes_at_the_images_size_exists(settings: SegmentationSettings, largest_tensor: Any) -> None:
    class Strided(Local):
        def coarse_logits(self, images: Tensor) -> Tensor:
            return super().coarse_logits(images[..., ::8, ::8])

    with largest_tensor as largest:
        segment_image(Strided(), _image(512, 768), settings, size_hw=(512, 768))
    assert 0 < largest.num_elements <= 3 * 512 * 768 < 4 * 512 * 768


@pytest.mark.parametrize(("length", "window"), [(10, 10), (5, 10), (11, 10), (100, 30), (769, 321)])
def test_windows_cover_everything_and_overlap(length: int, window: int) -> None:
    starts = window_starts(length, window, 1 / 3)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - window)
    for first, second in zip(starts, starts[1:], strict=False):
        assert 0 < second - first <= window * 2 / 3 + 1
