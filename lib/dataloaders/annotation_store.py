"""Opens the annotations of a file: from the cache when it fits, else by its reader; what was COCO's json is cached."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fpt.dataloaders.annotations import Categories, PackedAnnotations
from fpt.dataloaders.cache import CacheError, cache_paths, fingerprint, read_cache, write_cache
from fpt.dataloaders.coco_json import AnnotationReader, load_json, read_packed
from fpt.dataloaders.report import DatasetReport
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
        key: fingerprint of the annotation file; empty where there is no cache.
    """

    path: Path
    packed: PackedAnnotations
    categories: Categories
    report: DatasetReport
    cache_path: Path | None
    key: str

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        if self.cache_path is not None:
            state["packed"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.cache_path is None:
            return
        try:
            arrays, _ = read_cache(self.cache_path, self.key, is_checked=False)
            self.packed = PackedAnnotations(**arrays)
        except CacheError as error:
            logger.info("cache of annotations was lost (%s): reading %s again", error, self.path)
            self.packed = open_annotations(self.path).packed


def open_annotations(path: Path, read: AnnotationReader = load_json) -> AnnotationStore:
    """Open annotations, COCO's json through its cache.

    A cache that is absent, stale, damaged or cannot be written is no error. What another reader reads has none: a
    change of the reader, or of a file in a folder, could go unseen.

    Args:
        path: the annotation file; for other readers than COCO's a folder, too.
        read: its reader.

    Raises:
        UserError: the annotation file is missing or cannot be used.
    """
    start = time.perf_counter()
    if read is not load_json:
        own = AnnotationStore(path, *read_packed(path, read), None, "")
        logger.info("annotations of %s: from its reader in %.2f s", path, time.perf_counter() - start)
        return own
    if not path.is_file():
        raise UserError(f"{path}: there is no such annotation file")
    key = fingerprint(path)
    store = _open_cache(path, key)
    if store is None:
        store = AnnotationStore(path, *read_packed(path, read), None, key)
        store = _write_cache(store) or store
        origin = "json" if store.cache_path is None else f"json, cached in {store.cache_path}"
    else:
        origin = f"cache {store.cache_path}"
    logger.info("annotations of %s: from %s in %.2f s", path, origin, time.perf_counter() - start)
    return store


def _open_cache(path: Path, key: str) -> AnnotationStore | None:
    for cache_path in cache_paths(path):
        try:
            if not cache_path.is_file():
                continue
            arrays, meta = read_cache(cache_path, key)
            packed = PackedAnnotations(**arrays)
            names, keypoints = tuple(meta["names"]), tuple(map(tuple, meta["keypoint_names"]))
            categories = Categories(tuple(meta["ids"]), names, keypoints)
            report = DatasetReport.from_dict({**meta["report"], "source": str(path)})
            return AnnotationStore(path, packed, categories, report, cache_path, key)
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
        "report": store.report.to_dict(),
    }
    for cache_path in cache_paths(store.path):
        try:
            write_cache(cache_path, store.packed.arrays(), meta, store.key)
        except OSError as error:
            logger.info("cache of annotations cannot be written: %s", error)
            continue
        opened = _open_cache(store.path, store.key)
        if opened is not None:
            return opened
    return None
