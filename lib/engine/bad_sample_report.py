"""The report of images that could not be loaded while training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fpt.engine.writers import JsonlWriter, read_records
from fpt.utils.distributed import from_main, gather_everywhere, is_main, max_over_processes
from fpt.utils.errors import UserError

if TYPE_CHECKING:
    from fpt.dataloaders.collate import Batch
    from fpt.dataloaders.replacement import BadSample, ReplacingImages

_LOGGER = logging.getLogger("fpt")

_Name = tuple[str, int]


class BadSampleReport:
    """Lists each bad image once, of all processes, and ends the training when there are too many.

    Args:
        path: the report, one json object an image; it is made for the first one, by the main process.
        dataset: what is trained on, with the number of images that may be bad.
        start_step: what a run that goes on has listed up to this step stays and counts.
    """

    def __init__(self, path: Path, dataset: ReplacingImages, *, start_step: int = 0) -> None:
        self.path = path
        self.max_bad, self.num_images = dataset.max_bad, len(dataset)
        self.start_step = start_step
        self._write: JsonlWriter | None = None
        self._known: set[_Name] = from_main(self._read_earlier)

    def watch(self, batches: Iterable[Batch], *, batches_per_step: int = 1) -> Iterator[Batch]:
        """The batches; what is bad in one is reported before it is passed on. Processes take equally many.

        Args:
            batches: those of the steps after `start_step`.
            batches_per_step: batches that one step takes.

        Raises:
            UserError: there are too many, on all processes together.
        """
        self._check()
        for number, batch in enumerate(batches):
            self._add(batch.bad_samples, step=self.start_step + number // batches_per_step + 1)
            yield batch

    def _read_earlier(self) -> set[_Name]:
        """Images that the report lists already; those of later steps are dropped from it."""
        if not self.path.is_file():
            return set()
        self._write = JsonlWriter(self.path, start_step=self.start_step)
        return {(record["dataset"], record["image_id"]) for record in read_records(self.path)}

    def _add(self, samples: Sequence[BadSample], *, step: int) -> None:
        new = [sample for sample in samples if _name(sample) not in self._known]
        if not max_over_processes(len(new)):
            return
        for part in gather_everywhere(new):
            for sample in part:
                if _name(sample) not in self._known:
                    self._known.add(_name(sample))
                    self._list(sample, step)
        self._check()

    def _check(self) -> None:
        if len(self._known) > self.max_bad:
            raise UserError(
                f"{len(self._known)} of {self.num_images} images cannot be loaded, more than the {self.max_bad} "
                f"that TRAIN.MAX_BAD_SAMPLES allows; {self.path} lists them, and fpt-check-data "
                "--read_images finds all there are"
            )

    def _list(self, sample: BadSample, step: int) -> None:
        if not is_main():
            return
        if self._write is None:
            self._write = JsonlWriter(self.path)
        self._write({"step": step, **asdict(sample)})
        _LOGGER.warning("%s: %s; another image takes its place (%s)", sample.file, sample.reason, self.path.name)


def _name(sample: BadSample) -> _Name:
    return sample.dataset, sample.image_id
