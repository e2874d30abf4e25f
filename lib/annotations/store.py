"""Opens the annotations of a file: from the cache when it fits, else by its reader; what was COCO's json is cached."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fpt.annotations.cache import CacheError, cache_path, fingerprint, read_cache, write_cache
from fpt.annotations.images import SizeOf
from fpt.annotations.json_file import load_json
from fpt.annotations.pack import AnnotationReader, read_packed
from fpt.annotations.packed import Categories, PackedAnnotations
from fpt.annotations.report import DatasetReport
from fpt.utils.errors import UserError

logger = logging.getLogger(__name__)


@dataclass
class AnnotationStore:
    """Packed annotations with their classes and report; pickling one whose arrays are mapped carries no arrays.

    Attributes:
        path: the annotation file, or folder of files.
        packed: the flat arrays.
        categories: the classes.
        report: the faults that were found while packing.
        cache_path: file that the arrays are mapped from; None when they are in memory only.
        key: what the cache was made from: fingerprint of the file, form of its boxes; None where there may be none.
    """

    path: Path
    packed: PackedAnnotations
    categories: Categories
    report: DatasetReport
    cache_path: Path | None
    key: str | None

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        if self.cache_path is not None:
            state["packed"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.cache_path is None or self.key is None:
            return
        try:
            arrays, _ = read_cache(self.cache_path, self.key, is_checked=False)
            self.packed = PackedAnnotations(**arrays)
        except CacheError as error:
            logger.info("cache of annotations was lost (%s): reading %s again", error, self.path)
            self.packed = open_annotations(self.path, box_format=self.key.rpartition(" ")[2]).packed


def open_annotations(
    path: Path, read: AnnotationReader = load_json, *, size_of: SizeOf | None = None, box_format: str = "xywh"
) -> AnnotationStore:
    """Open annotations, COCO's json through its cache.

    A cache that is absent, stale, damaged or cannot be written is no error. What another reader reads has none: a
    change of the reader, or of a file in a folder, could go unseen. Nor has a file that lacks the images' sizes.

    Args:
        path: the annotation file; for other readers than COCO's a folder, too.
        read: its reader.
        size_of: reads the size of an image file where the annotation file has none.
        box_format: what the four numbers of a box are, one of BOX_FORMATS.

    Raises:
        UserError: the annotation file is missing or cannot be used.
    """
    start = time.perf_counter()
    if read is not load_json:
        own = _read(path, read, size_of, box_format)
        logger.info("annotations of %s: from its reader in %.2f s", path, time.perf_counter() - start)
        return own
    if not path.exists():
        raise UserError(f"{path}: there is no such annotation file")
    key = f"{fingerprint(path)} {box_format}" if path.is_file() else ""
    store = _open_cache(path, key) if key else None
    if store is None:
        store = _read(path, read, size_of, box_format)
        if store.key is not None:
            store.key = key
            store = _write_cache(store) or store
        origin = "json" if store.cache_path is None else f"json, cached in {store.cache_path}"
    else:
        origin = f"cache {store.cache_path}"
    logger.info("annotations of %s: from %s in %.2f s", path, origin, time.perf_counter() - start)
    return store


def _read(path: Path, read: AnnotationReader, size_of: SizeOf | None, box_format: str) -> AnnotationStore:
    """What a file holds, without a cache; the key is None where it must not have one."""
    found = read_packed(path, read, size_of=size_of, box_format=box_format)
    key = None if found.has_measured or read is not load_json else ""
    return AnnotationStore(path, found.packed, found.categories, found.report, None, key)


def _open_cache(path: Path, key: str) -> AnnotationStore | None:
    place = cache_path(path)
    try:
        if place is None or not place.is_file():
            return None
        arrays, meta = read_cache(place, key)
        packed = PackedAnnotations(**arrays)
        categories = Categories(
            ids=tuple(meta["ids"]),
            names=tuple(meta["names"]),
            keypoint_names=tuple(map(tuple, meta["keypoint_names"])),
            skeletons=tuple(tuple((a, b) for a, b in pairs) for pairs in meta["skeletons"]),
        )
        report = DatasetReport.from_dict({**meta["report"], "source": str(path)})
        return AnnotationStore(path, packed, categories, report, place, key)
    except (CacheError, OSError, KeyError, TypeError) as error:
        logger.info("cache of annotations is not used, it is made anew: %s", error)
    return None


def _write_cache(store: AnnotationStore) -> AnnotationStore | None:
    """Write the cache and open it, so that the parent's arrays are the mapped ones too."""
    categories = store.categories
    meta = {
        "ids": categories.ids,
        "names": categories.names,
        "keypoint_names": categories.keypoint_names,
        "skeletons": categories.skeletons,
        "report": store.report.to_dict(),
    }
    place = cache_path(store.path)
    if place is None or store.key is None:
        return None
    try:
        write_cache(place, store.packed.arrays(), meta, store.key)
    except OSError as error:
        logger.info("cache of annotations cannot be written: %s", error)
        return None
    return _open_cache(store.path, store.key)
