"""Data sets and loaders from the configuration."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from fpt.core.config import get_cfg
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_dataset, build_test_loader, build_train_dataset, build_train_loader
from fpt.dataloaders.collate import Batch
from fpt.dataloaders.loader import ImageLoader
from fpt.dataloaders.samplers import RangeBatchSampler
from fpt.structures.coco_classes import COCO_CLASSES
from fpt.utils.errors import UserError


@pytest.fixture
def cfg(coco_folder) -> CfgNode:
    """Two names of the small data set, relative to DATA_DIR."""
    coco_folder.write()
    cfg = get_cfg()
    cfg.DATA_DIR = str(coco_folder.folder)
    declared = {"IMAGE_DIR": "images", "ANN_FILE": "annotations.json"}
    cfg.DATASETS = {"tiny_train": declared, "tiny_val": declared}
    cfg.TRAIN.DATASETS = ("tiny_train",)
    cfg.TRAIN.SCALES, cfg.TEST.SCALE = (30, 45), 60
    cfg.MODEL.MASK_ON = True
    return cfg


def _same(first: Batch, second: Batch) -> bool:
    assert first.targets is not None
    assert second.targets is not None
    images = all(torch.equal(a, b) for a, b in zip(first.images, second.images, strict=True))
    targets = zip(first.targets, second.targets, strict=True)
    return images and all(torch.equal(a[key], b[key]) for a, b in targets for key in a)


def test_batches_do_not_depend_on_workers_and_go_on_anywhere(cfg: CfgNode):
    alone = list(itertools.islice(build_train_loader(cfg, batch_size=2, num_workers=0), 6))
    workers = list(itertools.islice(build_train_loader(cfg, batch_size=2, num_workers=2), 6))
    later = list(itertools.islice(build_train_loader(cfg, batch_size=2, num_workers=0, start_batch=4), 2))
    assert all(_same(a, b) for a, b in zip(alone, workers, strict=True))
    assert all(_same(a, b) for a, b in zip(alone[4:], later, strict=True))
    assert alone[0].images[0].stride()[0] == 1
    assert workers[0].images[0].stride()[0] == 1


def test_batch_of_training(cfg: CfgNode):
    loader = build_train_loader(cfg, batch_size=3, num_workers=0)
    batch = next(iter(loader))
    assert len(batch) == 3
    assert sorted(batch.image_ids) == [10, 11, 12]
    assert batch.targets is not None
    assert set(batch.targets[0]) == {"boxes", "labels", "masks", "crowd_boxes"}
    assert loader.dataset.class_names == ("date", "fig")
    moved = batch.to("cpu")
    assert moved.image_ids == batch.image_ids
    assert _same(moved, batch)


def test_boxes_alone(cfg: CfgNode):
    cfg.MODEL.MASK_ON = False
    batch = next(iter(build_train_loader(cfg, batch_size=1, num_workers=0)))
    assert batch.targets is not None
    assert set(batch.targets[0]) == {"boxes", "labels", "crowd_boxes"}


def test_evaluation_reads_in_order(cfg: CfgNode):
    dataset = build_dataset(cfg, "tiny_val", is_train=False, with_masks=False)
    loader = build_test_loader(cfg, dataset, batch_size=2, num_workers=0)
    batches = list(loader)
    assert len(loader) == 2
    assert [batch.image_ids for batch in batches] == [[10, 11], [12]]
    assert batches[0].targets is None
    assert batches[0].images[0].shape == (3, 60, 80)
    assert batches[0].sizes_hw == [(30, 40), (40, 30)]
    assert batches[0].scales == [2.0, 2.0]
    part = build_test_loader(cfg, dataset, batch_size=2, num_workers=0, index_range=(1, 3))
    assert [batch.image_ids for batch in part] == [[11, 12]]


@pytest.mark.parametrize("index_range", [(0, 4), (2, 2), (-1, 2)])
def test_wrong_range(cfg: CfgNode, index_range):
    dataset = build_dataset(cfg, "tiny_val", is_train=False, with_masks=False)
    with pytest.raises(UserError, match="needs 0 <= START < END <= 3"):
        build_test_loader(cfg, dataset, batch_size=1, num_workers=0, index_range=index_range)


def test_several_data_sets_are_one(cfg: CfgNode):
    dataset = build_train_dataset(cfg, ("tiny_train", "tiny_val"))
    assert len(dataset) == 6
    assert sum(part.objects().num_learnt for part in dataset.datasets) == 6
    assert dataset.num_classes == 3
    assert [dataset[i]["image_id"] for i in range(6)] == [10, 11, 12, 10, 11, 12]
    assert dataset.is_wide.tolist() == [True, False, True] * 2


def test_data_sets_of_different_classes(cfg: CfgNode, coco_folder):
    coco_folder.content["categories"][0]["name"] = "nut"
    (coco_folder.folder / "other.json").write_text(coco_folder.write().read_text())
    cfg.DATASETS.other = {"IMAGE_DIR": "images", "ANN_FILE": "other.json"}
    coco_folder.content["categories"][0]["name"] = "fig"
    coco_folder.write()
    with pytest.raises(UserError, match=r"tiny_train and other .* classes differ in \['fig', 'nut'\]"):
        build_train_dataset(cfg, ("tiny_train", "other"))


def test_nothing_to_learn_from(cfg: CfgNode, coco_folder):
    with pytest.raises(UserError, match=r"TRAIN\.DATASETS names no data set"):
        build_train_dataset(cfg, ())
    cfg.MODEL.MASK_ON = False
    coco_folder.content["annotations"] = []
    coco_folder.write()
    with pytest.raises(UserError, match="no annotated object to learn from"):
        build_train_dataset(cfg)


def test_missing_files_name_the_data_set(cfg: CfgNode):
    cfg.DATASETS.lost = {"IMAGE_DIR": "images", "ANN_FILE": "lost.json"}
    with pytest.raises(UserError, match=r"data set lost: 'lost\.json' does not exist; looked at"):
        build_dataset(cfg, "lost", is_train=True, with_masks=False)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damaged_image_gives_its_message_alone(cfg: CfgNode, coco_folder, num_workers: int):
    path = coco_folder.image_dir / "1.png"
    path.write_bytes(path.read_bytes()[:-30])
    dataset = build_dataset(cfg, "tiny_val", is_train=False, with_masks=False)
    with pytest.raises(UserError) as error:
        list(build_test_loader(cfg, dataset, batch_size=2, num_workers=num_workers))
    assert str(error.value).startswith(f"{path}: the image is truncated")
    assert "Traceback" not in str(error.value)


def test_debug_is_a_quick_look(cfg: CfgNode, shared_data: Path):
    cfg.DEBUG, cfg.DATA_DIR = True, str(shared_data)
    cfg.DATASETS = {"nuclei": {"IMAGE_DIR": "nuclei/images", "ANN_FILE": "nuclei/annotations/train.json"}}
    assert len(build_dataset(cfg, "nuclei", is_train=True, with_masks=True)) == 32


def test_coco_layout(cfg: CfgNode, shared_data: Path):
    cfg.DATA_DIR = str(shared_data)
    dataset = build_dataset(cfg, "coco_2017_val", is_train=False, with_masks=False)
    assert len(dataset) == 15
    assert dataset.class_names == COCO_CLASSES
    assert dataset.category_ids[-1] == 90
    people = build_dataset(cfg, "keypoints_coco_2017_train", is_train=True, with_masks=True)
    assert people.class_names == ("person",)


@pytest.mark.slow
def test_spawned_workers_reopen_the_annotations(cfg: CfgNode):
    dataset = build_dataset(cfg, "tiny_val", is_train=True, with_masks=True)
    sampler = RangeBatchSampler(start=0, end=3, batch_size=3)
    spawned = next(iter(ImageLoader(dataset, batch_sampler=sampler, num_workers=1, context="spawn")))
    alone = next(iter(ImageLoader(dataset, batch_sampler=sampler, num_workers=0)))
    assert _same(spawned, alone)
