"""The cache of annotations: found, rebuilt, shared."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from fpt.annotations import cache
from fpt.annotations.cache import CacheError, cache_path, read_cache, write_cache
from fpt.annotations.store import open_annotations


def _same(first, second) -> bool:
    arrays = second.packed.arrays()
    return all(
        np.array_equal(values, arrays[name]) and values.dtype == arrays[name].dtype
        for name, values in first.packed.arrays().items()
    )


def _is_mapped(values: np.ndarray) -> bool:
    while values is not None and not isinstance(values, np.memmap):
        values = values.base
    return values is not None


def test_arrays_come_back_mapped_and_aligned(tmp_path: Path):
    arrays = {
        "a": np.arange(7, dtype=np.int64),
        "b": np.zeros((0, 2), np.float32),
        "c": np.array([True, False]),
        "d": np.random.default_rng(0).random((5, 3), dtype=np.float32),
    }
    write_cache(tmp_path / "x.fptcache", arrays, {"names": ["é"]}, "key")
    loaded, meta = read_cache(tmp_path / "x.fptcache", "key")
    assert meta == {"names": ["é"]}
    for name, values in arrays.items():
        assert np.array_equal(loaded[name], values)
        assert loaded[name].dtype == values.dtype
        assert loaded[name].ctypes.data % 64 == 0
        assert _is_mapped(loaded[name])
        assert not loaded[name].flags.writeable
    assert [path.name for path in tmp_path.iterdir()] == ["x.fptcache"]


def test_second_opening_reads_no_json(coco_folder, monkeypatch: pytest.MonkeyPatch):
    coco_folder.annotations[0]["bbox"] = [4, 6, 100, 12]
    first = open_annotations(coco_folder.write())
    monkeypatch.setattr("fpt.annotations.store.read_packed", None)
    second = open_annotations(coco_folder.ann_file)
    assert second.cache_path == cache_path(coco_folder.ann_file)
    assert not list(coco_folder.folder.rglob("*.fptcache"))
    assert _same(first, second)
    assert second.categories == first.categories
    assert second.report.text() == first.report.text()
    assert "reach out of their image" in second.report.text()
    assert all(_is_mapped(values) for values in second.packed.arrays().values())


def test_changed_file_is_read_anew(coco_folder, caplog: pytest.LogCaptureFixture):
    open_annotations(coco_folder.write())
    coco_folder.annotations[0]["bbox"] = [4, 6, 11, 12]
    coco_folder.write()
    with caplog.at_level(logging.INFO):
        store = open_annotations(coco_folder.ann_file)
    assert store.packed.boxes_xyxy[0].tolist() == [4, 6, 15, 18]
    assert "made from another version of the annotation file" in caplog.text


def test_same_size_and_time_but_other_content(coco_folder):
    path = coco_folder.write()
    open_annotations(path)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    coco_folder.annotations[0]["bbox"] = [4, 6, 11, 12]
    coco_folder.write()
    os.utime(path, ns=times)
    assert open_annotations(path).packed.boxes_xyxy[0].tolist() == [4, 6, 15, 18]


def _damage(data: bytes, how: str) -> bytes:
    if how == "empty":
        return b""
    if how == "truncated":
        return data[:-8]
    if how == "other file":
        return b"something else entirely, long enough to be read"
    position = {"version": 8, "header": 60, "array": len(data) - 3}[how]
    return data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "truncated"),
        ("truncated", "truncated"),
        ("other file", "no cache file"),
        ("version", "of version"),
        ("header", "damaged header"),
        ("array", "is damaged"),
    ],
)
def test_damaged_cache_is_made_anew(coco_folder, caplog: pytest.LogCaptureFixture, how: str, message: str):
    first = open_annotations(coco_folder.write())
    path = cache_path(coco_folder.ann_file)
    whole = path.read_bytes()
    path.unlink()  # another file of that name: the first one stays mapped
    path.write_bytes(_damage(whole, how))
    with pytest.raises(CacheError, match=message):
        read_cache(path, first.key)
    with caplog.at_level(logging.INFO):
        assert _same(open_annotations(coco_folder.ann_file), first)
    assert message in caplog.text
    assert path.read_bytes() == whole


def test_cache_of_another_layout_is_made_anew(coco_folder):
    first = open_annotations(coco_folder.write())
    path = cache_path(coco_folder.ann_file)
    write_cache(path, {"other": np.zeros(3)}, {}, first.key)
    assert _same(open_annotations(coco_folder.ann_file), first)


def test_caches_lie_in_the_users_folder_alone(coco_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    before = sorted(coco_folder.folder.iterdir())
    store = open_annotations(coco_folder.write())
    assert store.cache_path is not None
    assert store.cache_path.parent == tmp_path / "home" / "fpt"
    assert sorted(coco_folder.folder.iterdir()) == sorted([*before, coco_folder.ann_file, tmp_path / "home"])


def test_nowhere_to_write_is_no_error(coco_folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def refuse(*args: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("fpt.annotations.store.write_cache", refuse)
    with caplog.at_level(logging.INFO):
        store = open_annotations(coco_folder.write())
    assert store.cache_path is None
    assert "cannot be written: No space left on device" in caplog.text
    assert _same(pickle.loads(pickle.dumps(store)), store)


def test_unreachable_cache_folder_is_no_error(coco_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("x" * 300)))
    store = open_annotations(coco_folder.write())
    assert store.cache_path is None
    assert len(store.packed) == 3


def test_process_without_a_home_has_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache.Path, "home", refuse)
    assert cache_path(tmp_path / "a.json") is None


def test_a_long_name_of_a_file_gives_a_name_that_can_be_written(tmp_path: Path):
    name = cache_path(tmp_path / f"{'é' * 120}.json").name
    assert len(name.encode()) < 200


def test_boxes_of_another_form_are_read_anew(coco_folder):
    first = open_annotations(coco_folder.write())
    other = open_annotations(coco_folder.ann_file, box_format="cxcywh")
    assert first.packed.boxes_xyxy[0].tolist() == [4, 6, 14, 18]
    assert other.packed.boxes_xyxy[0].tolist() == [0, 0, 9, 12]


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(cache.os, "replace", refuse)
    with pytest.raises(OSError, match="no"):
        write_cache(tmp_path / "x.fptcache", {"a": np.zeros(3)}, {}, "key")
    assert list(tmp_path.iterdir()) == []


def test_pickle_carries_no_arrays(coco_folder):
    dataset = coco_folder.open(with_masks=True)
    for k in range(2, 500):
        coco_folder.annotations.append({**coco_folder.annotations[0], "id": 100 + k, "bbox": [4, 6, 10, 1 + k / 50]})
    larger = coco_folder.open(with_masks=True)
    assert len(pickle.dumps(larger)) < len(pickle.dumps(dataset)) + 100
    copy = pickle.loads(pickle.dumps(larger))
    assert _is_mapped(copy._store.packed.points)
    assert len(copy[0]["target"]["boxes"]) == 500


def test_copy_survives_a_lost_cache(coco_folder):
    store = open_annotations(coco_folder.write())
    data = pickle.dumps(store)
    cache_path(coco_folder.ann_file).unlink()
    assert _same(pickle.loads(data), store)
