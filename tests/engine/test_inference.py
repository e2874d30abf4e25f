"""From input pixels to the original's, by hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fpt.dataloaders.collate import Batch
from fpt.engine.inference import run_inference, to_detections
from fpt.structures.paste import decode_mask

CPU = torch.device("cpu")


def make_output(count: int = 1) -> dict[str, Tensor]:
    return {
        "boxes": torch.tensor([[10.0, 20.0, 30.0, 44.0]])[:count],
        "labels": torch.tensor([2])[:count],
        "scores": torch.tensor([0.75])[:count],
        "masks": torch.ones(count, 4, 4),
    }


def test_boxes_and_masks_go_back_to_the_original() -> None:
    found = to_detections(make_output(), image_id=5, size_hw=(100, 80), input_hw=(50, 40))
    assert (found.image_id, found.size_hw, found.labels.tolist()) == (5, (100, 80), [2])
    np.testing.assert_allclose(found.boxes, [[20, 40, 60, 88]])
    mask = decode_mask(found.rles[0])
    assert mask.shape == (100, 80)
    assert mask[45:85, 25:55].all()
    assert not mask[:39].any()


def test_height_and_width_have_their_own_factors_and_boxes_are_clipped() -> None:
    found = to_detections(make_output(), image_id=1, size_hw=(40, 120), input_hw=(50, 40))
    np.testing.assert_allclose(found.boxes, [[30, 16, 90, 35.2]], rtol=1e-6)
    found = to_detections(make_output(), image_id=1, size_hw=(40, 120), input_hw=(40, 120))
    np.testing.assert_allclose(found.boxes, [[10, 20, 30, 40]])


def test_nothing_found() -> None:
    found = to_detections(make_output(0), image_id=1, size_hw=(8, 9), input_hw=(8, 9))
    assert (len(found), found.boxes.shape, found.rles) == (0, (0, 4), [])


class Fixed(nn.Module):
    """The same output for every image."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        assert not self.training
        return [make_output() for _ in images]


def make_loader(sizes: list[int]) -> list[Batch]:
    ids = iter(range(100))
    return [
        Batch(
            [torch.zeros(3, 50, 40, dtype=torch.uint8)] * n,
            None,
            [next(ids) for _ in range(n)],
            [(50, 40)] * n,
            [1.0] * n,
        )
        for n in sizes
    ]


def test_every_image_once_in_order_and_the_mode_comes_back() -> None:
    model = Fixed().train()
    found = run_inference(model, make_loader([2, 1]), num_images=3, device=CPU, log_seconds=0.0)
    assert [image.image_id for image in found] == [0, 1, 2]
    assert model.training
