"""The memory of a long training's loader stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fpt.dataloaders.bad_samples import ReplacingPictures
from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.loader import PictureLoader
from fpt.dataloaders.samplers import TrainBatchSampler
from fpt.dataloaders.shapes import generate_shapes
from fpt.dataloaders.transforms import ResizeAndFlip
from fpt.engine.bad_samples import BadSampleReport

NUM_BATCHES, WARM_UP, INTERVAL = 2000, 500, 100
MAX_GROWTH_MIB = 4.0


def _pss_mib(process: int | str) -> float:
    """Memory of a process, what it shares counted in parts."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no Pss")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="the system doesn't tell shared memory")
def test_four_workers_over_two_thousand_batches(tmp_path: Path):
    """Pictures, masks, and one picture that is replaced each time it comes up."""
    generate_shapes(tmp_path, num_train=50, num_val=0, size=256, seed=0)
    bad = tmp_path / "images" / "train" / "000007.jpg"
    bad.write_bytes(bad.read_bytes()[:-2])
    part = CocoDataset(
        name="shapes",
        ann_file=tmp_path / "annotations" / "train.json",
        image_dir=tmp_path / "images" / "train",
        transform=ResizeAndFlip((256, 320, 384), 640, 0.5),
        with_masks=True,
    )
    dataset = ReplacingPictures([part], max_bad=1)
    sampler = TrainBatchSampler(is_wide=np.asarray(dataset.is_wide), batch_size=2, seed=0)
    loader = PictureLoader(dataset, batch_sampler=sampler, num_workers=4, timeout=100)
    report = BadSampleReport(tmp_path / "bad_samples.jsonl", dataset)
    sizes = []
    for number, _ in zip(range(1, NUM_BATCHES + 1), report.watch(loader), strict=False):
        if number % INTERVAL == 0:
            sizes.append([_pss_mib(process) for process in ("self", *(worker.pid for worker in loader._workers))])
    table = np.array(sizes)
    warm = table[WARM_UP // INTERVAL - 1 :]
    assert len(table) == NUM_BATCHES // INTERVAL
    assert table.shape[1] == 5
    growth = warm[-3:].sum(axis=1).mean() - warm[:3].sum(axis=1).mean()
    assert growth < MAX_GROWTH_MIB, f"MiB of each process:\n{table.round(1)}"
