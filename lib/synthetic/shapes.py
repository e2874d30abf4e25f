"""The built-in data set ``shapes``, written to disk in COCO's format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fpt.synthetic.scene import CLASS_NAMES, Scene, SceneObject, make_scene
from fpt.utils.errors import UserError
from fpt.utils.own_files import claim_outputs, own_files, recorded

KEYPOINT_NAMES = ("top", "right", "bottom", "left", "centre")
SKELETON = ((1, 5), (2, 5), (3, 5), (4, 5))
SPLITS = ("train", "val")

_MARKER = "shapes.json"
_FORMAT = 1
_VAL_ID_OFFSET = 1_000_000


def generate_shapes(
    folder: Path | str,
    *,
    num_train: int = 800,
    num_val: int = 100,
    size: int = 160,
    seed: int = 0,
    overwrite: bool = False,
) -> bool:
    """Write the data set, or keep the one that is there if it was made with the same parameters.

    Layout: ``images/{train,val}/*.jpg``, ``annotations/{train,val}.json`` (COCO: boxes, masks of the visible part as
    polygon or RLE, areas, keypoints, some crowds), ``semantic/{train,val}/*.png`` (class of each pixel, 0 background,
    255 ignore), ``classes.txt`` (background first) and ``shapes.json`` (the parameters). The same parameters give the
    same bytes; an image depends on seed, split and its index alone.

    Args:
        folder: where to write.
        num_train, num_val: images of each split.
        size: longer side of the images in pixels; the shorter one is as long, or three quarters of it.
        seed: what the images are drawn from.
        overwrite: replace a data set made with other parameters; files in its folders that are not its own stay.

    Returns:
        True if it was written, False if it was there.

    Raises:
        UserError: for parameters out of range, or a folder that holds something else, such as a file with the name of
            one of the data set's that was not written by this program.
    """
    folder = Path(folder)
    parameters = {"format": _FORMAT, "num_train": num_train, "num_val": num_val, "size": size, "seed": seed}
    _check_parameters(parameters)
    if _is_there(folder, parameters, overwrite=overwrite):
        return False
    files = _files(folder, (num_train, num_val))
    claim_outputs([path for path in files if path.name != _MARKER], advice="give a new folder")
    _remove_others(files)
    with recorded(*files, are_data=True):
        _write_json(folder / _MARKER, {**parameters, "complete": False})
        for split, (name, count) in enumerate(zip(SPLITS, (num_train, num_val), strict=True)):
            _write_split(folder, name, split=split, count=count, size=size, seed=seed)
        (folder / "classes.txt").write_text("\n".join(("background", *CLASS_NAMES)) + "\n", encoding="utf-8")
        _write_json(folder / _MARKER, {**parameters, "complete": True})
    return True


def _files(folder: Path, counts: tuple[int, ...]) -> list[Path]:
    """All files of a data set."""
    files = [folder / _MARKER, folder / "classes.txt"]
    for name, count in zip(SPLITS, counts, strict=True):
        files.append(folder / "annotations" / f"{name}.json")
        files += [_image_path(folder, name, index) for index in range(count)]
        files += [_semantic_path(folder, name, index) for index in range(count)]
    return files


def _image_path(folder: Path, name: str, index: int) -> Path:
    return folder / "images" / name / f"{index:06d}.jpg"


def _semantic_path(folder: Path, name: str, index: int) -> Path:
    return folder / "semantic" / name / f"{index:06d}.png"


def _remove_others(files: Sequence[Path]) -> None:
    """Remove what an earlier data set has left beside `files`, and nothing that is not ours."""
    kept = set(files)
    for folder in {path.parent for path in files}:
        is_own = own_files(folder)
        for path in folder.iterdir():
            if path not in kept and is_own(path.name):
                path.unlink()


def _check_parameters(parameters: dict[str, int]) -> None:
    for name, low, high in (("num_train", 0, _VAL_ID_OFFSET), ("num_val", 0, _VAL_ID_OFFSET), ("size", 32, 4096)):
        if not low <= parameters[name] <= high:
            raise UserError(f"shapes: {name} is {parameters[name]}, must be {low} to {high}")
    if parameters["seed"] < 0:
        raise UserError(f"shapes: seed is {parameters['seed']}, must be 0 or more")


def _is_there(folder: Path, parameters: dict[str, int], *, overwrite: bool) -> bool:
    """Whether the folder holds exactly this data set; False means that it may be written."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"shapes: {folder} is a file; give a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    try:
        found = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not found.keys() >= parameters.keys():
        raise UserError(f"shapes: {folder} holds something else (it has no {_MARKER} of ours); give a new folder")
    if not found.pop("complete", False):
        return False
    if found == parameters:
        return True
    if overwrite:
        return False
    differences = [f"{key} {found.get(key)} instead of {value}" for key, value in parameters.items()]
    differences = [text for text, key in zip(differences, parameters, strict=True) if found.get(key) != parameters[key]]
    raise UserError(
        f"shapes: {folder} was made with other parameters ({', '.join(differences)}); "
        "give a new folder, or --overwrite to replace it"
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="utf-8")


def _write_split(folder: Path, name: str, *, split: int, count: int, size: int, seed: int) -> None:
    for path in (folder / "images" / name, folder / "semantic" / name):
        path.mkdir(parents=True, exist_ok=True)  # also for no images
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        scene = make_scene(seed=seed, split=split, index=index, size=size)
        path, image_id = _image_path(folder, name, index), split * _VAL_ID_OFFSET + index + 1
        _write_image(path, scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        _write_image(_semantic_path(folder, name, index), scene.semantic, [])
        images.append({"id": image_id, "file_name": path.name, **_size_of(scene)})
        for item in scene.objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **_annotation(item)})
    content = {
        "info": {"description": f"shapes {name}, seed {seed}", "version": str(_FORMAT)},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": _categories(),
    }
    _write_json(folder / "annotations" / f"{name}.json", content)


def _write_image(path: Path, image: np.ndarray, options: list[int]) -> None:
    is_ok, content = cv2.imencode(path.suffix, np.ascontiguousarray(image), options)
    if not is_ok:
        raise OSError(f"cannot encode {path}")
    path.write_bytes(content.tobytes())


def _size_of(scene: Scene) -> dict[str, int]:
    height, width = scene.semantic.shape
    return {"height": height, "width": width}


def _categories() -> list[dict[str, Any]]:
    keypoints = {"keypoints": list(KEYPOINT_NAMES), "skeleton": [list(pair) for pair in SKELETON]}
    return [
        {"id": number, "name": name, "supercategory": "ring" if name.endswith("_ring") else "figure", **keypoints}
        for number, name in enumerate(CLASS_NAMES, start=1)
    ]


def _annotation(item: SceneObject) -> dict[str, Any]:
    """COCO's annotation of an object, without the ids of itself and of its image."""
    rows, columns = np.flatnonzero(item.mask.any(axis=1)), np.flatnonzero(item.mask.any(axis=0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    segmentation: Any = encode_uncompressed_rle(item.mask)
    if item.outside is not None:
        segmentation = [[round(float(number), 2) for number in item.outside.ravel()]]
    return {
        "category_id": CLASS_NAMES.index(item.class_name) + 1,
        "bbox": box,
        "area": int(item.mask.sum()),
        "iscrowd": int(item.is_crowd),
        "segmentation": segmentation,
        "num_keypoints": int((item.keypoints[:, 2] > 0).sum()),
        "keypoints": _keypoints(item),
    }


def _keypoints(item: SceneObject) -> list[float]:
    numbers: list[float] = []
    for x, y, visibility in item.keypoints:
        numbers += [round(float(x), 1), round(float(y), 1), int(visibility)]
    return numbers


def encode_uncompressed_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's run lengths of a bool mask [H, W]: column by column, background first."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": [int(run) for run in runs]}
