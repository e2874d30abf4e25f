"""Many image files: a result for each, and no failure stops the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpt.run.predict_files import predict_files
from fpt.run.predictor import Predictor


def test_results_and_failures_are_listed(trained, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, broken = trained.folder / "images" / "1.png", tmp_path / "broken.png"
    broken.write_bytes(good.read_bytes()[:50])
    predictor = Predictor(trained.checkpoint, device="cpu")
    found = predict_files(predictor, [broken, good], tmp_path / "out", formats=("jpg", "json"), merges_pdfs=True)
    assert found.failures == [broken]
    assert [path.name for path in found.written] == ["1.jpg", "1.json", "1.pdf"]
    assert (tmp_path / "out" / "results.pdf").read_bytes().startswith(b"%PDF-")
    assert "broken.png: the image is truncated" in caplog.text
