"""Images that cannot be loaded are replaced by others, always by the same ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from fpt.dataloaders.coco import allowed_bad
from fpt.dataloaders.collate import Batch
from fpt.dataloaders.loader import ImageLoader
from fpt.dataloaders.replacement import ReplacingImages
from fpt.dataloaders.samplers import TrainBatchSampler


@pytest.mark.parametrize(
    ("share", "num_images", "expected"),
    [(0.01, 118_287, 1182), (0.01, 50, 1), (0.01, 2, 1), (0.01, 1, 0), (0.0, 1000, 0), (1.0, 10, 9), (0.5, 3, 1)],
)
def test_allowed_number(share: float, num_images: int, expected: int):
    assert allowed_bad(share, num_images) == expected


def _spoil(coco_folder, *numbers: int) -> None:
    for number in numbers:
        (coco_folder.image_dir / f"{number}.png").write_bytes(b"")


def _batches(coco_folder, count: int, *, num_workers: int = 0, start: int = 0, max_bad: int = 2) -> list[Batch]:
    dataset = ReplacingImages([coco_folder.open(with_masks=True, flip=0.5)], max_bad=max_bad)
    sampler = TrainBatchSampler(is_wide=np.zeros(3, bool), batch_size=2, seed=3, start_batch=start)
    return list(itertools.islice(ImageLoader(dataset, batch_sampler=sampler, num_workers=num_workers), count))


def _assert_same(first: list[Batch], second: list[Batch]) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.image_ids == other.image_ids
        assert one.bad_samples == other.bad_samples
        assert all(torch.equal(a, b) for a, b in zip(one.images, other.images, strict=True))
        for a, b in zip(one.targets or [], other.targets or [], strict=True):
            assert all(torch.equal(a[key], b[key]) for key in a)


def test_bad_image_is_replaced_and_described(coco_folder):
    good = _batches(coco_folder, 9)
    _spoil(coco_folder, 1)
    batches = _batches(coco_folder, 9)
    assert {image_id for batch in batches for image_id in batch.image_ids} == {10, 12}
    assert all(len(batch) == 2 for batch in batches)
    for before, after in zip(good, batches, strict=True):
        for a, b, image, expected in zip(before.image_ids, after.image_ids, after.images, before.images, strict=True):
            assert a == 11 or (a == b and torch.equal(image, expected))
    samples = [sample for batch in batches for sample in batch.bad_samples]
    assert len(samples) == 6  # once an epoch
    path = str(coco_folder.image_dir / "1.png")
    assert {(s.dataset, s.file, s.image_id, s.reason) for s in samples} == {("tiny", path, 11, "the file is empty")}


def test_replacements_depend_on_neither_workers_nor_the_start(coco_folder):
    _spoil(coco_folder, 1)
    batches = _batches(coco_folder, 9)
    _assert_same(batches, _batches(coco_folder, 9, num_workers=2))
    _assert_same(batches[5:], _batches(coco_folder, 4, start=5))


def test_replacement_that_is_bad_too_is_listed(coco_folder):
    _spoil(coco_folder, 1, 2)
    batches = _batches(coco_folder, 9)
    assert {image_id for batch in batches for image_id in batch.image_ids} == {10}
    assert {sample.image_id for batch in batches for sample in batch.bad_samples} == {11, 12}


def test_batch_falls_short_where_too_many_are_bad(coco_folder):
    _spoil(coco_folder, 0, 1, 2)
    batch = _batches(coco_folder, 1)[0]
    assert len(batch) == 0
    assert {sample.image_id for sample in batch.bad_samples} == {10, 11, 12}
    batch = _batches(coco_folder, 1, max_bad=0)[0]
    assert (len(batch), len(batch.bad_samples)) == (0, 2)


def test_key_without_seed(coco_folder):
    _spoil(coco_folder, 0)
    dataset = ReplacingImages([coco_folder.open()], max_bad=1)
    sample = dataset.__getitems__([0])[0]
    assert sample["image_id"] in (11, 12)
    assert sample["bad_samples"][0].image_id == 10
