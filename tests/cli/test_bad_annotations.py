"""Broken annotation files end the training, broken annotations are dropped. See tests/bad_inputs.md.

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
    "category id of two names": (_again("categories", name="blue"), "category ids with several names"),
    "category out of range": (_set("category_id", 3), "annotations whose 'category_id' is not in the file"),
    "annotation of an unknown image": (_set("image_id", 99), "annotations whose 'image_id' is not in the file"),
    "id that is no number": (_set("image_id", "a"), "'image_id' is not a whole number"),
    "crowd flag that is neither": (_set("iscrowd", "maybe"), "'iscrowd' is neither 0 nor 1"),
    "image of no height": (lambda content: content["images"][0].update(height=0), "'height' is not a whole number"),
    "image without a name": (lambda content: content["images"][0].pop("file_name"), "without the key 'file_name'"),
    "box of three numbers": (_set("bbox", [1, 2, 3]), "boxes that are not [x, y, width, height]"),
    "box that is text": (_set("bbox", ["a", 2, 3, 4]), "boxes that are not [x, y, width, height]"),
    "annotation without box and mask": (
        lambda content: [content["annotations"][0].pop(key, None) for key in ("bbox", "segmentation")],
        "without the key 'bbox' and without a mask",
    ),
    "images that are not there": (
        lambda content: [image.update(file_name=f"gone{image['id']}.jpg") for image in content["images"]],
        "missing images: looked for in",
    ),
    "boxes between 0 and 1": (
        lambda content: [item.update(bbox=[0.1, 0.1, 0.5, 0.5]) for item in content["annotations"]],
        "BOX_FORMAT xywh_relative",
    ),
    "boxes that are corners": (
        lambda content: [item.update(bbox=[30, 30, 60, 60], segmentation=[]) for item in content["annotations"]],
        "declare the data set with BOX_FORMAT xyxy",
    ),
    "all objects are crowds": (
        lambda content: [item.update(iscrowd=1) for item in content["annotations"]],
        "all 4 objects are crowds (iscrowd 1), which are ignored regions",
    ),
    "all boxes cover their image": (
        lambda content: [item.update(bbox=[0, 0, 64, 64]) for item in content["annotations"]],
        "the boxes of all 4 objects cover their whole image",
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
    "empty file": (lambda text: b"", "the annotation file is empty"),
    "truncated file": (lambda text: text[: len(text) // 2], "broken json at line 1, column"),
    "web page": (lambda text: b"<html>404</html>", "is a web page, not the file itself: the download has failed"),
    "git-LFS pointer": (lambda text: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "`git lfs pull`"),
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
    _assert_refused(tiny, capsys, check_dataset, "is a folder; ANN_FILE names a file")


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
    "key points of another number": (
        lambda content: (
            content["categories"][0].update(keypoints=["a", "b"]),
            content["annotations"][0].update(keypoints=[5, 7, 2]),
        ),
        "1 x objects with another number of key points than their class",
    ),
    "key point outside of its image": (
        _set("keypoints", [500, 7, 2]),
        "1 x annotated key points outside of their image",
    ),
    "visibility of 3": (_set("keypoints", [5, 7, 3]), "1 x key points whose visibility is not 0, 1 or 2"),
    "object that stands there twice": (_again("annotations", id=99), "objects that stand there twice"),
    "polygon without area": (_set("segmentation", [[4, 6, 20, 6, 34, 6]]), "1 x masks that cover nothing"),
}
MEANT: dict[str, tuple[Callable[[dict], object], str]] = {
    "numbers as text": (_set("bbox", ["4", "6.0", "30", "28"]), "numbers that are written as text: read as numbers"),
    "image id as text": (_set("image_id", "1"), "numbers that are written as text: read as numbers"),
    "annotation id that is missing": (lambda content: content["annotations"][0].pop("id"), "all are numbered anew"),
    "annotation id twice": (_set("id", 2), "all are numbered anew"),
    "category twice": (_again("categories"), "repeated classes: left out"),
    "category name twice": (_again("categories", id=9), "repeated classes: left out"),
    "placeholder for all classes": (
        lambda content: (
            content["categories"].append({"id": 0, "name": "things"}),
            [category.update(supercategory="things") for category in content["categories"][:-1]],
        ),
        "that others name as their supercategory: left out",
    ),
    "annotation without a box": (lambda content: content["annotations"][0].pop("bbox"), "taken from the mask"),
    "image without a size": (lambda content: content["images"][0].pop("height"), "taken from the image"),
    "image name with backslashes": (
        lambda content: content["images"][0].update(file_name="images\\" + content["images"][0]["file_name"]),
        "images under another name: read",
    ),
    "mask of points in pairs": (_set("segmentation", [[4, 6], [34, 6], [34, 34], [4, 34]]), "(points in pairs)"),
    "mask a bracket too deep": (_set("segmentation", [BOX_POLYGON]), "(a bracket too deep)"),
}
SILENT: dict[str, Callable[[dict], object]] = {
    "crowd as run lengths": lambda content: content["annotations"][0].update(
        iscrowd=1, area=64, bbox=[0, 0, 1, 64], segmentation={"size": [64, 64], "counts": [0, 64, 4032]}
    ),
    "foreign fields of any type": lambda content: (
        content["images"][0].update(date_captured=0, license="1"),
        content["categories"][0].update(supercategory=0, keypoints=5),
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
    *((case, *row, 4, 0) for case, row in MASKLESS.items()),
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


@pytest.mark.parametrize("case", MEANT)
def test_annotation_that_is_read_as_it_was_meant(
    tiny, caplog: pytest.LogCaptureFixture, check_dataset: Callable, case: str
) -> None:
    change, message = MEANT[case]
    tiny.change(change)
    with caplog.at_level(logging.WARNING, "fpt"):
        _objects(tiny, 4, 0)
    assert message in caplog.text
    status, shown = check_dataset(tiny)
    assert status == 0, shown
    assert message in shown


@pytest.mark.parametrize(
    ("change", "message"), [FATAL["all objects are crowds"], FATAL["no object at all"]], ids=["crowds", "none"]
)
def test_nothing_to_learn_is_the_reason_with_masks_too(
    tiny, capsys: pytest.CaptureFixture[str], change: Callable, message: str
) -> None:
    tiny.change(change)
    assert train.main(tiny.arguments("--output_dir", tiny.folder / "run")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "has no masks" not in error


def test_one_missing_image_of_many_is_replaced(tiny, check_dataset: Callable) -> None:
    tiny.change(lambda content: content["images"][0].update(file_name="gone.jpg"))
    assert train.main(tiny.arguments("--output_dir", tiny.folder / "run")) == 0
    (line, *_) = (tiny.folder / "run" / "bad_samples.jsonl").read_text().splitlines()
    assert "gone.jpg" in json.loads(line)["file"]
    status, shown = check_dataset(tiny)
    assert status == 1
    assert "missing images: looked for in" in shown


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
        change({"annotations": [entry], "categories": content["categories"]})
        content["annotations"].append(entry)
    (tiny.folder / "tiny.json").write_text(json.dumps(content))
    run = tiny.folder / "run"
    assert train.main(tiny.arguments("--output_dir", run, "--set", "TRAIN.EVAL_PERIOD", "2")) == 0
    assert "segm" in json.loads((run / "eval.jsonl").read_text().splitlines()[-1])
