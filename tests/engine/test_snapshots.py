"""Snapshots at their period, full disks, the best checkpoint, evaluation that leaves the generators alone."""

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.checkpoint.store import CheckpointStore, load_newest
from fpt.engine.interrupt import EvaluationStoppedError
from fpt.engine.snapshots import PeriodicEvaluation, Snapshots, selection_metric
from fpt.engine.state import TrainState
from fpt.solver.moving_average import MovingAverage
from fpt.utils.errors import UserError


def make_state() -> TrainState:
    model = nn.Linear(2, 2)
    return TrainState(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


def make_snapshots(folder: Path, *, max_seconds: float = 0.0, **more: int) -> Snapshots:
    store = CheckpointStore(folder / "ckpt", **more)
    return Snapshots(store=store, state=make_state(), classes=["a"], config="", period=5, max_seconds=max_seconds)


def run_steps(snapshots: Snapshots, *steps: int) -> None:
    for step in steps:
        snapshots.state.step = step
        snapshots(step)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "ckpt").glob("*.pth"))


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_saves_each_period_and_once_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = make_snapshots(tmp_path)
    run_steps(snapshots, *range(4, 11))
    assert names_in(tmp_path) == ["model_step10.pth", "model_step5.pth"]
    monkeypatch.setattr("fpt.checkpoint.store.save_checkpoint", full_disk)
    snapshots.save_last()  # nothing is left to write


class Clock:
    """A minute a step."""

    def __init__(self, snapshots: Snapshots, folder: Path) -> None:
        self.snapshots, self.folder = snapshots, folder

    def names_after(self, step: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        monkeypatch.setattr("time.monotonic", lambda: 60.0 * step)
        run_steps(self.snapshots, step)
        return names_in(self.folder)


def test_saves_when_the_time_is_over_and_keeps_the_newest_of_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    snapshots = make_snapshots(tmp_path, max_seconds=120.0)
    snapshots.begin()
    clock = Clock(snapshots, tmp_path)
    seen = {step: clock.names_after(step, monkeypatch) for step in range(1, 8)}
    assert seen[1] == []
    assert seen[2] == seen[3] == ["model_step2.pth"]
    assert seen[4] == ["model_step4.pth"]
    assert seen[5] == seen[6] == ["model_step5.pth"]
    assert seen[7] == ["model_step5.pth", "model_step7.pth"]
    snapshots.save_last()  # it is the last one, too
    snapshots.state.step = 8
    snapshots.save_last()
    assert names_in(tmp_path) == ["model_step5.pth", "model_step7.pth", "model_step8.pth"]


@pytest.mark.parametrize(("kind", "averages", "buffers"), [("SGD", False, 1), ("SGD", True, 1), ("AdamW", True, 2)])
def test_size_of_a_checkpoint_is_known_before(tmp_path: Path, kind: str, averages: bool, buffers: int) -> None:
    model = nn.Linear(300, 300)
    optimizer = getattr(torch.optim, kind)(model.parameters(), **({"momentum": 0.9} if kind == "SGD" else {}))
    state = TrainState(model=model, optimizer=optimizer, average=MovingAverage(model, decay=0.9) if averages else None)
    expected = state.checkpoint_bytes()
    model(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    store = CheckpointStore(tmp_path)
    path = store.save(state.to_checkpoint(classes=[], config="", metrics={}))
    assert expected <= path.stat().st_size <= expected + 10_000


def test_disk_without_room_is_refused_before_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = make_snapshots(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=40))
    with pytest.raises(UserError, match="has 0 MiB left, but a checkpoint takes about 0 MiB; make room"):
        snapshots.begin()


def test_full_disk_when_the_time_is_over_is_tried_again_a_while_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    clock = Clock(make_snapshots(tmp_path, max_seconds=120.0), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        assert clock.names_after(2, patch) == []
    assert clock.names_after(3, monkeypatch) == []
    assert clock.names_after(4, monkeypatch) == ["model_step4.pth"]


def test_full_disk_is_reported_and_the_older_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    snapshots = make_snapshots(tmp_path, keep_last=1)
    run_steps(snapshots, 5)
    with monkeypatch.context() as patch, caplog.at_level("ERROR", logger="fpt"):
        patch.setattr("os.fsync", full_disk)
        run_steps(snapshots, 10)
        assert "no checkpoint of step 10: [Errno 28] No space left on device; older ones are untouched" in caplog.text
        with pytest.raises(UserError, match="step 10 could not be written .*make room"):
            snapshots.save_last()
    assert sorted(path.name for path in (tmp_path / "ckpt").iterdir()) == ["manifest.json", "model_step5.pth"]
    assert load_newest(tmp_path)[1].step == 5
    run_steps(snapshots, 15)
    assert names_in(tmp_path) == ["model_step15.pth"]


def test_emergency_saves_a_consistent_state_alone(tmp_path: Path) -> None:
    snapshots = make_snapshots(tmp_path)
    snapshots.save_in_emergency()
    snapshots.state.step, snapshots.state.is_consistent = 3, False
    snapshots.save_in_emergency()
    assert not (tmp_path / "ckpt").exists()
    snapshots.state.is_consistent = True
    snapshots.save_in_emergency()
    assert names_in(tmp_path) == ["model_step3.pth"]


def test_best_is_replaced_by_a_better_one_only(tmp_path: Path) -> None:
    snapshots = make_snapshots(tmp_path)
    for step, value in ((1, 0.1), (2, 0.3), (3, 0.3), (4, 0.2)):
        snapshots.state.step = step
        snapshots.save_if_best({"bbox": {"AP": value}}, value)
    best = load_checkpoint(tmp_path / "ckpt" / "model_best.pth")
    assert (best.step, best.best, best.metrics) == (2, 0.3, {"bbox": {"AP": 0.3}})


Seen = list[tuple[int, float]]


def make_evaluation(evaluate: Callable[[], dict], state: TrainState) -> tuple[PeriodicEvaluation, Seen]:
    seen: Seen = []
    hook = PeriodicEvaluation(
        evaluate=evaluate,
        period=4,
        last_step=6,
        on_metrics=lambda step, metrics, value: seen.append((step, value)),
        state=state,
    )
    return hook, seen


def test_the_next_one_is_the_best_where_that_of_a_given_up_future_is_gone(tmp_path: Path) -> None:
    snapshots = make_snapshots(tmp_path)
    for step, value in ((5, 0.5), (10, 0.6)):
        snapshots.state.step = step
        snapshots.save_if_best({}, value)
        snapshots.save()
    snapshots.state.step, snapshots.state.best = 5, 0.5  # as a resume from step 5 has it
    snapshots.begin()
    assert snapshots.state.best is None
    snapshots.state.step = 10
    snapshots.save_if_best({}, 0.4)
    assert load_checkpoint(tmp_path / "ckpt" / "model_best.pth").step == 10
    assert snapshots.state.best == 0.4


def test_evaluation_runs_each_period_and_last_and_keeps_the_generators() -> None:
    def evaluate() -> dict[str, dict[str, float]]:
        torch.rand(5)
        return {"bbox": {"AP": 0.5}}

    hook, seen = make_evaluation(evaluate, make_state())
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for step in (1, 2, 3, 4, 4, 5, 6):
        hook(step)
    assert seen == [(4, 0.5), (6, 0.5)]  # once each
    assert torch.equal(torch.rand(1), expected)


def test_evaluation_that_is_stopped_is_due_again() -> None:
    def evaluate() -> dict[str, dict[str, float]]:
        raise EvaluationStoppedError

    state = make_state()
    hook, seen = make_evaluation(evaluate, state)
    hook(4)
    assert (seen, state.evaluated, hook.is_due(4), hook.is_due(5)) == ([], 0, True, False)


def test_evaluation_that_fails_is_reported_and_due_again(caplog: pytest.LogCaptureFixture) -> None:
    results = iter([UserError("a.jpg is truncated"), {"bbox": {"AP": 0.5}}])

    def evaluate() -> dict[str, dict[str, float]]:
        result = next(results)
        if isinstance(result, UserError):
            raise result
        return result

    state = make_state()
    hook, seen = make_evaluation(evaluate, state)
    hook(4)
    assert (seen, state.evaluated, hook.is_due(4)) == ([], 0, True)
    assert hook.failure == "the evaluation after step 4 has failed: a.jpg is truncated"
    assert hook.failure in caplog.text
    hook(6)
    assert (seen, hook.failure) == ([(6, 0.5)], "")


def test_evaluation_is_that_of_the_averaged_weights() -> None:
    state = make_state()
    state.average = MovingAverage(state.model, decay=0.9)
    with torch.no_grad():
        state.average.values["weight"].fill_(2.0)
    own = state.model.weight.detach().clone()
    hook, seen = make_evaluation(lambda: {"bbox": {"AP": state.model.weight.detach().mean().item()}}, state)
    hook(4)
    assert seen == [(4, 2.0)]
    assert torch.equal(state.model.weight, own)


def test_selection_prefers_masks() -> None:
    assert selection_metric({"bbox": {"AP": 0.2}, "segm": {"AP": 0.1}}) == 0.1
    assert selection_metric({"bbox": {"AP": 0.2}, "segm": {"AP": 0.1}, "keypoints": {"AP": 0.3}}) == 0.3
    assert selection_metric({"bbox": {"AP": 0.2}}) == 0.2
    assert selection_metric({}) == -1.0
