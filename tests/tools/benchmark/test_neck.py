"""The script that measures the neck."""

from __future__ import annotations

import json

import pytest
import torch

from fpt.core.config import load_cfg
from fpt.modeling.build import build_model
from neck import main
from parts import count_parts


def test_prints_a_table_of_cases_in_processes_of_their_own(tmp_path, capsys):
    file = tmp_path / "figures.json"
    options = ["--workload", "attention", "--sizes", "128x160", "--phases", "forward", "--cases", "dense"]
    assert main([*options, "--json", str(file)]) == 0
    (row,) = json.loads(file.read_text())["figures"]
    assert row["case"] == "dense"
    assert row["seconds"] > 0
    assert row["peak_bytes"] > 0
    assert "128x160  dense" in capsys.readouterr().out


def test_parts_of_a_detector_add_up_and_attention_is_counted(root):
    options = ["MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt", "FPN.DIM", "32", "RESNETS.IMAGENET_PRETRAINED_WEIGHTS"]
    cfg = load_cfg(root / "configs/e2e_fptnet_R-50_mask.yaml", [*options, "", "MODEL.FPT.QUERY_STRIDE", "1"])
    model = build_model(cfg, num_classes=3)
    parts = {part.name: part for part in count_parts(model, torch.rand(3, 64, 64) * 255)}
    assert sum(part.parameters for part in parts.values()) == sum(p.numel() for p in model.parameters())
    cells = [16 * 16, 8 * 8, 4 * 4, 2 * 2]
    pairs = [(n, m) for i, n in enumerate(cells) for m in cells[i + 1 :]]
    linear = sum(2 * 32 * (n * 16 + m * 16 + m * 32) for n, m in pairs)
    attention = sum(2 * n * m * (16 + 8 + 32) for n, m in pairs)  # 4 parts with 2 channels for the squares each, then v
    assert parts["GT"].flops == pytest.approx(linear + attention, rel=0.002)  # and the mixture's share of the keys
    assert parts["heads"].flops > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sizes", "big"], "is not HEIGHTxWIDTH"),
        (["--sizes", "16x64"], "stride of 32"),
        (["--cases", "FPX"], "neck has FPN, FPT"),
        (["--device", "cuda"], "sees no GPU"),
    ],
)
def test_wrong_input_is_named(options, words, capsys, caplog, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    try:
        status = main(options)
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert words in capsys.readouterr().err + caplog.text
