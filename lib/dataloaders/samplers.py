"""Which images make up which batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class TrainBatchSampler(Sampler[list[tuple[int, int]]]):
    """Endless batches of keys (index, seed of the sample); every image once an epoch, shuffled anew each time.

    Batches hold only upright or only wide images where groups are given. What is left of both groups at the end of
    an epoch goes into mixed batches, and the last few lead the first batch of the next epoch: nothing is lost.
    Batch k is a function of (seed, k) alone, so a run goes on at any batch without loading what was before it. Each
    process gets its slice of every batch: the images and seeds of a batch don't depend on how many share it.

    Args:
        is_wide: bool [number of images]; all equal = no grouping.
        batch_size: images in a batch, over all processes; a multiple of world_size.
        seed: seed of order and samples.
        start_batch: number of the first batch.
        rank: number of this process among world_size.
        world_size: number of processes.
    """

    def __init__(
        self,
        *,
        is_wide: np.ndarray,
        batch_size: int,
        seed: int,
        start_batch: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not len(is_wide):
            raise ValueError("no images to sample from")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
        if batch_size % world_size:
            raise ValueError(f"batch_size is {batch_size}; it must be a multiple of world_size, {world_size}")
        self._is_wide = np.asarray(is_wide, dtype=bool).tolist()
        self._batch_size = batch_size
        self._seed = seed
        self._start = start_batch
        share = batch_size // world_size
        self._own = slice(rank * share, (rank + 1) * share)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        number, batches = self._batches_from_epoch_before()
        for batch in batches:
            if number >= self._start:
                seeds = np.random.SeedSequence((self._seed, number)).generate_state(len(batch), np.uint64)
                yield list(zip(batch, seeds.tolist(), strict=True))[self._own]
            number += 1

    def _batches_from_epoch_before(self) -> tuple[int, Iterator[list[int]]]:
        """An epoch that starts early enough for the batches from ``start`` to be complete, and its first number.

        After e epochs of n images, floor(e n / b) batches are out and (e n) mod b images are carried over; which
        ones is unknown here (-1), but they leave with the first batch that fills.
        """
        num_images = len(self._is_wide)
        epoch = max(0, (self._start - 1) * self._batch_size // num_images - 1)
        seen = epoch * num_images
        number, carried = seen // self._batch_size, [-1] * (seen % self._batch_size)
        return number, self._batches(epoch, carried)

    def _batches(self, epoch: int, carried: list[int]) -> Iterator[list[int]]:
        while True:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._is_wide)).tolist()
            if carried:
                num_missing = self._batch_size - len(carried)
                carried, order = carried + order[:num_missing], order[num_missing:]
                if len(carried) == self._batch_size:
                    yield carried
                    carried = []
            groups: dict[bool, list[int]] = {False: [], True: []}
            for index in order:
                group = groups[self._is_wide[index]]
                group.append(index)
                if len(group) == self._batch_size:
                    yield list(group)
                    group.clear()
            rest = groups[False] + groups[True]
            if len(rest) >= self._batch_size:
                yield rest[: self._batch_size]
                rest = rest[self._batch_size :]
            carried = carried + rest
            epoch += 1


class RangeBatchSampler(Sampler[list[int]]):
    """Batches of the indices start .. end - 1 in order.

    Args:
        start: first index.
        end: index after the last.
        batch_size: images in a batch; the last may hold fewer.
    """

    def __init__(self, *, start: int, end: int, batch_size: int) -> None:
        self._indices = range(start, end)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._indices) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for i in range(0, len(self._indices), self._batch_size):
            yield list(self._indices[i : i + self._batch_size])
