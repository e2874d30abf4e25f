"""Messages about malformed inputs of a detector."""

import pytest
import torch

from fpt.modeling.checks import check_images, check_targets
from fpt.utils.errors import UserError

GOOD = {"boxes": torch.tensor([[0.0, 0.0, 5.0, 5.0]]), "labels": torch.tensor([1])}


def _check(target: dict[str, torch.Tensor], needs_masks: bool = False):
    return check_targets([GOOD, target], num_images=2, num_classes=4, needs_masks=needs_masks)


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (3, 0, 4), (1, 3, 4, 4)])
def test_shape_of_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"image 1 of the batch has shape .*, expected \[3, h, w\]"):
        check_images([torch.zeros(3, 4, 4), torch.zeros(shape)])
    with pytest.raises(UserError, match="empty list of images"):
        check_images([])


@pytest.mark.parametrize(
    ("box", "shown"),
    [
        ((5.0, 1.0, 5.0, 9.0), r"\(5, 1, 5, 9\)"),
        ((0.0, 9.0, 5.0, 1.0), r"\(0, 9, 5, 1\)"),
        ((0.0, float("nan"), 5.0, 1.0), "nan"),
        ((0.0, 0.0, float("inf"), 1.0), "inf"),
    ],
)
def test_degenerate_boxes_are_named(box, shown: str) -> None:
    target = {"boxes": torch.tensor([[0.0, 0.0, 1.0, 1.0], box]), "labels": torch.tensor([1, 2])}
    with pytest.raises(UserError, match=f"box 1 of image 1 is .*{shown}.*expected finite x0 < x1"):
        _check(target)


@pytest.mark.parametrize("label", [0, 4, -1])
def test_labels_out_of_range_are_named(label: int) -> None:
    with pytest.raises(UserError, match=f"object 0 of image 1 has label {label}, expected 1 to 3"):
        _check({**GOOD, "labels": torch.tensor([label])})


def test_shapes_and_missing_entries() -> None:
    with pytest.raises(UserError, match="image 1 lacks masks; it has boxes, labels"):
        check_targets([{**GOOD, "masks": torch.zeros(1, 4, 4)}, GOOD], num_images=2, num_classes=4, needs_masks=True)
    with pytest.raises(UserError, match="image 1 lacks labels"):
        _check({"boxes": GOOD["boxes"]})
    with pytest.raises(UserError, match=r"boxes of image 1 have shape \(4,\)"):
        _check({**GOOD, "boxes": torch.zeros(4)})
    with pytest.raises(UserError, match=r"has 1 boxes, but labels of shape \(2,\)"):
        _check({**GOOD, "labels": torch.tensor([1, 1])})
    with pytest.raises(UserError, match="2 images and 1 targets"):
        check_targets([GOOD], num_images=2, num_classes=4, needs_masks=False)
    with pytest.raises(UserError, match="needs targets"):
        check_targets(None, num_images=2, num_classes=4, needs_masks=False)


def test_good_targets_get_crowd_boxes() -> None:
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    checked = _check(empty)
    assert [target["crowd_boxes"].shape for target in checked] == [(0, 4), (0, 4)]
    assert "crowd_boxes" not in empty
