"""Leaf helpers."""

import gc
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fpt.utils.environment import describe_environment, git_revision
from fpt.utils.files import write_atomic, write_json
from fpt.utils.logging import add_log_file, setup_logging
from fpt.utils.memory import frozen_objects, memory_mib
from fpt.utils.seeding import preserve_rng_state, seed_everything
from fpt.utils.timer import Stopwatch, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05"), (93784, "1 day, 2:03:04"), (-3, "0:00:00")],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_stopwatch_sums_and_forgets() -> None:
    watch = Stopwatch()
    for _ in range(2):
        with watch.measure("a"):
            pass
    assert watch.take("a") > 0
    assert watch.take("a") == 0


def test_memory_of_this_process_is_plausible() -> None:
    assert 20 < memory_mib(torch.device("cpu")) < 1e6


def test_frozen_objects_are_left_alone_until_the_end_of_the_block() -> None:
    with frozen_objects():
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0


def test_seed_fixes_every_generator_and_the_state_comes_back() -> None:
    def draw() -> tuple[float, float]:
        return float(torch.rand(())), float(np.random.rand())

    seed_everything(5)
    first = draw()
    seed_everything(5)
    with preserve_rng_state():
        assert draw() == first
    assert draw() == first


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fail(file: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "a", fail)
    assert list(tmp_path.iterdir()) == []


def test_json_holds_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "b" / "a.json", {"x": [1, None]})
    assert json.loads((tmp_path / "b" / "a.json").read_text()) == {"x": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))


def test_environment_names_versions_and_command() -> None:
    environment = describe_environment(["fpt-train", "--cfg", "a b.yaml"])
    assert environment["command"] == "fpt-train --cfg 'a b.yaml'"
    assert environment["packages"]["torch"]
    json.dumps(environment)


def test_no_revision_outside_a_checkout(tmp_path: Path) -> None:
    assert git_revision(tmp_path) is None


def test_log_file_gets_the_messages_before_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = setup_logging()
    logger.info("first")
    add_log_file(tmp_path / "run" / "log.txt")
    logger.info("second")
    setup_logging()
    for text in ((tmp_path / "run" / "log.txt").read_text(), capsys.readouterr().out):
        assert [line.split(" ", 1)[1] for line in text.splitlines()] == ["INFO first", "INFO second"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_log_file_on_a_full_disk_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    logger = setup_logging()
    add_log_file(Path("/dev/full"))
    logger.info("first")
    logger.info("second")
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2
    assert shown.err == "/dev/full cannot be written for now: [Errno 28] No space left on device\n"
