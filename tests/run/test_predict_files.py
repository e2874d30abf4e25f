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


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] can't allocate memory: 960 bytes")])
def test_an_image_too_large_for_the_memory_does_not_stop_the_others(
    trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    images = [trained.folder / "images" / name for name in ("1.png", "2.png")]
    predictor, detect = Predictor(trained.checkpoint, device="cpu"), Predictor.__call__

    def refuse(own: Predictor, image: Path) -> object:
        if image == images[0]:
            raise error
        return detect(own, image)

    monkeypatch.setattr(Predictor, "__call__", refuse)
    found = predict_files(predictor, images, tmp_path / "out")
    assert (found.failures, [path.stem for path in found.written]) == ([images[0]], ["2"] * len(found.written))
    assert "1.png: too large for the memory that is there: lower TEST.SCALE" in caplog.text


def test_other_errors_are_no_lack_of_memory(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(own: Predictor, image: Path) -> object:
        raise RuntimeError("sizes differ")

    predictor = Predictor(trained.checkpoint, device="cpu")
    monkeypatch.setattr(Predictor, "__call__", fail)
    with pytest.raises(RuntimeError, match="sizes differ"):
        predict_files(predictor, [trained.folder / "images" / "1.png"], tmp_path / "out")
