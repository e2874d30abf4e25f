"""Order, grouping and resuming of batches."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from fpt.dataloaders.samplers import RangeBatchSampler, TrainBatchSampler


def _batches(is_wide, count: int, **options) -> list[list[tuple[int, int]]]:
    options = {"batch_size": 4, "seed": 1, **options}
    return list(itertools.islice(TrainBatchSampler(is_wide=np.asarray(is_wide), **options), count))


WIDE = np.arange(37) % 3 > 0


@pytest.mark.parametrize("num_images", [1, 3, 4, 37])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 7])
def test_every_image_comes_once_an_epoch(num_images: int, batch_size: int):
    batches = _batches(WIDE[:num_images], 10 * num_images, batch_size=batch_size)
    assert {len(batch) for batch in batches} == {batch_size}
    indices = [index for batch in batches for index, _ in batch]
    for epoch in range(0, len(indices) - num_images + 1, num_images):
        assert sorted(indices[epoch : epoch + num_images]) == list(range(num_images))


def test_batches_are_grouped_but_for_the_ends_of_epochs():
    batches = _batches(WIDE, 370 // 4)
    mixed = [len({bool(WIDE[index]) for index, _ in batch}) == 2 for batch in batches]
    assert sum(mixed) <= 2 * 10
    ungrouped = _batches(np.zeros(37, bool), 370 // 4)
    assert sum(len({bool(WIDE[index]) for index, _ in batch}) == 2 for batch in ungrouped) > 50


@pytest.mark.parametrize(("num_images", "batch_size"), [(37, 4), (8, 4), (3, 4), (1, 3), (37, 1)])
def test_any_batch_can_be_the_first(num_images: int, batch_size: int):
    batches = _batches(WIDE[:num_images], 60, batch_size=batch_size)
    for start in range(40):
        assert _batches(WIDE[:num_images], 20, batch_size=batch_size, start_batch=start) == batches[start : start + 20]


def test_ranks_share_each_batch():
    whole = _batches(WIDE, 40)
    parts = [_batches(WIDE, 40, rank=rank, world_size=2) for rank in range(2)]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole
    assert _batches(WIDE, 5, rank=1, world_size=4, start_batch=7) == [batch[1:2] for batch in whole[7:12]]


def test_seeds_differ_between_samples_and_runs():
    batches = _batches(WIDE, 100)
    seeds = Counter(seed for batch in batches for _, seed in batch)
    assert max(seeds.values()) == 1
    assert _batches(WIDE, 100) == batches
    assert _batches(WIDE, 100, seed=2) != batches
    assert all(type(seed) is int for seed in seeds)


def test_far_start_is_quick():
    assert len(_batches(np.zeros(1000, bool), 1, start_batch=10**9)[0]) == 4


def test_wrong_arguments():
    with pytest.raises(ValueError, match="no images"):
        TrainBatchSampler(is_wide=np.zeros(0, bool), batch_size=2, seed=0)
    with pytest.raises(ValueError, match="multiple of world_size, 3"):
        TrainBatchSampler(is_wide=WIDE, batch_size=4, seed=0, world_size=3)
    with pytest.raises(ValueError, match="batch_size is 0"):
        TrainBatchSampler(is_wide=WIDE, batch_size=0, seed=0)


def test_range_in_order():
    sampler = RangeBatchSampler(start=3, end=8, batch_size=2)
    assert list(sampler) == [[3, 4], [5, 6], [7]]
    assert len(sampler) == 3
