"""Progress line, metrics.jsonl."""

import json
import logging
import resource
from pathlib import Path

import pytest

from fpt.engine.writers import JsonlWriter, ProgressWriter, read_records

RECORD = {
    "step": 20.0,
    "lr": 0.01,
    "loss_cls": 1.0,
    "loss": 1.5,
    "seconds_per_step": 0.25,
    "data_seconds": 0.01,
    "eta_seconds": 3700.0,
    "memory_mib": 512.0,
}


def test_progress_line(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("fpt"), "propagate", True)
    with caplog.at_level(logging.INFO, "fpt"):
        ProgressWriter(max_iter=100)(RECORD)
    assert caplog.messages == [
        "step 20/100 | loss 1.5000 loss_cls 1.0000 | lr 0.01 | 0.250 s/step | data 0.010 s | memory 512 MiB | "
        "ETA 1:01:40"
    ]


def test_jsonl_of_a_new_run_starts_empty(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5}\n')
    JsonlWriter(path)(RECORD)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [RECORD]


def test_jsonl_of_a_resumed_run_keeps_the_steps_before(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5}\n{"step": 10}\n{"step": 15}\n{"st')
    JsonlWriter(path, start_step=10)(RECORD)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [5, 10, 20]


def test_jsonl_drops_what_a_stopped_run_wrote_beside_the_interval(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in (1, 5, 10, 12)))
    JsonlWriter(path, start_step=12, interval=5)(RECORD)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 5, 10, 20]


def test_jsonl_keeps_what_another_interval_wrote(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in (1, 2, 4, 6)))
    JsonlWriter(path, start_step=10, interval=5)(RECORD)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 4, 6, 20]


def test_full_disk_is_reported_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    writer = JsonlWriter(tmp_path / "metrics.jsonl")
    with monkeypatch.context() as patch, caplog.at_level("ERROR", logger="fpt"):
        patch.setattr(Path, "open", full)
        writer(RECORD)
        writer(RECORD)
    assert caplog.text.count("cannot be written, its records are lost until it can: [Errno 28] No space left") == 1
    writer(RECORD)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_what_a_full_disk_has_cut_off_does_not_spoil_the_next_record(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    writer = JsonlWriter(path)
    writer({"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))  # bytes of a file
    try:
        writer({"step": 2, "loss": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    writer({"step": 3})
    assert path.read_text() == '{"step": 1}\n{"step": 3}\n'


def test_records_are_read_but_for_one_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "eval.jsonl"
    assert read_records(path) == []
    path.write_text('{"step": 5, "AP": 0.5}\n{"step": 10, "A')
    assert read_records(path) == [{"step": 5, "AP": 0.5}]
