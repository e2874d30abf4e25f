"""Key points of samples."""

import pytest
import torch

from fpt.dataloaders.concat import ConcatImages
from fpt.dataloaders.transforms import ResizeAndFlip
from fpt.utils.errors import UserError

POINTS = [5, 7, 2, 12, 17, 1, 0, 0, 0]


def _name(coco_folder, names=("left", "right", "tip"), skeleton=((1, 2), (2, 3))):
    coco_folder.content["categories"][0] |= {"keypoints": list(names), "skeleton": [list(pair) for pair in skeleton]}
    coco_folder.annotations[0]["keypoints"] = POINTS
    return coco_folder


def test_points_in_input_pixels(coco_folder):
    dataset = _name(coco_folder).open(short_side=60, with_keypoints=True)
    points = dataset[0]["target"]["keypoints"]
    assert points.dtype == torch.float32
    assert points.tolist() == [[[10, 14, 2], [24, 34, 1], [0, 0, 0]], [[0, 0, 0]] * 3]
    assert dataset.keypoint_layout.names == ("left", "right", "tip")
    assert dataset.skeleton == ((0, 1), (1, 2))
    assert dataset[2]["target"]["keypoints"].shape == (0, 3, 3)
    assert "keypoints" not in coco_folder.reopen()[0]["target"]


def test_mirrored_points_exchange_left_and_right(coco_folder):
    target = _name(coco_folder).open(flip=1.0, with_keypoints=True)[(0, 5)]["target"]
    assert target["keypoints"][0, :, :2].tolist()[:2] == [[28, 17], [35, 7]]  # the image is 40 wide
    assert target["keypoints"][0, :, 2].tolist() == [1, 2, 0]
    other = coco_folder.reopen(flip=1.0, with_keypoints=True, flip_pairs=["right", "tip"])[(0, 5)]["target"]
    assert other["keypoints"][0, :, 2].tolist() == [2, 0, 1]


def test_detectron_counts_columns_from_their_centres():
    resize = ResizeAndFlip((60,), 1000, 1.0, inclusive_corners=True)
    points = torch.tensor([[5.0, 7.0, 2.0]]).numpy()
    assert resize.points(points, (30, 40), (60, 80), True).tolist() == [[68, 14, 2]]  # 39 - 5, doubled
    assert points.tolist() == [[5, 7, 2]]


def test_classes_that_name_no_points(coco_folder):
    coco_folder.annotations[0]["keypoints"] = POINTS
    dataset = coco_folder.open(with_keypoints=True)
    assert dataset.keypoint_layout.names == ("point 1", "point 2", "point 3")
    truth = dataset.ground_truth().annotations
    assert [len(item["keypoints"]) for item in truth] == [9] * 4


def test_messages(coco_folder):
    _name(coco_folder)
    with pytest.raises(UserError, match=r"KRCNN.FLIP_PAIRS is \('left', 'x'\): .* out of left, right, tip"):
        coco_folder.open(with_keypoints=True, flip_pairs=["left", "x"])
    coco_folder.content["categories"][1]["keypoints"] = ["nose"]
    with pytest.raises(UserError, match=r"classes 'date' and 'fig' of .* have other key points \(1 and 3\)"):
        coco_folder.open(with_keypoints=True)
    assert coco_folder.open(with_keypoints=True, classes=["fig"]).keypoint_layout.names[2] == "tip"
    for category in coco_folder.content["categories"]:
        category.pop("keypoints")
    for annotation in coco_folder.annotations:
        annotation.pop("keypoints", None)
    with pytest.raises(UserError, match="no class of .* has key points.*MODEL.KEYPOINTS_ON False"):
        coco_folder.open(with_keypoints=True)


def test_data_sets_together_have_the_same_points(coco_folder):
    first = _name(coco_folder).open(with_keypoints=True)
    second = _name(coco_folder, names=("left", "right", "end")).open(with_keypoints=True)
    with pytest.raises(UserError, match="their key points differ"):
        ConcatImages([first, second])
    assert ConcatImages([first, first]).keypoint_layout == first.keypoint_layout
