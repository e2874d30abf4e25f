"""The script that measures whole detectors."""

from __future__ import annotations

import json

from detector import main


def test_detectors_are_timed_in_turn(tmp_path, capsys):
    file = tmp_path / "figures.json"
    options = ["--size", "64x96", "--rounds", "1", "--cases", "torchvision", "FPT-1024", "--no_memory"]
    assert main([*options, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())
    names = ["torchvision", "FPT-1024"]
    assert [(row["case"], row["phase"]) for row in rows] == [(n, p) for p in ("forward", "training") for n in names]
    assert all(row["seconds"] > 0 for row in rows)
    assert "x torchvision" in capsys.readouterr().out


def test_memory_is_measured_in_a_process_of_its_own(tmp_path):
    file = tmp_path / "figures.json"
    options = ["--size", "128x160", "--rounds", "1", "--cases", "FPN", "--phases", "training"]
    assert main([*options, "--json", str(file)]) == 0
    (row,) = json.loads(file.read_text())
    assert row["peak_bytes"] > 2**20
