"""What torchvision's detectors and ours find in the same images, with equal weights."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from .models import NAMES, OPTIONS, found_by_ours, found_by_theirs, make_pair

PHOTOS = sorted((Path(os.environ.get("FPT_SHARED", "shared")) / "data" / "coco").rglob("*.jpg"))


def _photo(path: Path, side: int) -> Tensor:
    image = cv2.imread(str(path))[:, :, ::-1]
    h, w = image.shape[:2]
    scale = side / min(h, w)
    resized = cv2.resize(image, (round(w * scale), round(h * scale)))
    return torch.from_numpy(resized.copy()).permute(2, 0, 1).contiguous()


def _drawn(h: int, w: int, seed: int) -> Tensor:
    """Noise with something to see at every scale."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.rand(1, 3, 2**n + 1, 2**n + 1, generator=generator) for n in (1, 3, 5, 7)]
    layers = [F.interpolate(part, (h, w), mode="bilinear", align_corners=True)[0] for part in parts]
    return (sum(layers) / 4 * 255).to(torch.uint8)


def _compare(name: str, images: list[Tensor]) -> tuple[int, float]:
    """Every detection over 0.05 has its like in the other model; their number, and the equal share of mask pixels."""
    theirs, ours = make_pair(name, images[:4])
    count, equal, pixels = 0, 0.0, 0
    for image in images:
        expected, found = found_by_theirs(theirs, image), found_by_ours(ours, image)
        sides = expected["boxes"][:, 2:] - expected["boxes"][:, :2]
        is_real = (sides > 0).all(dim=1)  # RetinaNet of torchvision keeps empty boxes
        floor = max(0.05, min(expected["scores"].min().item(), found["scores"].min().item()))
        is_real &= (
            expected["scores"] > floor + 1e-4
        )  # the last may be over the threshold or the limit in one of the two
        expected = {key: value[is_real] for key, value in expected.items()}
        size = len(expected["boxes"])
        assert len(found["boxes"]) >= size
        assert (found["scores"][size:] < expected["scores"].min() + 1e-4).all()  # those that come after a limit
        distance = (expected["boxes"][:, None] - found["boxes"][None]).abs().amax(dim=-1)
        distance = distance + 1e6 * (expected["labels"][:, None] != found["labels"][None])
        nearest, index = distance.min(dim=1)
        assert nearest.max() < 0.01
        assert len(set(index.tolist())) == size
        assert (expected["scores"] - found["scores"][index]).abs().max() < 1e-4
        if "keypoints" in expected:
            _compare_points(
                expected["keypoints"], found["keypoints"][index], found["heat_maps"][index], found["boxes"][index]
            )
        if "masks" in expected:
            same = (expected["masks"] >= 0.5) == (found["masks"][index] >= 0.5)
            equal, pixels = equal + same.sum().item(), pixels + same.numel()
        count += size
    return count, equal / max(pixels, 1)


def _compare_points(expected: Tensor, found: Tensor, heat_maps: Tensor, boxes: Tensor) -> None:
    """Points are within 0.05 pixels, but for maps with two peaks that are equally high up to rounding."""
    distances = (expected - found)[..., :2].abs().amax(dim=-1)
    others = (distances >= 0.05).nonzero().tolist()
    assert len(others) <= 1e-3 * distances.numel() + 1
    for row, point in others:
        low, high = boxes[row, :2], boxes[row, 2:]
        size = [math.ceil(side) for side in (high - low).clamp(min=1).tolist()]
        fine = F.interpolate(heat_maps[row, point][None, None], size=size[::-1], mode="bicubic")[0, 0]
        place = (expected[row, point, :2] - low) * torch.tensor(size) / (high - low)
        x, y = (int(value) for value in place.floor())
        assert fine.max() - fine[y, x] < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_images_that_are_drawn(name: str) -> None:
    count, share = _compare(name, [_drawn(128, 200, 1), _drawn(161, 128, 2)])
    assert count > 100
    assert share >= 0.999 or "mask" not in name


@pytest.mark.slow
@pytest.mark.skipif(len(PHOTOS) < 50, reason="FPT_SHARED names no folder with the photos of COCO")
@pytest.mark.parametrize("name", OPTIONS)
def test_photos(name: str, record_property: Callable[[str, object], None]) -> None:
    count, share = _compare(name, [_photo(path, 320) for path in PHOTOS])
    record_property("compared", f"{name}: {count} detections, {share:.5f} of the mask pixels equal")
    assert count >= 1000
    assert share >= 0.999 or "mask" not in name
