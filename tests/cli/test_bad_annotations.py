"""Broken annotation files end the training, broken annotations are dropped. See docs/bad_inputs.md.

fpt-check-data finds each of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
import torch

from fpt.cli import train

BOX_POLYGON = [[4, 6, 34, 6, 34, 34, 4, 34]]


def _set(key: str, value: object) -> Callable[[dict], object]:
    """Change the first annotation."""
    return lambda content: content["annotations"][0].update({key: value})


def _again(kind: str, **changes: object) -> Callable[[dict], object]:
    """Append a copy of the first entry with some keys changed."""
    return lambda content: content[kind].append({**content[kind][0], **changes})


FATAL: dict[str, tuple[Callable[[dict], object], str]] = {
    "no key images": (lambda content: content.pop("images"), "no key 'images'"),
    "no key categories": (lambda content: content.pop("categories"), "no key 'categories'"),
    "no images": (lambda content: content["images"].clear(), "empty list under 'images'"),
    "annotations that are no list": (lambda content: content.update(annotations=3), "'annotations'"),
    "annotation that is no object": (
        lambda content: content["annotations"].append(7),
        "annotations that are no objects",
    ),
    "image id twice": (_again("images"), "image ids that occur more than once"),
    "annotation id twice": (_again("annotations", bbox=[1, 1, 9, 9]), "annotation ids that occur more than once"),
    "category id twice": (_again("categories", name="blue"), "category ids that occur more than once"),
    "category name twice": (_again("categories", id=9), "category names that occur more than once"),
    "category out of range": (_set("category_id", 3), "annotations whose 'category_id' is not in the file"),
    "annotation of an unknown image": (_set("image_id", 99), "annotations whose 'image_id' is not in the file"),
    "id that is text": (_set("image_id", "1"), "'image_id' is not a whole number"),
    "id that is missing": (lambda content: content["annotations"][0].pop("id"), "annotations without the key 'id'"),
    "image of no height": (lambda content: content["images"][0].update(height=0), "'height' is not a whole number"),
    "image without a name": (lambda content: content["images"][0].pop("file_name"), "without the key 'file_name'"),
    "box of three numbers": (_set("bbox", [1, 2, 3]), "boxes that are not [x, y, width, height]"),
    "box that is text": (_set("bbox", ["a", 2, 3, 4]), "boxes that are not [x, y, width, height]"),
    "annotation without a box": (lambda content: content["annotations"][0].pop("bbox"), "without the key 'bbox'"),
    "image that is not there": (
        lambda content: content["images"][0].update(file_name="gone.png"),
        "missing images: looked for in",
    ),
    "no object at all": (lambda content: content["annotations"].clear(), "no annotated object"),
}


def _assert_refused(tiny, capsys: pytest.CaptureFixture[str], check_dataset: Callable, message: str) -> None:
    more = ("--output_dir", tiny.folder / "run", "--set", "MODEL.MASK_ON", "False")
    assert train.main(tiny.arguments(*more)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert not (tiny.folder / "run").exists()
    status, shown = check_dataset(tiny)
    assert status == 1
    assert message in shown


@pytest.mark.parametrize("case", FATAL)
def test_content_that_cannot_be_used(
    tiny, capsys: pytest.CaptureFixture[str], check_dataset: Callable, case: str
) -> None:
    change, message = FATAL[case]
    tiny.change(change)
    _assert_refused(tiny, capsys, check_dataset, message)


FILES = {
    "empty file": (lambda text: b"", "broken json at line 1, column 1"),
    "truncated file": (lambda text: text[: len(text) // 2], "broken json at line 1, column"),
    "web page": (lambda text: b"<html>404</html>", "broken json at line 1, column 1"),
    "bytes that are no text": (lambda text: b'{"images": "\xff"}', "byte 12 is no text"),
    "result file": (lambda text: b"[]", "the json's top is a list"),
    "json of another kind": (lambda text: b'{"a": 1}', "no key 'categories'"),
    "brackets without end": (lambda text: b"[" * 100_000, "nested too deep"),
}


@pytest.mark.parametrize("case", FILES)
def test_file_that_cannot_be_read(tiny, capsys: pytest.CaptureFixture[str], check_dataset: Callable, case: str) -> None:
    spoil, message = FILES[case]
    path = tiny.folder / "tiny.json"
    path.write_bytes(spoil(path.read_bytes()))
    _assert_refused(tiny, capsys, check_dataset, message)


def test_folder_instead_of_a_file(tiny, capsys: pytest.CaptureFixture[str], check_dataset: Callable) -> None:
    (tiny.folder / "tiny.json").unlink()
    (tiny.folder / "tiny.json").mkdir()
    _assert_refused(tiny, capsys, check_dataset, "there is no such annotation file")


NAN, INF = float("nan"), float("inf")
DROPPED: dict[str, tuple[Callable[[dict], object], str]] = {
    "box with NaN": (_set("bbox", [NAN, 6, 30, 28]), "boxes with NaN or infinite numbers: dropped"),
    "box with infinity": (_set("bbox", [4, 6, INF, 28]), "boxes with NaN or infinite numbers: dropped"),
    "box of negative size": (_set("bbox", [34, 34, -30, -28]), "degenerate boxes (no width or height): dropped"),
    "box of no width": (_set("bbox", [4, 6, 0, 28]), "degenerate boxes (no width or height): dropped"),
    "box outside of the image": (_set("bbox", [100, 100, 9, 9]), "boxes outside their image: dropped"),
}
CLIPPED: dict[str, tuple[Callable[[dict], object], str]] = {
    "box that reaches out": (_set("bbox", [-20, -20, 500, 50]), "boxes that reach out of their image: clipped"),
    "box of giant size": (_set("bbox", [0, 0, 1e300, 1e300]), "boxes that reach out of their image: clipped"),
}
MASKLESS: dict[str, tuple[Callable[[dict], object], str]] = {
    "empty polygon": (_set("segmentation", [[]]), "less than 3 points: dropped"),
    "no polygon": (_set("segmentation", []), "objects without a mask among others with one"),
    "polygon of 2 points": (_set("segmentation", [[1, 2, 3, 4]]), "less than 3 points: dropped"),
    "odd count of coordinates": (_set("segmentation", [[1, 2, 3, 4, 5, 6, 7]]), "odd count of numbers"),
    "polygon with NaN": (_set("segmentation", [[1, 2, 3, 4, 5, NAN]]), "NaN, infinite or huge numbers: dropped"),
    "polygon with huge numbers": (_set("segmentation", [[0, 0, 1e12, 0, 9, 9]]), "infinite or huge numbers: dropped"),
    "polygon of text": (_set("segmentation", [["a", "b", 1, 2, 3, 4]]), "polygons that are no lists of numbers"),
    "mask that is text": (_set("segmentation", "mask.png"), "neither polygons nor run lengths: dropped"),
    "RLE of another size": (_set("segmentation", {"size": [9, 9], "counts": [81]}), "(RLE) that do not fit: dropped"),
    "RLE that ends early": (_set("segmentation", {"size": [64, 64], "counts": [5]}), "runs cover 5 pixels"),
    "RLE of negative runs": (_set("segmentation", {"size": [64, 64], "counts": [-1, 4097]}), "not whole numbers"),
    "RLE that is broken text": (_set("segmentation", {"size": [64, 64], "counts": "!!"}), "no compressed run lengths"),
    "RLE without a size": (_set("segmentation", {"counts": [4096]}), "no key 'size'"),
}
NOTED: dict[str, tuple[Callable[[dict], object], str]] = {
    "key points that are no triples": (_set("keypoints", [1, 2, 2, 3]), "key points that are not x, y, visibility"),
    "object that stands there twice": (_again("annotations", id=99), "objects that stand there twice"),
    "polygon without area": (_set("segmentation", [[4, 6, 20, 6, 34, 6]]), "1 x masks that cover nothing"),
}
SILENT: dict[str, Callable[[dict], object]] = {
    "crowd as run lengths": lambda content: content["annotations"][0].update(
        iscrowd=1, segmentation={"size": [64, 64], "counts": [0, 64, 4032]}
    ),
    "area that is NaN": _set("area", NAN),
    "polygon without outer list": _set("segmentation", BOX_POLYGON[0]),
    "category that nothing belongs to": lambda content: content["categories"].append({"id": 3, "name": "blue"}),
}


def _objects(tiny, num_objects: int, num_ignored: int) -> None:
    """Assert what both images' batches hold in both epochs."""
    batches, report = tiny.load()
    assert report == []
    for batch in batches:
        assert sum(len(target["boxes"]) for target in batch.targets) == num_objects
        assert sum(len(target["crowd_boxes"]) for target in batch.targets) == num_ignored
        for target in batch.targets:
            assert torch.isfinite(target["boxes"]).all()
            assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
            assert target["boxes"].min() >= 0
            assert target["boxes"].max() <= 64


CASES = [
    *((case, *row, 3, 0) for case, row in DROPPED.items()),
    *((case, *row, 4, 0) for case, row in CLIPPED.items()),
    *((case, *row, 3, 1) for case, row in MASKLESS.items()),
    *((case, *row, 5 if "twice" in case else 4, 0) for case, row in NOTED.items()),
]


@pytest.mark.parametrize(
    ("change", "message", "kept", "ignored"), [row[1:] for row in CASES], ids=[r[0] for r in CASES]
)
def test_annotation_that_is_mended(
    tiny, caplog: pytest.LogCaptureFixture, check_dataset: Callable, change, message: str, kept: int, ignored: int
) -> None:
    tiny.change(change)
    with caplog.at_level(logging.WARNING, "fpt"):
        _objects(tiny, kept, ignored)
    status, shown = check_dataset(tiny)
    assert status == 1
    assert message in shown
    assert message in caplog.text or "cover nothing" in message


@pytest.mark.parametrize("case", SILENT)
def test_annotation_that_is_right(tiny, caplog: pytest.LogCaptureFixture, check_dataset: Callable, case: str) -> None:
    tiny.change(SILENT[case])
    with caplog.at_level(logging.WARNING, "fpt"):
        _objects(tiny, *((3, 1) if "crowd" in case else (4, 0)))
    assert caplog.text == ""
    status, shown = check_dataset(tiny)
    assert status == 0, shown


def test_training_over_every_fault(tiny) -> None:
    """All faults that are mended, in one file: the training ends well, and so does its evaluation."""
    content = json.loads((tiny.folder / "tiny.json").read_text())
    for number, (_, change, *_) in enumerate(CASES, start=50):
        entry = {**content["annotations"][0], "id": number}
        change({"annotations": [entry]})
        content["annotations"].append(entry)
    (tiny.folder / "tiny.json").write_text(json.dumps(content))
    run = tiny.folder / "run"
    assert train.main(tiny.arguments("--output_dir", run, "--set", "TRAIN.EVAL_PERIOD", "2")) == 0
    assert "segm" in json.loads((run / "eval.jsonl").read_text().splitlines()[-1])
