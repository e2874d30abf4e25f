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

from fpt.modeling.roi_heads.keypoints import decode_keypoints

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
            _compare_points(expected, {key: value[index] for key, value in found.items()})
        if "masks" in expected:
            same = (expected["masks"] >= 0.5) == (found["masks"][index] >= 0.5)
            equal, pixels = equal + same.sum().item(), pixels + same.numel()
        count += size
    return count, equal / max(pixels, 1)


def _compare_points(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Equal boxes and heat maps give points within 0.05 pixels; so do those that differ by rounding, but for two cases.

    The heat map of a box is enlarged to its sides rounded up: 127.99995 and 128.00003 make 128 and 129 rows. And two
    peaks may differ by less than the maps do.
    """
    decoded = decode_keypoints(expected["heat_maps"], expected["boxes"])
    assert _farthest(decoded, expected["keypoints"]).max() < 0.05
    differences = (expected["heat_maps"] - found["heat_maps"]).abs()
    assert differences.max() < 1e-3 * expected["heat_maps"].abs().max()
    for row, point in (_farthest(expected["keypoints"], found["keypoints"]) >= 0.05).nonzero().tolist():
        size, own_size = (_size_of(model["boxes"][row]) for model in (expected, found))
        if size == own_size:
            box, heat_map = found["boxes"][row], found["heat_maps"][row, point]
            fine = F.interpolate(heat_map[None, None], size=size[::-1], mode="bicubic")[0, 0]
            place = (expected["keypoints"][row, point, :2] - box[:2]) * torch.tensor(size) / (box[2:] - box[:2])
            x, y = (int(value) for value in place.floor())
            assert (
                fine.max() - fine[y, x] < 4 * differences[row, point].max()
            )  # two maps, and weights of up to 1.6 in sum


def _farthest(points: Tensor, others: Tensor) -> Tensor:
    """Larger one of the distances in x and y of points [D, K, 3]: [D, K]."""
    return (points - others)[..., :2].abs().amax(dim=-1)


def _size_of(box: Tensor) -> tuple[int, ...]:
    """Width and height that the heat map of a box is enlarged to."""
    return tuple(math.ceil(side) for side in (box[2:] - box[:2]).clamp(min=1).tolist())


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
