"""Drawings of a data set: red stays red up to the event file, and one that cannot be written stops no other."""

from __future__ import annotations

import errno
from pathlib import Path

import cv2
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from fpt.core.config import load_cfg
from fpt.engine.curves import TensorboardWriter
from fpt.run.detect import open_test_dataset
from fpt.run.draw_dataset import draw_dataset
from fpt.structures.detections import Detections
from fpt.utils.errors import UserError


def nothing_found(dataset) -> list[Detections]:
    return [Detections.empty(image_id, dataset.size_hw(i)) for i, image_id in enumerate(dataset.image_ids)]


def images_of(folder: Path) -> list[np.ndarray]:
    """The images of TensorBoard's event files, RGB."""
    found = []
    for file in folder.glob("tensorboard/events*"):
        content, position = file.read_bytes(), 0
        while position < len(content):
            size = int.from_bytes(content[position : position + 8], "little")
            event = Event.FromString(content[position + 12 : position + 12 + size])
            position += 16 + size
            for value in event.summary.value:
                array = np.frombuffer(value.image.encoded_image_string, np.uint8)
                found.append(cv2.imdecode(array, cv2.IMREAD_COLOR)[..., ::-1])
    return found


def test_a_red_object_is_red_in_file_and_event_file(tiny) -> None:
    image = np.full((64, 64, 3), 128, np.uint8)
    image[34:58, 34:60] = (0, 0, 255)  # OpenCV's red
    cv2.imwrite(str(tiny.folder / "images" / "1.png"), image)
    dataset = open_test_dataset(load_cfg(tiny.cfg), "tiny_val")
    drawn = draw_dataset(dataset, nothing_found(dataset), tiny.folder / "vis", score_threshold=0.5)
    writer = TensorboardWriter(tiny.folder)
    writer.add_images(3, {"1": drawn.last["1"]})
    writer.close()
    (from_events,) = images_of(tiny.folder)
    from_disk = cv2.imread(str(tiny.folder / "vis" / "1.png"))[..., ::-1]
    assert np.array_equal(from_events, from_disk)
    height, width = from_disk.shape[:2]
    found_side = from_disk[:height, : width // 2]  # nothing is drawn there
    red = (found_side[..., 0] > 200) & (found_side[..., 1:].max(axis=-1) < 60)
    assert red.sum() > 0.1 * found_side[..., 0].size


def test_one_that_cannot_be_written_is_one_message(
    tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = open_test_dataset(load_cfg(tiny.cfg), "tiny_val")
    from fpt.run import draw_dataset as module

    def save(path: Path, image: np.ndarray) -> None:
        if path.name == "1.png":
            raise UserError(f"{path} cannot be written: {errno.errorcode[errno.ENOSPC]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    monkeypatch.setattr(module, "save_image", save)
    drawn = draw_dataset(dataset, nothing_found(dataset), tiny.folder / "vis", score_threshold=0.5)
    assert drawn.failures == [tiny.folder / "vis" / "1.png"]
    assert list(drawn.last) == ["2"]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        f"{tiny.folder / 'vis' / '1.png'} cannot be written: ENOSPC"
    ]
