"""Evaluation of a model in hand and of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fpt.core.config import load_cfg
from fpt.run.detect import open_test_dataset
from fpt.run.evaluate import evaluate, evaluate_checkpoint
from fpt.run.options import EvaluationOptions
from fpt.run.trained_model import load_trained_model
from fpt.utils.errors import UserError


def test_a_model_by_name_of_the_data_set_or_opened(trained, tmp_path: Path) -> None:
    cfg = load_cfg(trained.cfg)
    model = load_trained_model(trained.checkpoint, cfg).model.train()
    metrics = evaluate(cfg, model, "tiny_val", EvaluationOptions(output_dir=tmp_path / "out", draws=True))
    assert model.training
    assert set(metrics) == {"bbox", "segm"}
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["bbox"]["AP"] == metrics["bbox"]["AP"]
    assert sorted(path.name for path in (tmp_path / "out" / "vis").glob("*.png")) == ["1.png", "2.png"]
    assert evaluate(cfg, model, open_test_dataset(cfg, "tiny_val")) == metrics
    result = evaluate_checkpoint(cfg, trained.checkpoint, EvaluationOptions(output_dir=tmp_path / "whole"))
    assert (result.metrics, result.failures) == ({"tiny_val": metrics}, [])
    assert (tmp_path / "whole" / "environment_evaluate.json").is_file()


def test_a_part_of_a_data_set_and_nothing_written(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = load_cfg(trained.cfg)
    model = load_trained_model(trained.checkpoint, cfg).model
    metrics = evaluate(cfg, model, "tiny_val", EvaluationOptions(index_range=(1, 2)))
    assert "AP" in metrics["bbox"]
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="it needs 0 <= START < END <= 2"):
        evaluate(cfg, model, "tiny_val", EvaluationOptions(index_range=(1, 3)))
    with pytest.raises(UserError, match="unknown data set 'tiny_vall'"):
        evaluate(cfg, model, "tiny_vall")


def test_a_range_must_fit_every_data_set_before_the_first_is_evaluated(trained, tmp_path: Path) -> None:
    options = EvaluationOptions(output_dir=tmp_path / "out", index_range=(0, 9))
    with pytest.raises(UserError, match=r"range 0 9 of data set tiny_val: it needs 0 <= START < END <= 2"):
        evaluate_checkpoint(load_cfg(trained.cfg), tmp_path / "none.pth", options)
    assert not (tmp_path / "out").exists()


def test_drawings_that_cannot_be_written_are_listed(
    trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def save(path: Path, image: object) -> None:
        raise UserError(f"{path} cannot be written: File name too long")

    monkeypatch.setattr("fpt.run.draw_dataset.save_image", save)
    options = EvaluationOptions(output_dir=tmp_path, draws=True)
    result = evaluate_checkpoint(load_cfg(trained.cfg), trained.checkpoint, options)
    assert [path.name for path in result.failures] == ["1.png", "2.png"]
    assert caplog.text.count("File name too long") == 2


def test_drawings_need_a_folder() -> None:
    with pytest.raises(UserError, match="draws is True, but there is no output_dir"):
        EvaluationOptions(draws=True)


def test_only_shared_classes_count(trained, tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = load_cfg(trained.cfg, ["TEST.SCORE_THRESH", "0.0"])
    whole = evaluate_checkpoint(cfg, trained.checkpoint).metrics["tiny_val"]["bbox"]

    def rename(content: dict) -> None:
        """Green under another id first, red gone, a class that the model does not know."""
        content["categories"] = [{"id": 5, "name": "green"}, {"id": 9, "name": "blue"}]
        for annotation in content["annotations"]:
            annotation["category_id"] = 9 if annotation["category_id"] == 1 else 5

    tiny.change(rename)
    cfg = load_cfg(tiny.cfg, ["TEST.SCORE_THRESH", "0.0"])
    caplog.clear()
    part = evaluate_checkpoint(cfg, trained.checkpoint, EvaluationOptions(output_dir=tmp_path / "out"))
    metrics = part.metrics["tiny_val"]["bbox"]
    assert metrics["per_class"] == {"green": whole["per_class"]["green"]}
    assert metrics["AP"] == whole["per_class"]["green"]
    assert caplog.text.count("1 classes are shared with") == 1
    assert "only the model has [red]; only the data set has [blue]" in caplog.text
    assert {item["category_id"] for item in json.loads((tmp_path / "out" / "bbox.json").read_text())} == {5}


def test_no_shared_class_is_refused(trained, tiny) -> None:
    tiny.change(lambda content: [item.update(name=f"x{item['id']}") for item in content["categories"]])
    with pytest.raises(UserError, match=r"trained on the 2 classes \[red, green\].* \[x1, x2\]: none is shared"):
        evaluate_checkpoint(load_cfg(tiny.cfg), trained.checkpoint)


def test_another_order_of_the_same_classes(trained, tiny, caplog: pytest.LogCaptureFixture) -> None:
    cfg = load_cfg(trained.cfg, ["TEST.SCORE_THRESH", "0.0"])
    whole = evaluate_checkpoint(cfg, trained.checkpoint).metrics["tiny_val"]

    def swap(content: dict) -> None:
        for entry in content["categories"]:
            entry["id"] = 3 - entry["id"]
        for annotation in content["annotations"]:
            annotation["category_id"] = 3 - annotation["category_id"]

    tiny.change(swap)
    found = evaluate_checkpoint(load_cfg(tiny.cfg, ["TEST.SCORE_THRESH", "0.0"]), trained.checkpoint)
    assert found.metrics["tiny_val"]["bbox"]["per_class"] == whole["bbox"]["per_class"]
    assert "in another order" in caplog.text


def test_a_model_of_more_classes_than_are_known_is_named(trained, tiny) -> None:
    tiny.change(
        lambda content: (content["categories"].pop(), content["annotations"].pop(1), content["annotations"].pop())
    )
    cfg = load_cfg(tiny.cfg, ["TEST.SCORE_THRESH", "0.0"])
    model = load_trained_model(trained.checkpoint, load_cfg(trained.cfg, ["TEST.SCORE_THRESH", "0.0"])).model
    with pytest.raises(UserError, match=r"something of class 2, but 1 classes are known: say which it was trained on"):
        evaluate(cfg, model, "tiny_val")
    metrics = evaluate(cfg, model, "tiny_val", EvaluationOptions(class_names=("red", "green")))
    assert list(metrics["bbox"]["per_class"]) == ["red"]
