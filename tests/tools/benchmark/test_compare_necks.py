"""The script that compares necks."""

from __future__ import annotations

import json
import shutil

import pytest

from compare_necks import main, make_table
from fpt.utils.errors import UserError

SETTINGS = ["--set", "MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt", "SOLVER.MAX_ITER", "1", "FPN.DIM", "16"]


def record(box, mask, ring):
    return {"step": 1, "bbox": {"AP": box, "per_class": {"ring": ring}}, "segm": {"AP": mask, "per_class": {}}}


def test_table_by_hand():
    results = {"FPN": [record(0.1, 0.2, 0.5), record(0.3, 0.2, 0.7)], "FPN+ST": [record(0.4, 0.5, 0.6)] * 2}
    assert make_table(results, ["ring"]).splitlines() == [
        "| neck | box AP | mask AP | ring, box AP |",
        "|---|---|---|---|",
        "| FPN | 0.200 ± 0.141 (0.100, 0.300) | 0.200 ± 0.000 (0.200, 0.200) | 0.600 ± 0.141 (0.500, 0.700) |",
        "| FPN+ST | 0.400 ± 0.000 (0.400, 0.400) | 0.500 ± 0.000 (0.500, 0.500) | 0.600 ± 0.000 (0.600, 0.600) |",
    ]
    with pytest.raises(UserError, match="--classes key: there are ring"):
        make_table(results, ["key"])


def test_trains_what_is_missing_and_nothing_twice(tiny, tmp_path):
    target = tmp_path / "compare"
    options = ["--variants", "FPN", "FPN+RT", "--seeds", "4", "--output_dir", target, "--classes", "red", *SETTINGS]
    assert main(tiny.arguments(*options)) == 0
    table = (target / "table.md").read_text()
    assert table.startswith("| neck | box AP | mask AP | red, box AP |")
    assert len(table.splitlines()) == 4
    config = (target / "FPN+RT-4" / "config.yaml").read_text()
    assert "RNG_SEED: 4" in config
    assert "- rendering" in config or "('rendering',)" in config or "[rendering]" in config
    shutil.rmtree(target / "FPN-4" / "ckpt")
    assert main(tiny.arguments(*options)) == 0
    assert not (target / "FPN-4" / "ckpt").exists()
    line = (target / "FPN-4" / "eval.jsonl").read_text().splitlines()[-1]
    assert json.loads(line)["step"] == 1


def test_wrong_input_is_named(tiny, tmp_path, capsys):
    assert main(tiny.arguments("--output_dir", tmp_path / "c")) == 2
    assert "must end with _fpt" in capsys.readouterr().err
