"""The checkpoints of a run: checksums, what stays on the disk, which one a run goes on from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fpt.checkpoint.manifest import file_digest
from fpt.checkpoint.store import CheckpointStore, load_newest, newest_run
from fpt.utils.errors import UserError


def make_checkpoint(step: int) -> Checkpoint:
    return Checkpoint(model={"w": torch.full((1000,), float(step))}, classes=["a"], config="", step=step)


def fill(run: Path, *steps: int, **more: int) -> CheckpointStore:
    store = CheckpointStore(run / "ckpt", **more)
    for step in steps:
        store.save(make_checkpoint(step))
    return store


def names_in(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "ckpt").glob("*.pth"))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_manifest_has_the_checksums_of_the_files(tmp_path: Path) -> None:
    store = fill(tmp_path, 5, 10)
    store.save_best(make_checkpoint(5))
    entries = json.loads((tmp_path / "ckpt" / "manifest.json").read_text())
    assert list(entries) == ["model_best.pth", "model_step5.pth", "model_step10.pth"]
    for name, entry in entries.items():
        path = tmp_path / "ckpt" / name
        assert (entry["bytes"], entry["sha256"]) == (path.stat().st_size, file_digest(path))


def test_old_ones_go_but_every_so_many_steps_and_the_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "ckpt", keep_last=2, keep_every=20)
    store.save_best(make_checkpoint(5))
    for step in range(5, 50, 5):
        store.save(make_checkpoint(step))
    steps = (20, 40, 45)
    assert names_in(tmp_path) == ["model_best.pth", *(f"model_step{step}.pth" for step in steps)]
    assert len(json.loads((tmp_path / "ckpt" / "manifest.json").read_text())) == 4


def test_temporary_ones_go_when_the_next_is_there_whoever_wrote_them(tmp_path: Path) -> None:
    store = fill(tmp_path, 10)
    store.save(make_checkpoint(13), is_temporary=True)
    assert load_newest(tmp_path)[1].step == 13
    other = CheckpointStore(tmp_path / "ckpt")  # after a crash
    other.save(make_checkpoint(17), is_temporary=True)
    assert names_in(tmp_path) == ["model_step10.pth", "model_step17.pth"]
    other.save(make_checkpoint(17))
    other.save(make_checkpoint(20))
    assert names_in(tmp_path) == ["model_step10.pth", "model_step17.pth", "model_step20.pth"]


def test_newest_is_that_of_the_most_steps(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume: .* holds no checkpoint"):
        load_newest(tmp_path)
    fill(tmp_path, 10, 9)
    path, checkpoint = load_newest(tmp_path)
    assert (path.name, checkpoint.step) == ("model_step10.pth", 10)


@pytest.mark.parametrize(("step", "name"), [(11, "model_best.pth"), (10, "model_step10.pth"), (9, "model_step10.pth")])
def test_the_best_counts_by_its_step(tmp_path: Path, step: int, name: str) -> None:
    fill(tmp_path, 10).save_best(make_checkpoint(step))
    assert load_newest(tmp_path)[0].name == name


def test_the_best_of_a_future_that_was_given_up_is_renamed_too(tmp_path: Path) -> None:
    store = fill(tmp_path, 2, 4)
    store.save_best(make_checkpoint(6))
    assert store.supersede(after=2)
    assert load_newest(tmp_path)[1].step == 2
    assert names_in(tmp_path) == ["model_step2.pth", "superseded_best.pth", "superseded_step4.pth"]
    store.save_best(make_checkpoint(2))
    assert not store.supersede(after=2)
    assert "model_best.pth" in names_in(tmp_path)


@pytest.mark.parametrize("has_manifest", [True, False])
def test_the_best_is_the_last_resort(tmp_path: Path, has_manifest: bool) -> None:
    fill(tmp_path, 10, 12).save_best(make_checkpoint(6))
    if not has_manifest:
        (tmp_path / "ckpt" / "manifest.json").unlink()
    for step in (10, 12):
        os.truncate(tmp_path / "ckpt" / f"model_step{step}.pth", 100)
    assert load_newest(tmp_path)[1].step == 6
    assert newest_run(tmp_path.parent) == tmp_path


def test_later_ones_are_renamed_so_that_they_neither_go_on_nor_push_others_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = fill(tmp_path, 10, 20, 30, keep_last=2)
    store.supersede(after=20)
    assert names_in(tmp_path) == ["model_step20.pth", "superseded_step30.pth"]
    assert "model_step30.pth is of a later step than 20" in caplog.text
    store.save(make_checkpoint(25))
    assert load_newest(tmp_path)[1].step == 25
    assert names_in(tmp_path) == ["model_step20.pth", "model_step25.pth", "superseded_step30.pth"]
    assert list(json.loads((tmp_path / "ckpt" / "manifest.json").read_text())) == [
        "model_step20.pth",
        "model_step25.pth",
    ]
    assert load_checkpoint(tmp_path / "ckpt" / "superseded_step30.pth").step == 30


@pytest.mark.parametrize("has_manifest", [True, False])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_one_is_skipped_with_a_message(
    tmp_path: Path, damage: str, has_manifest: bool, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, 5, 10)
    path = tmp_path / "ckpt" / "model_step10.pth"
    if not has_manifest:
        (tmp_path / "ckpt" / "manifest.json").unlink()
    if damage == "flipped":
        flip_a_byte(path)
    else:
        os.truncate(path, 3000 if damage == "cut" else 0)
    with pytest.raises(UserError, match="model_step10.pth"):
        load_checkpoint(path)
    with caplog.at_level("WARNING", logger="fpt"):
        assert load_newest(tmp_path)[1].step == 5
    assert "skipped a checkpoint that cannot be used" in caplog.text
    assert str(path) in caplog.text


def test_only_damaged_ones(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    flip_a_byte(tmp_path / "ckpt" / "model_step5.pth")
    with pytest.raises(UserError, match="none of the 1 checkpoints .* can be read"):
        load_newest(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model_step5.pth": 3}'])
def test_broken_manifest_is_as_none(tmp_path: Path, content: str) -> None:
    store = fill(tmp_path, 5)
    (tmp_path / "ckpt" / "manifest.json").write_text(content)
    assert load_newest(tmp_path)[1].step == 5
    store.save(make_checkpoint(6))
    assert list(json.loads((tmp_path / "ckpt" / "manifest.json").read_text())) == ["model_step6.pth"]


class KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("moment", ["enter_file", "forget_file"])
def test_crash_between_file_and_manifest_loses_nothing(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KilledError

    path = tmp_path / "ckpt" / "model_step5.pth"
    fill(tmp_path, 5)
    other = Checkpoint(model={"w": torch.ones(3)}, classes=["a"], config="", step=5)
    monkeypatch.setattr(f"fpt.checkpoint.checkpoint.{moment}", kill)
    with pytest.raises(KilledError):
        save_checkpoint(path, other)
    assert len(load_newest(tmp_path)[1].model["w"]) == (3 if moment == "enter_file" else 1000)


def test_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    store = fill(tmp_path, 5)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (tmp_path / "ckpt" / f".model_step6.pth.{process.pid}.tmp").write_bytes(b"half")
    store.remove_leftovers()
    assert sorted(path.name for path in (tmp_path / "ckpt").iterdir()) == ["manifest.json", "model_step5.pth"]


def test_newest_run_is_the_one_last_written_into(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run in .* holds a checkpoint"):
        newest_run(tmp_path / "absent")
    for number, name in enumerate(("b", "c", "a")):
        fill(tmp_path / name, 5)
        os.utime(tmp_path / name / "ckpt" / "model_step5.pth", (number, number))
    (tmp_path / "d").mkdir()
    assert newest_run(tmp_path) == tmp_path / "a"
