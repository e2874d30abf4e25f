"""Progress line, metrics.jsonl, TensorBoard."""

import json
import logging
from pathlib import Path

import pytest

from fpt.engine.writers import JsonlWriter, ProgressWriter, TensorboardWriter

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


def test_tensorboard_writes_an_event_file(tmp_path: Path) -> None:
    writer = TensorboardWriter(tmp_path)
    writer(RECORD)
    writer.close()
    events = list(tmp_path.glob("events*"))
    assert len(events) == 1
    assert b"loss_cls" in events[0].read_bytes()


def test_tensorboard_of_a_resumed_run_hides_only_later_steps(tmp_path: Path) -> None:
    writer = TensorboardWriter(tmp_path, start_step=10)
    writer.close()
    assert writer.writer.purge_step == 11
