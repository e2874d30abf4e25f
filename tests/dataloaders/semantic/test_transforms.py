"""Scaling, cutting and mirroring an image with its map of classes."""

from __future__ import annotations

import numpy as np

from fpt.dataloaders.semantic.transforms import ScaleCropFlip, flip_classes

ORDER = np.array([0, 2, 1, 3], np.int16)


def _pair(h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red channel is ten times the class, in blocks."""
    rng = np.random.default_rng(0)
    classes = np.kron(rng.integers(0, 4, (h // 8, w // 8)), np.ones((8, 8), int)).astype(np.int16)
    image = np.repeat((classes * 10)[..., None], 3, axis=2).astype(np.uint8)
    return image, classes


def test_image_and_classes_stay_together_and_the_seed_decides() -> None:
    image, classes = _pair(64, 96)
    transform = ScaleCropFlip(crop_hw=(40, 48))
    for seed in range(5):
        cut, labels = transform(image, classes, seed=seed, flip_order=ORDER)
        assert cut.shape == (40, 48, 3)
        assert labels.shape == (40, 48)
        assert np.array_equal(cut[..., 0], labels * 10)
    again = transform(image, classes, seed=4, flip_order=ORDER)[0]
    assert np.array_equal(again, cut)
    parts = {transform(image, classes, seed=seed, flip_order=ORDER)[1].tobytes() for seed in range(8)}
    assert len(parts) > 4


def test_small_images_are_filled_up_and_nothing_counts_there() -> None:
    image, classes = _pair(16, 24)
    cut, labels = ScaleCropFlip(crop_hw=(32, 40), fill=(1, 2, 3))(image, classes, seed=0, flip_order=ORDER)
    assert np.array_equal(labels[:16, :24], classes)
    assert (labels[16:] == -1).all()
    assert (labels[:, 24:] == -1).all()
    assert cut[20, 30].tolist() == [1, 2, 3]


def test_mirroring_exchanges_left_and_right() -> None:
    image, classes = _pair(32, 32)
    classes[0, :3] = -1
    cut, labels = ScaleCropFlip(crop_hw=(32, 32), flip_probability=1.0)(image, classes, seed=1, flip_order=ORDER)
    expected = classes[:, ::-1].copy()
    expected[classes[:, ::-1] == 1], expected[classes[:, ::-1] == 2] = 2, 1
    assert np.array_equal(labels, expected)
    assert np.array_equal(cut, image[:, ::-1])
    assert flip_classes(np.array([[-1, 1, 3]], np.int16), ORDER).tolist() == [[3, 2, -1]]


def test_scales_lie_in_their_range() -> None:
    image, classes = _pair(64, 64)
    sizes = set()
    for seed in range(30):
        labels = ScaleCropFlip(crop_hw=(128, 128), scale_range=(0.5, 2.0))(image, classes, seed=seed, flip_order=ORDER)[
            1
        ]
        sizes.add(int((labels[0] >= 0).sum()))
    assert min(sizes) >= 32
    assert max(sizes) <= 128
    assert max(sizes) - min(sizes) > 60


def test_one_class_does_not_fill_a_part() -> None:
    classes = np.zeros((64, 64), np.int16)
    classes[:, 48:] = 1
    image = np.zeros((64, 64, 3), np.uint8)
    shares = {}
    for limit in (1.0, 0.75):
        transform = ScaleCropFlip(crop_hw=(24, 24), max_share=limit)
        labels = [transform(image, classes, seed=seed, flip_order=ORDER)[1] for seed in range(40)]
        shares[limit] = np.mean([(item == 0).mean() > 0.75 for item in labels])
    assert shares[1.0] > 0.5
    assert shares[0.75] < 0.25


def test_colours_and_blur_leave_the_classes_alone() -> None:
    image, classes = _pair(32, 32)
    plain = ScaleCropFlip(crop_hw=(32, 32))(image, classes, seed=0, flip_order=ORDER)
    changed = ScaleCropFlip(crop_hw=(32, 32), jitter=0.4, blur=1.0)(image, classes, seed=0, flip_order=ORDER)
    assert np.array_equal(plain[1], changed[1])
    assert not np.array_equal(plain[0], changed[0])
