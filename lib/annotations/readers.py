"""Readers of annotations by name: the FORMAT of a data set."""

from __future__ import annotations

from fpt.annotations.json_file import load_json
from fpt.annotations.pack import AnnotationReader

DATASET_READERS: dict[str, AnnotationReader] = {"coco": load_json}
