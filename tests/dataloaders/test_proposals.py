"""Files of proposals, and samples that hold them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from fpt.dataloaders.collate import collate
from fpt.dataloaders.proposals import Proposals, pack_proposals, read_proposals, write_proposals
from fpt.utils.errors import UserError

BOXES = [np.array([[1, 2, 11, 12], [0, 0, 5, 5], [3, 3, 9, 8]], np.float32), np.zeros((0, 4), np.float32)]
SCORES = [np.array([0.2, 0.9, 0.5], np.float32), np.zeros(0, np.float32)]


def _packed(ids: tuple[int, int] = (10, 12)) -> Proposals:
    return pack_proposals(ids, BOXES, SCORES)


def _check_content(found: Proposals, *, has_empty: bool = True) -> None:
    first = found.positions([10], source="f")[0]
    assert found.of(first, limit=2).tolist() == [[0, 0, 5, 5], [3, 3, 9, 8]]
    assert found.of(first, limit=9)[2].tolist() == [1, 2, 11, 12]
    assert found.scores[:3].tolist() == pytest.approx([0.9, 0.5, 0.2])
    places = found.positions([12, 10], source="f")
    assert found.of(places[0], limit=9).shape == (0, 4)
    if has_empty:
        with pytest.raises(UserError, match="f has no proposals of 1 of 2 images, first id 11: .*MODEL.RPN_ONLY"):
            found.positions([10, 11], source="f")


def test_our_own_form(tmp_path: Path) -> None:
    write_proposals(tmp_path / "p.npz", _packed())
    _check_content(read_proposals(tmp_path / "p.npz"))


def test_cocos_results(tmp_path: Path) -> None:
    items = [
        {"image_id": 10, "category_id": 1, "bbox": [x, y, x2 - x, y2 - y], "score": float(score)}
        for (x, y, x2, y2), score in zip(BOXES[0].tolist(), SCORES[0], strict=True)
    ]
    (tmp_path / "p.json").write_text(json.dumps(items))
    found = read_proposals(tmp_path / "p.json")
    _check_content(found, has_empty=False)
    with pytest.raises(UserError, match="has no proposals of 2 of 2 images"):
        found.positions([1, 2], source="f")


@pytest.mark.parametrize("key", ["ids", "indexes"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_detectrons_pickle(tmp_path: Path, key: str, protocol: int) -> None:
    content = {"boxes": [own - [0, 0, 1, 1] for own in BOXES], "scores": SCORES, key: [10, 12], "cfg": "MODEL: x"}
    content["boxes"] = [own.astype(np.float32) for own in content["boxes"]]
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(content, protocol))
    _check_content(read_proposals(tmp_path / "p.pkl"))


class _Hostile:
    def __reduce__(self):
        return (print, ("hello",))


def test_files_that_are_refused(tmp_path: Path) -> None:
    def refuse(name: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            read_proposals(tmp_path / name)

    refuse("none.npz", "there is no such file of proposals")
    (tmp_path / "p.txt").write_text("")
    refuse("p.txt", "proposals are read from .npz, .json, .pkl")
    (tmp_path / "text.npz").write_text("no archive")
    refuse("text.npz", "holds no proposals")
    np.savez(tmp_path / "objects.npz", image_ids=np.array([{}], dtype=object))
    refuse("objects.npz", "holds no proposals: ValueError: Object arrays cannot be loaded")
    np.savez(tmp_path / "keys.npz", boxes=np.zeros((0, 4)))
    refuse("keys.npz", "holds no proposals: KeyError")
    good = _packed()
    for name, parts, message in (
        ("offsets", {"offsets": np.array([0, 1, 2])}, "its arrays do not fit together"),
        ("twice", {"image_ids": np.array([10, 10])}, "names an image twice"),
        ("nan", {"boxes": np.full((3, 4), np.nan, np.float32)}, "3 of 3 boxes are not finite .* of image 10"),
        ("turned", {"boxes": good.boxes[:, [2, 3, 0, 1]]}, "3 of 3 boxes are not finite x1 <= x2"),
    ):
        write_proposals(tmp_path / f"{name}.npz", Proposals(**{**vars(good), **parts}))
        refuse(f"{name}.npz", message)
    (tmp_path / "dict.json").write_text("{}")
    refuse("dict.json", "the json's top is no list of objects")
    (tmp_path / "score.json").write_text('[{"image_id": 1, "bbox": [1, 2, 3]}]')
    refuse("score.json", "holds no proposals: ValueError")
    (tmp_path / "cut.json").write_text('[{"image_id": 1,')
    refuse("cut.json", "broken json")
    (tmp_path / "code.pkl").write_bytes(pickle.dumps({"boxes": [_Hostile()]}))
    refuse("code.pkl", "could run code; nothing was run")
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"all_boxes": []}))
    refuse("other.pkl", "holds no proposals: KeyError: 'indexes'")


def test_samples_hold_them_with_and_without_targets(coco_folder) -> None:
    proposals = pack_proposals([10, 11, 12], [BOXES[0]] * 3, [SCORES[0]] * 3)
    training = coco_folder.open(short_side=60, proposals=proposals, max_proposals=2)
    target = training[0]["target"]
    assert target["proposals"].tolist() == [[0, 0, 10, 10], [6, 6, 18, 16]]
    assert "boxes" in target
    flipped = coco_folder.reopen(short_side=60, flip=1.0, proposals=proposals, max_proposals=1)[(0, 3)]
    assert flipped["target"]["proposals"].tolist() == [[70, 0, 80, 10]]
    evaluated = coco_folder.reopen(with_targets=False, proposals=proposals)
    batch = collate([evaluated[0], evaluated[1]])
    assert [list(own) for own in batch.targets] == [["proposals"], ["proposals"]]
    with pytest.raises(UserError, match="data set tiny: the file of proposals has no proposals of 1 of 3 images"):
        coco_folder.reopen(proposals=pack_proposals([10, 11], [BOXES[0]] * 2, [SCORES[0]] * 2))


def test_classes_as_one(coco_folder) -> None:
    dataset = coco_folder.open(is_class_agnostic=True)
    assert (dataset.class_names, dataset.category_ids) == (("object",), (1,))
    assert dataset[0]["target"]["labels"].tolist() == [1, 1]
    truth = dataset.ground_truth()
    assert {item["category_id"] for item in truth.annotations} == {1}
    assert len(truth.annotations) == 4
    figs = coco_folder.reopen(is_class_agnostic=True, classes=["fig"])
    assert figs.labels.tolist().count(1) == 1
