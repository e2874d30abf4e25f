"""A loss that is exactly 0 for many batches is said once."""

from __future__ import annotations

import pytest

from fpt.engine.zero_losses import ZeroLosses


def test_a_warning_for_each_loss_once(caplog: pytest.LogCaptureFixture) -> None:
    losses = ZeroLosses()
    for number in range(120):
        losses.note({"loss_cls": 0.5, "loss_mask": 0.0, "loss_bbox": float(number == 60)})
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "loss_mask has been exactly 0 for 50 batches",
        "loss_bbox has been exactly 0 for 50 batches",
        "loss_bbox has been exactly 0 for 50 batches",
    ]


def test_one_batch_without_zero_starts_anew(caplog: pytest.LogCaptureFixture) -> None:
    losses = ZeroLosses(many=3)
    for value in (0.0, 0.0, 1e-30, 0.0, 0.0):
        losses.note({"loss_mask": value})
    assert not caplog.records
