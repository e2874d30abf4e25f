"""The examples of the neck run as they are documented."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

SIZE = ["--size", "70", "101"]


def load(root: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"demo_{name}", root / "demos" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["fasterrcnn", "maskrcnn", "retinanet"])
def test_torchvision_detectors(root: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert load(root, "torchvision_detectors").main([name]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{name}: ")
    assert " nan" not in shown


def test_an_unknown_detector_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(root, "torchvision_detectors").main(["yolo"])
    assert "no detector 'yolo'" in capsys.readouterr().err


def test_timm_backbone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("timm")
    assert load(root, "timm_backbone").main([]) == 0
    assert "stride 32: [512, 5, 6] -> [64, 5, 6]" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "swin_s3_tiny_224"])
def test_other_backbones_of_timm(root: Path, name: str) -> None:
    pytest.importorskip("timm")
    backbone = load(root, "timm_backbone").TimmBackbone(name, out_channels=16).eval()
    with torch.no_grad():
        maps = backbone(torch.rand(1, 3, 224, 224))
    assert [tuple(x.shape[1:]) for x in maps.values()] == [(16, 224 // int(s), 224 // int(s)) for s in maps]


def test_a_backbone_without_a_pyramid_is_named(root: Path) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match="test_vit have strides .* double from level to level"):
        load(root, "timm_backbone").TimmBackbone("test_vit", out_channels=16)


@pytest.mark.slow
def test_export_to_onnx(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    assert load(root, "export_onnx").main([*SIZE, "--output", str(tmp_path / "neck.onnx")]) == 0
    assert "70 x 101: differs by" in capsys.readouterr().out


@pytest.mark.slow
def test_export_with_free_height_and_width(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    assert load(root, "export_onnx").main([*SIZE, "--dynamic", "--output", str(tmp_path / "neck.onnx")]) == 0
    assert capsys.readouterr().out.count("differs by") == 3
