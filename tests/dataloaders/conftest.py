"""A small COCO-format data set on disk, to be spoilt by the tests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.transforms import ResizeAndFlip


@dataclass
class CocoFolder:
    """Content of an annotation file and the folder that it is written to.

    Three images: 0 wide with two objects and a crowd, 1 upright with one object, 2 wide without objects.
    """

    folder: Path
    content: dict[str, Any] = field(default_factory=dict)

    @property
    def ann_file(self) -> Path:
        return self.folder / "annotations.json"

    @property
    def image_dir(self) -> Path:
        return self.folder / "images"

    @property
    def annotations(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.content["annotations"]
        return entries

    def write(self) -> Path:
        self.ann_file.write_text(json.dumps(self.content))
        return self.ann_file

    def open(self, *, short_side: int = 30, flip: float = 0.0, with_masks: bool = False, **options: Any) -> CocoDataset:
        self.write()
        return self.reopen(short_side=short_side, flip=flip, with_masks=with_masks, **options)

    def reopen(
        self, *, short_side: int = 30, flip: float = 0.0, with_masks: bool = False, **options: Any
    ) -> CocoDataset:
        return CocoDataset(
            name="tiny",
            ann_file=self.ann_file,
            image_dir=self.image_dir,
            transform=ResizeAndFlip((short_side,), 1000, flip),
            with_masks=with_masks,
            **options,
        )


def _box_polygon(x: float, y: float, w: float, h: float) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user_cache"))


@pytest.fixture
def coco_folder(tmp_path: Path) -> CocoFolder:
    """The data set, images written, annotations not yet."""
    rng = np.random.default_rng(0)
    folder = CocoFolder(tmp_path)
    folder.image_dir.mkdir()
    sizes_hw = [(30, 40), (40, 30), (30, 40)]
    for i, (h, w) in enumerate(sizes_hw):
        cv2.imwrite(str(folder.image_dir / f"{i}.png"), rng.integers(0, 255, (h, w, 3), dtype=np.uint8))
    crowd = {"size": [30, 40], "counts": [0, 60, 1140]}
    folder.content = {
        "images": [
            {"id": 10 + i, "file_name": f"{i}.png", "height": h, "width": w} for i, (h, w) in enumerate(sizes_hw)
        ],
        "categories": [{"id": 7, "name": "fig"}, {"id": 3, "name": "date"}],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 7, "bbox": [4, 6, 10, 12], "area": 100.0, "iscrowd": 0}
            | {"segmentation": [_box_polygon(4, 6, 5, 12)], "keypoints": [5, 7, 2, 0, 0, 0]},
            {
                "id": 2,
                "image_id": 11,
                "category_id": 3,
                "bbox": [0, 0, 30, 20],
                "segmentation": [[0, 0, 30, 0, 30, 20]],
            },
            {"id": 3, "image_id": 10, "category_id": 3, "bbox": [0, 0, 2, 30], "iscrowd": 1, "segmentation": crowd},
            {"id": 4, "image_id": 10, "category_id": 3, "bbox": [20, 10, 20, 20]}
            | {"segmentation": [_box_polygon(20, 10, 20, 10), _box_polygon(20, 25, 20, 5)]},
        ],
    }
    return folder
