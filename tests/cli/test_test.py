"""The evaluation command: files, ranges, images, zero detections, messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fpt.cli.test import main
from fpt.run.evaluate import default_output_dir


def test_default_folder_holds_metrics_and_results(trained) -> None:
    assert main(trained.arguments("--load_ckpt", trained.checkpoint, "--dataset", "tiny")) == 0
    folder = trained.folder / "run" / "test"
    assert {"environment_test.json", "log.txt"} <= {path.name for path in folder.iterdir()}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"bbox", "segm"}
    assert {"AP", "AP50", "AP75"} <= set(metrics["bbox"])
    results = json.loads((folder / "bbox.json").read_text())
    assert {"image_id", "category_id", "bbox", "score"} <= set(results[0])


def test_zero_detections_are_evaluated(trained, tmp_path: Path) -> None:
    more = ("--load_ckpt", trained.checkpoint, "--output_dir", tmp_path, "--set", "TEST.SCORE_THRESH", "1.0")
    assert main(trained.arguments(*more)) == 0
    assert json.loads((tmp_path / "bbox.json").read_text()) == []
    assert json.loads((tmp_path / "metrics.json").read_text())["bbox"]["AP"] == 0.0


def test_range_images_and_several_devices(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--load_ckpt", trained.checkpoint, "--output_dir", tmp_path, "--range", "1", "2", "--vis")
    assert main(trained.arguments(*more, "--multi-gpu-testing", "--no_cuda")) == 0
    assert "evaluating on cpu" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "vis").glob("*.png")] == ["2.png"]
    assert {item["image_id"] for item in json.loads((tmp_path / "bbox.json").read_text())} <= {2}


def test_default_output_dir() -> None:
    assert default_output_dir(Path("run/ckpt/model_step1.pth")) == Path("run/test")
    assert default_output_dir(Path("other/a.pth")) == Path("other/test")


def test_other_classes_are_named(
    trained, tmp_path: Path, tiny_factory: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_factory(tmp_path, ("blue", "white"))
    assert main(other.arguments("--load_ckpt", trained.checkpoint)) == 2
    error = capsys.readouterr().err
    assert "was trained on the 2 classes [red, green], and data set tiny_val has the 2 classes [blue, white]" in error


def test_other_model_is_named(trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(trained.arguments("--load_ckpt", trained.checkpoint, "--set", "MODEL.MASK_ON", "False")) == 2
    assert "holds another model: it has, beyond the model, roi_heads.mask" in capsys.readouterr().err


@pytest.mark.parametrize(("start", "end"), [("1", "1"), ("0", "3"), ("2", "1")])
def test_wrong_range(trained, capsys: pytest.CaptureFixture[str], start: str, end: str) -> None:
    assert main(trained.arguments("--load_ckpt", trained.checkpoint, "--range", start, end)) == 2
    assert f"range {start} {end} of data set tiny_val" in capsys.readouterr().err


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (open, ("touched", "w"))


def test_bad_checkpoints(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(trained.checkpoint.read_bytes()[:10000])
    assert main(trained.arguments("--load_ckpt", path)) == 2
    assert "a.pth cannot be read (10000 bytes): it is truncated or no torch file" in capsys.readouterr().err
    torch.save({"format": 1, "model": Hostile()}, path)
    assert main(trained.arguments("--load_ckpt", path)) == 2
    assert "a.pth is refused: it asks for" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--load_ckpt", "a", "--load_detectron", "b"]])
def test_exactly_one_model_is_needed(trained, more: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(trained.arguments(*more))
    assert stop.value.code == 2


def test_data_set_is_needed(trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(trained.arguments("--load_ckpt", trained.checkpoint, "--set", "TEST.DATASETS", "()")) == 2
    assert "no data set to evaluate on" in capsys.readouterr().err
