"""A configuration made ready for the computer and for a batch size."""

from __future__ import annotations

import logging

import pytest

from fpt.core.config import get_cfg
from fpt.run import adapt
from fpt.run.adapt import adapt_to_batch, resolve_config
from fpt.run.options import RunOptions
from fpt.utils.errors import UserError


def test_device_and_workers_are_those_of_the_computer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fpt")
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    cfg = get_cfg()
    resolved = resolve_config(cfg)
    assert (resolved.DEVICE in ("cpu", "cuda"), resolved.DATA_LOADER.NUM_THREADS) == (True, 2)
    assert resolved.is_frozen
    assert (cfg.DEVICE, cfg.DATA_LOADER.NUM_THREADS, cfg.is_frozen) == ("auto", 4, False)
    assert "DATA_LOADER.NUM_THREADS: 4 -> 2" in caplog.text
    assert resolve_config(resolved).to_dict() == resolved.to_dict()


def test_schedule_follows_the_batch_but_for_what_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fpt")
    cfg = get_cfg()
    cfg.NUM_GPUS, cfg.TRAIN.IMS_PER_BATCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER = 8, 2, 0.16, 100
    cfg.DEVICE = "cpu"
    adapted = adapt_to_batch(cfg, RunOptions(batch_size=4))
    assert (adapted.NUM_GPUS, adapted.TRAIN.IMS_PER_BATCH) == (1, 4)
    assert adapted.SOLVER.BASE_LR == pytest.approx(0.04)
    assert adapted.SOLVER.MAX_ITER == 400
    assert "adapted SOLVER.MAX_ITER: 100 -> 400" in caplog.text
    kept = adapt_to_batch(cfg, RunOptions(batch_size=4, keep=frozenset({"SOLVER.MAX_ITER"})))
    assert kept.SOLVER.MAX_ITER == 100


def test_devices_that_cannot_share_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapt, "count_devices", lambda cfg: 3)
    with pytest.raises(UserError, match=r"--bs 4 can't be shared equally by 3 devices; give a multiple of 3"):
        adapt_to_batch(get_cfg(), RunOptions(batch_size=4))
