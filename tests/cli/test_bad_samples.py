"""Training over images that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fpt.cli import train


def _losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def _report(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "bad_samples.jsonl").read_text().splitlines()]


def test_bad_image_is_replaced_listed_and_resumed_exactly(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny.folder / "images" / "2.png").write_bytes(b"")
    runs = [tiny.folder / name for name in ("whole", "parts", "workers")]
    each = ("--disp_interval", "1", "--set", "SOLVER.MAX_ITER")
    assert train.main(tiny.arguments("--output_dir", runs[0], "--no_save", *each, "3")) == 0
    shown = capsys.readouterr().out
    assert shown.count("2.png: the file is empty; another image takes its place (bad_samples.jsonl)") == 1
    assert train.main(tiny.arguments("--output_dir", runs[1], *each, "2")) == 0
    assert train.main(tiny.arguments("--output_dir", runs[1], "--resume", *each, "3")) == 0
    assert "takes its place" not in capsys.readouterr().out.split("resumed from")[1]
    assert train.main(tiny.arguments("--output_dir", runs[2], "--no_save", "--nw", "2", *each, "3")) == 0
    assert _losses(runs[0]) == _losses(runs[1]) == _losses(runs[2])
    assert _report(runs[0]) == _report(runs[1]) == _report(runs[2])
    assert [(record["step"], record["image_id"]) for record in _report(runs[0])] == [(1, 2)]


@pytest.mark.parametrize(("share", "numbers"), [("0", (1,)), ("0.5", (1, 2))])
def test_too_many_bad_images_end_the_run(tiny, capsys: pytest.CaptureFixture[str], share: str, numbers) -> None:
    for number in numbers:
        (tiny.folder / "images" / f"{number}.png").write_bytes(b"no image")
    run = tiny.folder / "run"
    assert train.main(tiny.arguments("--output_dir", run, "--set", "TRAIN.MAX_BAD_SAMPLES", share)) == 2
    error = capsys.readouterr().err
    assert f"error: {len(numbers)} of 2 images cannot be loaded" in error
    assert str(run / "bad_samples.jsonl") in error
    assert "fpt-check-data" in error
    assert {record["image_id"] for record in _report(run)} == set(numbers)
