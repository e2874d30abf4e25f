"""Which key points a mirrored image exchanges."""

import pytest

from fpt.structures.keypoints import COCO_PERSON, COCO_SIGMAS, flip_order


def test_left_and_right_change_places() -> None:
    assert flip_order(["top", "right", "bottom", "left", "centre"]) == (0, 3, 2, 1, 4)
    assert flip_order(["LeftEye", "RightEye", "left foot"]) == (1, 0, 2)  # the last has no partner
    assert flip_order(["l_ear", "r_ear", "tail", "knee-L", "knee-R", "rib"]) == (1, 0, 2, 4, 3, 5)
    order = flip_order(COCO_PERSON.names)
    assert order == (0, *(i + 1 if i % 2 else i - 1 for i in range(1, 17)))
    assert len(COCO_PERSON) == len(COCO_SIGMAS) == 17


def test_pairs_by_name() -> None:
    assert flip_order(["a", "b", "c", "d"], ["a", "c"]) == (2, 1, 0, 3)
    for pairs in (["a"], ["a", "a"], ["a", "x"], ["a", "b", "b", "c"]):
        with pytest.raises(ValueError, match="no pairs of different names out of a, b, c"):
            flip_order(["a", "b", "c"], pairs)
