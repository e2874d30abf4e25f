"""Snapshots at their period, the best checkpoint, evaluation that leaves the generators alone."""

from pathlib import Path

import torch
from torch import nn

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.engine.snapshots import PeriodicEvaluation, Snapshots, selection_metric


def make_snapshots(folder: Path, **more: object) -> Snapshots:
    model = nn.Linear(2, 2)
    arguments = {
        "folder": folder,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "classes": ["a"],
        "config": "",
        "period": 5,
        "pictures_per_step": 4,
        **more,
    }
    return Snapshots(**arguments)


def test_saves_each_period_and_once_a_step(tmp_path: Path) -> None:
    snapshots = make_snapshots(tmp_path, start_step=3, start_pictures=100)
    for step in range(4, 11):
        snapshots(step)
    assert snapshots.save(10) == tmp_path / "model_step10.pth"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_step10.pth", "model_step5.pth"]
    assert load_checkpoint(tmp_path / "model_step5.pth").pictures == 108


def test_best_is_replaced_by_a_better_one_only(tmp_path: Path) -> None:
    snapshots = make_snapshots(tmp_path)
    for step, value in ((1, 0.1), (2, 0.3), (3, 0.3), (4, 0.2)):
        snapshots.save_if_best(step, {"bbox": {"AP": value}}, value)
    best = load_checkpoint(tmp_path / "model_best.pth")
    assert (best.step, best.best, best.metrics) == (2, 0.3, {"bbox": {"AP": 0.3}})


def test_evaluation_runs_each_period_and_last_and_keeps_the_generators() -> None:
    seen: list[tuple[int, float]] = []

    def evaluate() -> dict[str, dict[str, float]]:
        torch.rand(5)
        return {"bbox": {"AP": 0.5}}

    hook = PeriodicEvaluation(
        evaluate=evaluate, period=4, last_step=6, on_metrics=lambda step, metrics, value: seen.append((step, value))
    )
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for step in range(1, 7):
        hook(step)
    assert seen == [(4, 0.5), (6, 0.5)]
    assert torch.equal(torch.rand(1), expected)


def test_selection_prefers_masks() -> None:
    assert selection_metric({"bbox": {"AP": 0.2}, "segm": {"AP": 0.1}}) == 0.1
    assert selection_metric({"bbox": {"AP": 0.2}}) == 0.2
    assert selection_metric({}) == -1.0
