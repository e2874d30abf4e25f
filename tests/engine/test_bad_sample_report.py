"""The report of bad images: each once, over a resume, up to the limit."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from fpt.dataloaders.collate import Batch
from fpt.dataloaders.replacement import BadSample
from fpt.engine.bad_sample_report import BadSampleReport
from fpt.utils.errors import UserError


class Images(list):
    """Stands for a data set of ten images."""

    def __init__(self, max_bad: int) -> None:
        super().__init__(range(10))
        self.max_bad = max_bad


def _bad(image_id: int) -> BadSample:
    return BadSample("tiny", f"images/{image_id}.png", image_id, "the file is empty")


def _batch(*image_ids: int) -> Batch:
    return Batch([], None, [], [], [], [_bad(image_id) for image_id in image_ids])


def _records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_image_is_listed_once_with_its_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "bad_samples.jsonl"
    report = BadSampleReport(path, Images(3), start_step=4)
    batches = [_batch(), _batch(7), _batch(7, 8), _batch(8)]
    with caplog.at_level(logging.WARNING, "fpt"):
        assert list(report.watch(batches, batches_per_step=2)) == batches
    assert [(record["step"], record["image_id"]) for record in _records(path)] == [(5, 7), (6, 8)]
    assert set(_records(path)[0]) == {"step", "dataset", "file", "image_id", "reason"}
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "images/7.png: the file is empty",
        "images/8.png: the file is empty",
    ]


def test_no_file_without_bad_images(tmp_path: Path) -> None:
    assert len(list(BadSampleReport(tmp_path / "a.jsonl", Images(1)).watch([_batch()]))) == 1
    assert not list(tmp_path.iterdir())


def test_too_many_end_the_run(tmp_path: Path) -> None:
    report = BadSampleReport(tmp_path / "a.jsonl", Images(1))
    seen = []
    with pytest.raises(
        UserError, match=r"2 of 10 images .* the 1 that TRAIN\.MAX_BAD_SAMPLES .*a\.jsonl .*fpt-check-data"
    ):
        seen.extend(report.watch([_batch(1), _batch(2), _batch()]))
    assert len(_records(tmp_path / "a.jsonl")) == 2


def test_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    list(BadSampleReport(path, Images(3)).watch([_batch(1), _batch(2)]))
    report = BadSampleReport(path, Images(2), start_step=1)
    assert [record["image_id"] for record in _records(path)] == [1]
    list(report.watch([_batch(2), _batch(1)]))
    assert [(record["step"], record["image_id"]) for record in _records(path)] == [(1, 1), (2, 2)]
    with pytest.raises(UserError, match="3 of 10"):
        list(report.watch([_batch(3)]))


def test_lower_limit_counts_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    list(BadSampleReport(path, Images(3)).watch([_batch(1, 2)]))
    with pytest.raises(UserError, match="2 of 10"):
        next(BadSampleReport(path, Images(1), start_step=1).watch([_batch(1)]))


def test_new_run_in_the_same_folder_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    list(BadSampleReport(path, Images(3)).watch([_batch(1)]))
    BadSampleReport(path, Images(3))
    assert path.read_text() == ""


def test_what_other_processes_found_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "fpt.engine.bad_sample_report"
    monkeypatch.setattr(f"{module}.max_over_processes", lambda count: max(count, 1))
    monkeypatch.setattr(f"{module}.gather_everywhere", lambda new: [new, [_bad(5)]])
    path = tmp_path / "a.jsonl"
    list(BadSampleReport(path, Images(3)).watch([_batch(), _batch(4)]))
    assert [record["image_id"] for record in _records(path)] == [5, 4]
