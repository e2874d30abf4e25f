"""Whatever stands in a json file: it is read, or one message says why not."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fpt.annotations.ground_truth import make_ground_truth
from fpt.annotations.json_file import load_json
from fpt.annotations.pack import pack_content, read_packed
from fpt.evaluation.coco import evaluate_coco
from fpt.utils.errors import UserError

VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 1.5, float("nan"), float("inf"), -1e308, 10**400, 2**63, 2**31),
    *("", "1", "x", "\ud800", "1e999", "9" * 500, "[[1, 2, 3, 4, 5, 6]]", "{"),
    *([], [[]], [1], [1, 2, 3, 4], ["1", "2", "3", "4"], [[1, 2], [3, 4], [5, 6]], [None] * 6, [[None] * 6]),
    *([{"x": 1, "y": 2}] * 3, [[[[1, 2, 3, 4, 5, 6]]]], {}, {"a": 1}),
    *({"size": [30, 40], "counts": [1200]}, {"size": "x", "counts": 5}, {"size": [30, 40], "counts": [10**400]}),
]
FORMATS = ("xywh", "xywh", "xyxy", "xywh_relative")


def _content() -> dict[str, Any]:
    annotation = {"bbox": [2, 2, 10, 12], "area": 100, "iscrowd": 0, "keypoints": [1, 2, 2]}
    annotation["segmentation"] = [[1, 2, 11, 2, 11, 14, 1, 14]]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 30, "width": 40} for i in (1, 2)],
        "categories": [{"id": 1, "name": "a", "supercategory": "x"}, {"id": 2, "name": "b"}],
        "annotations": [
            {"id": i, "image_id": i % 2 + 1, "category_id": i % 2 + 1, **copy.deepcopy(annotation)} for i in (1, 2, 3)
        ],
    }


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with a key of it."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield value, key
        yield from _places(inner)


def _spoil(content: dict[str, Any], rng: random.Random) -> None:
    container, key = rng.choice(list(_places(content)))
    if isinstance(container, dict) and rng.random() < 0.1:
        del container[key]
    else:
        container[key] = copy.deepcopy(rng.choice(VALUES))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(4))
def test_any_content_is_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    num_read = 0
    for number in range(250):
        content = _content()
        for _ in range(rng.choice((1, 1, 2, 3))):
            _spoil(content, rng)
        try:
            found = pack_content("a.json", content, box_format=rng.choice(FORMATS))
            truth = make_ground_truth(found.packed, found.categories)
            json.dumps(found.report.to_dict()).encode()
            found.report.text().encode()
            if number % 20 == 0:
                for iou_type in ("bbox", "segm"):
                    evaluate_coco(truth, [], iou_type=iou_type, backend="pycocotools")
        except UserError as error:
            str(error).encode()
        else:
            num_read += 1
    assert 50 < num_read < 200


@pytest.mark.parametrize("seed", range(4))
def test_any_damage_of_the_text_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "a.json"
    whole = json.dumps(_content()).encode()
    for _ in range(50):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3, 20))):
            data[rng.randrange(len(data))] = rng.choice((rng.randrange(256), *b'0,[]{}"'))
        path.write_bytes(data[: rng.choice((None, None, rng.randrange(len(data))))])
        try:
            found = read_packed(path, load_json)
        except UserError as error:
            str(error).encode()
        else:
            assert len(found.packed) == 2
            assert set(found.packed.labels.tolist()) <= {1, 2}
