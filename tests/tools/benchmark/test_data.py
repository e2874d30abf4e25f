"""The script that measures the data pipeline."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import data


def test_the_made_up_data_set_is_written_once_and_opens(tmp_path: Path) -> None:
    ann_file, image_dir = data.make_dataset(tmp_path, 3, 7)
    content = json.loads(ann_file.read_text())
    assert [len(content[key]) for key in ("images", "categories", "annotations")] == [3, 80, 7]
    dataset = data.open_dataset(ann_file, image_dir)
    assert (len(dataset), dataset.objects().num_learnt) == (3, 7)
    before = ann_file.stat().st_mtime_ns
    assert data.make_dataset(tmp_path, 3, 7) == (ann_file, image_dir)
    assert ann_file.stat().st_mtime_ns == before


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read as Linux tells it")
def test_memory_of_a_process_is_that_of_the_system() -> None:
    memory = data.memory_mb(os.getpid())
    assert 1 < memory["USS"] <= memory["PSS"] * 1.01
