"""Metrics as text."""

from __future__ import annotations

from fpt.evaluation.coco import METRIC_NAMES
from fpt.evaluation.tables import format_per_class, format_summary, format_table


def test_columns_are_aligned() -> None:
    text = format_table(["name", "AP"], [["long name", "1.0"], ["x", "100.0"]])
    assert text.splitlines() == ["name          AP", "---------  -----", "long name    1.0", "x          100.0"]


def test_summary_and_classes_in_percent() -> None:
    values = {**dict.fromkeys(METRIC_NAMES, 0.5), "APs": -1.0}
    classes = {"per_class": {"dog": 0.123, "cat": -1.0}, "per_class_AP50": {"dog": 1.0, "cat": None}}
    metrics = {"bbox": {**values, **classes}, "segm": {**values, **classes}}
    lines = format_summary(metrics).splitlines()
    assert lines[2].split() == ["box", "50.0", "50.0", "50.0", "-", "50.0", "50.0", "50.0", "50.0", "50.0"]
    assert lines[3].startswith("mask")
    lines = format_per_class(metrics).splitlines()
    assert lines[2].split() == ["dog", "12.3", "100.0", "12.3", "100.0"]
    assert lines[3].split() == ["cat", "-", "-", "-", "-"]
    assert format_per_class({}) == ""
