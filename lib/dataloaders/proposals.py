"""Proposals of a data set's images, read from a file: our own, COCO's results, or Detectron's pickle."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpt.annotations.json_file import load_json_list
from fpt.checkpoint.formats.pickles import read_numpy_pickle
from fpt.utils.errors import UserError
from fpt.utils.files import write_atomic

_MAX_OPERATIONS = 50_000_000
"""Of a pickle: two arrays an image, for a million images."""


@dataclass(frozen=True)
class Proposals:
    """Boxes of the images of a file, in the pixels of the original images.

    Attributes:
        image_ids: int64 [M].
        offsets: int64 [M + 1]: ``offsets[i]`` to ``offsets[i + 1]`` are the boxes of image i.
        boxes: float32 [P, 4] x1, y1, x2, y2, the best of each image first; a pixel covers [x, x + 1).
        scores: float32 [P].
        names_all: an image that is not there was left out; False = nothing was found in it.
    """

    image_ids: np.ndarray
    offsets: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    names_all: bool = True

    def positions(self, image_ids: Sequence[int], *, source: Path | str) -> np.ndarray:
        """int64 [N]: where these images stand, -1 for one in which nothing was found.

        Raises:
            UserError: some of them were left out, or all.
        """
        index_of = {image_id: index for index, image_id in enumerate(self.image_ids.tolist())}
        found = np.array([index_of.get(image_id, -1) for image_id in image_ids], dtype=np.int64)
        missing = np.flatnonzero(found < 0)
        if len(missing) and (self.names_all or len(missing) == len(found)):
            raise UserError(
                f"{source} has no proposals of {len(missing)} of {len(found)} images, first id "
                f"{image_ids[missing[0]]}: it is of another data set, or of a part of this one; fpt-test with "
                "MODEL.RPN_ONLY True writes a new one"
            )
        return found

    def of(self, position: int, *, limit: int) -> np.ndarray:
        """float32 [P, 4] of an image, the best `limit` ones."""
        start, end = self.offsets[position : position + 2].tolist() if position >= 0 else (0, 0)
        return self.boxes[start : min(end, start + limit)]


def write_proposals(path: Path, proposals: Proposals) -> None:
    """Write our own form, which `read_proposals` reads; the folder is made when it is missing."""
    p = proposals
    write_atomic(
        path,
        lambda file: np.savez_compressed(
            file, image_ids=p.image_ids, offsets=p.offsets, boxes=p.boxes, scores=p.scores
        ),
    )


def pack_proposals(
    image_ids: Sequence[int], boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray], *, names_all: bool = True
) -> Proposals:
    """Proposals of boxes [P_i, 4] and scores [P_i] of each image, in any order."""
    orders = [np.argsort(-np.asarray(own, np.float32), kind="stable") for own in scores]
    sorted_boxes = [np.asarray(own, np.float32).reshape(-1, 4)[order] for own, order in zip(boxes, orders, strict=True)]
    sorted_scores = [np.asarray(own, np.float32)[order] for own, order in zip(scores, orders, strict=True)]
    return Proposals(
        image_ids=np.asarray(image_ids, np.int64),
        offsets=np.cumsum([0, *map(len, sorted_boxes)]).astype(np.int64),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *sorted_boxes]),
        scores=np.concatenate([np.zeros(0, np.float32), *sorted_scores]),
        names_all=names_all,
    )


def read_proposals(path: Path) -> Proposals:
    """Proposals of a file; its name's end says in which form.

    ``.npz``: the arrays of Proposals. ``.json``: COCO's results, ``[{"image_id": 1, "bbox": [x, y, width, height],
    "score": 0.9}, ...]``. ``.pkl``: Detectron's, lists ``boxes``, ``scores`` and ``ids`` (or ``indexes``), where the
    last column and row belong to a box.

    Args:
        path: the file. In an image that a json file does not name nothing was found.

    Raises:
        UserError: the file is missing, of another form, or holds boxes that cannot be.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file of proposals")
    readers = {".npz": _read_npz, ".json": _read_json, ".pkl": _read_detectron}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: proposals are read from {', '.join(readers)}")
    try:
        found = readers[path.suffix.lower()](path)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(f"{path} holds no proposals: {type(error).__name__}: {error}") from error
    _check(found, path)
    return found


def _check(found: Proposals, path: Path) -> None:
    offsets, count = found.offsets, len(found.boxes)
    if not (
        found.image_ids.ndim == offsets.ndim == 1
        and len(offsets) == len(found.image_ids) + 1
        and found.boxes.shape == (count, 4)
        and found.scores.shape == (count,)
        and (np.diff(offsets) >= 0).all()
        and (offsets[0], offsets[-1]) == (0, count)
    ):
        raise UserError(f"{path} holds no proposals: its arrays do not fit together")
    if len(np.unique(found.image_ids)) < len(found.image_ids):
        raise UserError(f"{path} names an image twice")
    is_wrong = ~np.isfinite(found.boxes).all(axis=1) | (found.boxes[:, 2:] < found.boxes[:, :2]).any(axis=1)
    if is_wrong.any():
        first = int(np.flatnonzero(is_wrong)[0])
        image = found.image_ids[np.searchsorted(offsets, first, side="right") - 1]
        raise UserError(
            f"{path}: {int(is_wrong.sum())} of {count} boxes are not finite x1 <= x2 and y1 <= y2, first "
            f"{found.boxes[first].tolist()} of image {image}"
        )


def _read_npz(path: Path) -> Proposals:
    with np.load(path, allow_pickle=False) as content:
        return Proposals(
            image_ids=content["image_ids"].astype(np.int64),
            offsets=content["offsets"].astype(np.int64),
            boxes=content["boxes"].astype(np.float32),
            scores=content["scores"].astype(np.float32),
        )


def _read_json(path: Path) -> Proposals:
    boxes: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    scores: dict[int, list[float]] = defaultdict(list)
    for item in load_json_list(path):
        x, y, w, h = map(float, item["bbox"])
        boxes[int(item["image_id"])].append((x, y, x + w, y + h))
        scores[int(item["image_id"])].append(float(item["score"]))
    return pack_proposals(
        list(boxes),
        [np.array(own, np.float32) for own in boxes.values()],
        [np.array(own, np.float32) for own in scores.values()],
        names_all=False,
    )


def _read_detectron(path: Path) -> Proposals:
    content = read_numpy_pickle(path, max_operations=_MAX_OPERATIONS)
    ids = content["ids"] if "ids" in content else content["indexes"]
    boxes = [
        np.asarray(own, np.float32).reshape(-1, 4) + np.array([0, 0, 1, 1], np.float32) for own in content["boxes"]
    ]
    scores = [np.asarray(own, np.float32).reshape(-1) for own in content["scores"]]
    return pack_proposals([int(image_id) for image_id in ids], boxes, scores)
