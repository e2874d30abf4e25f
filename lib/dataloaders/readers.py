"""Readers of annotations by name: the FORMAT of a data set."""

from __future__ import annotations

from fpt.dataloaders.coco_json import AnnotationReader, load_json

DATASET_READERS: dict[str, AnnotationReader] = {"coco": load_json}
