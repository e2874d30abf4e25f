"""Images that cannot be loaded while training: others take their places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fpt.dataloaders.coco import Key, Sample
from fpt.dataloaders.concat import AnyDataset, ConcatImages
from fpt.utils.errors import UserError


@dataclass(frozen=True)
class BadSample:
    """An image that could not be loaded.

    Attributes:
        dataset: name of its data set.
        file: path of the image.
        image_id: its id in the annotation file.
        reason: what is wrong with it.
    """

    dataset: str
    file: str
    image_id: int
    reason: str


class ReplacingImages(ConcatImages):
    """Data sets for training: where an image cannot be loaded another one, drawn from the sample's seed, is taken.

    So a sample is a function of its key and of the files alone, whatever the number of workers.

    Args:
        datasets: one or more with the same class names in the same order.
        max_bad: images that may be bad; a sample for which more were found has no image.
    """

    def __init__(self, datasets: Sequence[AnyDataset], *, max_bad: int) -> None:
        super().__init__(datasets)
        self.max_bad = max_bad

    def __getitems__(self, keys: list[Key]) -> list[Sample]:  # type: ignore[override]
        """Samples; ``bad_samples`` of one lists the images that failed before the one that it holds, if any did."""
        return [self._load(key) for key in keys]

    def _load(self, key: Key) -> Sample:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        bad: list[BadSample] = []
        for candidate in self._candidates(index, seed):
            try:
                sample = self[(candidate, seed) if isinstance(key, tuple) else candidate]
            except UserError as error:
                bad.append(self._describe(candidate, error))
                if len(bad) > self.max_bad:
                    break
            else:
                return {**sample, "bad_samples": bad} if bad else sample
        return {"bad_samples": bad}

    def _candidates(self, index: int, seed: int) -> Iterator[int]:
        """The image that is asked for, then all others in an order of the seed."""
        yield index
        order = np.random.default_rng((seed, index)).permutation(len(self))
        yield from (candidate for candidate in order.tolist() if candidate != index)

    def _describe(self, index: int, error: UserError) -> BadSample:
        dataset, inner = self.locate(index)
        path = str(dataset.image_path(inner))
        return BadSample(dataset.name, path, dataset.image_id(inner), str(error).removeprefix(f"{path}: "))
