"""Samples of a COCO-format data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from fpt.annotations.store import open_annotations
from fpt.dataloaders.coco import MASK_SIZE, CocoDataset, LoadFailure
from fpt.dataloaders.image_io import ImageReading
from fpt.dataloaders.transforms import ResizeAndFlip
from fpt.structures.masks import rasterize_polygons, rasterize_rle
from fpt.utils.errors import UserError


def test_classes_and_images(coco_folder):
    dataset = coco_folder.open()
    assert len(dataset) == 3
    assert dataset.class_names == ("date", "fig")
    assert dataset.category_ids == (3, 7)
    assert dataset.num_classes == 3
    assert dataset.image_ids == [10, 11, 12]
    assert dataset.is_wide.tolist() == [True, False, True]
    assert dataset.has_masks
    assert dataset.image_path(2) == coco_folder.image_dir / "2.png"
    assert dataset.report.findings == []
    assert "3 images (1 without objects, kept as background), 4 annotations" in dataset.report.text()


def test_target_of_a_image_at_twice_its_size(coco_folder):
    sample = coco_folder.open(short_side=60, with_masks=True)[0]
    target = sample["target"]
    assert sample["image"].shape == (3, 60, 80)
    assert sample["image"].dtype == torch.uint8
    assert sample["image"].stride() == (1, 240, 3)
    assert (sample["image_id"], sample["size_hw"], sample["scale"]) == (10, (30, 40), 2.0)
    assert target["boxes"].tolist() == [[8, 12, 28, 36], [40, 20, 80, 60]]
    assert target["boxes"].dtype == torch.float32
    assert target["labels"].tolist() == [2, 1]
    assert target["labels"].dtype == torch.int64
    assert target["crowd_boxes"].tolist() == [[0, 0, 4, 60]]
    masks = target["masks"]
    assert masks.shape == (2, MASK_SIZE, MASK_SIZE)
    assert masks.dtype == torch.uint8
    assert masks[0, :, :55].all()  # the polygon is the left half of its box
    assert not masks[0, :, 57:].any()
    assert masks[1, :55].all()
    assert masks[1, 85:].all()
    assert not masks[1, 57:83].any()


def test_flipped_sample_is_the_mirror_image(coco_folder):
    plain = coco_folder.open(with_masks=True)[(0, 5)]
    flipped = coco_folder.reopen(with_masks=True, flip=1.0)[(0, 5)]
    assert torch.equal(flipped["image"], plain["image"].flip(2))
    assert flipped["image"].stride() == plain["image"].stride()
    boxes, expected = flipped["target"]["boxes"], plain["target"]["boxes"]
    assert torch.equal(boxes[:, [0, 2]], 40 - expected[:, [2, 0]])
    assert torch.equal(boxes[:, [1, 3]], expected[:, [1, 3]])
    assert torch.equal(flipped["target"]["masks"], plain["target"]["masks"].flip(2))
    assert flipped["target"]["crowd_boxes"].tolist() == [[38, 0, 40, 30]]


def test_image_without_objects_is_background(coco_folder):
    target = coco_folder.open(with_masks=True)[2]["target"]
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)
    assert target["masks"].shape == (0, MASK_SIZE, MASK_SIZE)
    assert target["crowd_boxes"].shape == (0, 4)


def test_size_and_mirroring_follow_the_seed_alone(coco_folder):
    first, second = coco_folder.open(flip=0.5), coco_folder.reopen(flip=0.5)
    images = [first[(0, seed)]["image"] for seed in range(20)]
    assert all(torch.equal(image, second[(0, seed)]["image"]) for seed, image in enumerate(images))
    assert 0 < sum(torch.equal(image, images[0]) for image in images) < 20


def test_small_objects_are_left_out_on_request(coco_folder):
    target = coco_folder.open(min_area=200)[0]["target"]
    assert target["labels"].tolist() == [1]
    assert len(target["crowd_boxes"]) == 1


def test_object_without_mask_trains_its_box(coco_folder):
    del coco_folder.annotations[0]["segmentation"]
    dataset = coco_folder.open(with_masks=True)
    target = dataset[0]["target"]
    assert target["labels"].tolist() == [2, 1]
    assert target["has_mask"].tolist() == [False, True]
    assert target["masks"][0].sum() == 0
    assert target["crowd_boxes"].tolist() == [[0, 0, 2, 30]]
    assert "objects without a mask among others with one" in dataset.report.text()
    assert "has_mask" not in dataset[1]["target"]
    assert "MODEL.MASK_ON" not in dataset.report.text()


def test_most_objects_without_a_mask_are_a_reason_to_train_boxes(coco_folder):
    for annotation in coco_folder.annotations[:3]:
        del annotation["segmentation"]
    assert "most objects are such: consider --set MODEL.MASK_ON False" in coco_folder.open().report.text()


def test_masks_of_crowds_alone_teach_no_masks(coco_folder):
    for annotation in coco_folder.annotations:
        if not annotation.get("iscrowd"):
            del annotation["segmentation"]
    with pytest.raises(UserError, match="has no masks, so a mask head cannot be trained on it"):
        coco_folder.open(with_masks=True)


def test_masks_that_cannot_be_used_are_named(coco_folder):
    for annotation in coco_folder.annotations:
        annotation["segmentation"] = [[1, 2, 3, 4]]
    with pytest.raises(UserError, match=r"has masks, but none can be used:\n.*less than 3 points: dropped.*4 \(a box"):
        coco_folder.open(with_masks=True)


def test_some_classes_in_an_order_of_ones_own(coco_folder):
    dataset = coco_folder.open(classes=("fig", "date"))
    assert (dataset.class_names, dataset.category_ids) == (("fig", "date"), (7, 3))
    assert dataset[0]["target"]["labels"].tolist() == [1, 2]
    figs = coco_folder.open(classes=("fig",), with_masks=True)
    assert figs.num_classes == 2
    target = figs[0]["target"]
    assert (target["labels"].tolist(), target["boxes"].tolist()) == ([1], [[4, 6, 14, 18]])
    assert target["crowd_boxes"].shape == (0, 4)
    assert [(item["image_id"], item["category_id"]) for item in figs.ground_truth().annotations] == [(10, 7)]
    with pytest.raises(UserError, match=r"CLASSES names 'dates', but .* did you mean 'date'. It has: date, fig"):
        coco_folder.open(classes=("dates",))
    evaluated = coco_folder.open(classes=("kiwi", "date"), with_targets=False)
    assert (evaluated.class_names, evaluated.category_ids) == (("date",), (3,))


def test_names_of_images_from_elsewhere(coco_folder):
    names = ["images\\0.png", "1.PNG", "C:\\data\\set one\\2.jpg"]
    for image, name in zip(coco_folder.content["images"], names, strict=True):
        image["file_name"] = name
    dataset = coco_folder.open()
    assert [dataset.image_path(i).name for i in range(3)] == ["0.png", "1.png", "2.png"]
    assert "3 x images under another name: read [images\\0.png is 0.png, 1.PNG is 1.png, C:" in dataset.report.text()
    assert not dataset.report.has_faults
    assert dataset[1]["image"].shape == (3, 40, 30)


def test_a_missing_image_names_the_nearest(coco_folder):
    coco_folder.content["images"][0]["file_name"] = "0_.png"
    with pytest.raises(UserError, match=r"missing images: looked for in .*; nearest to the first is 0.png \[0_.png\]"):
        coco_folder.open()


def test_few_missing_images_may_be_replaced(coco_folder):
    (coco_folder.image_dir / "2.png").unlink()
    dataset = coco_folder.open(max_missing=0.01)
    assert "others take their places (TRAIN.MAX_BAD_SAMPLES) [2.png]" in dataset.report.text()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        dataset[2]
    (coco_folder.image_dir / "1.png").unlink()
    with pytest.raises(UserError, match="2 x missing images"):
        coco_folder.open(max_missing=0.01)


def test_boxes_alone_cannot_train_masks(coco_folder):
    for entry in coco_folder.annotations:
        entry.pop("segmentation")
    assert not coco_folder.open().has_masks
    with pytest.raises(UserError, match=r"has no masks.*MODEL\.MASK_ON False"):
        coco_folder.reopen(with_masks=True)


def test_limit_uses_the_first_images(coco_folder):
    (coco_folder.image_dir / "2.png").unlink()
    assert len(coco_folder.open(limit=2)) == 2


def test_missing_images_are_named_with_the_folder(coco_folder):
    (coco_folder.image_dir / "0.png").unlink()
    (coco_folder.image_dir / "2.png").unlink()
    with pytest.raises(UserError) as error:
        coco_folder.open()
    assert "2 x missing images" in str(error.value)
    assert str(coco_folder.image_dir) in str(error.value)
    assert "0.png, 2.png" in str(error.value)


def test_missing_folder_is_said(coco_folder):
    coco_folder.write()
    coco_folder.image_dir.rename(coco_folder.folder / "elsewhere")
    with pytest.raises(UserError, match="a folder that does not exist"):
        coco_folder.reopen()


def test_images_in_subfolders_are_found(coco_folder):
    (coco_folder.image_dir / "a").mkdir()
    (coco_folder.image_dir / "1.png").rename(coco_folder.image_dir / "a" / "1.png")
    coco_folder.content["images"][1]["file_name"] = "a/1.png"
    assert coco_folder.open()[1]["image"].shape == (3, 40, 30)


def test_wrong_size_in_the_annotations_is_an_error(coco_folder):
    coco_folder.content["images"][0]["width"] = 44
    dataset = coco_folder.open()
    with pytest.raises(UserError, match=r"0\.png: the image is 40 x 30 .* annotations say 44 x 30"):
        dataset[0]
    failure = dataset.__getitems__([0])[0]
    assert isinstance(failure, LoadFailure)


def test_index_out_of_range(coco_folder):
    with pytest.raises(IndexError, match="image 3 of 3"):
        coco_folder.open()[3]


@pytest.mark.parametrize("name", ["nuts", "nuclei", "bccd"])
def test_real_sets_load_whole(shared_data: Path, coco_folder, name: str):
    source = shared_data / name
    coco_folder.ann_file.write_bytes((source / "annotations" / "val.json").read_bytes())
    dataset = CocoDataset(
        name=name,
        ann_file=coco_folder.ann_file,
        image_dir=source / "images",
        transform=ResizeAndFlip((128,), 200, 0.5),
        with_masks=name != "bccd",
    )
    assert dataset.has_masks == (name != "bccd")
    for i in range(min(len(dataset), 10)):
        sample = dataset[(i, i)]
        target = sample["target"]
        h, w = sample["image"].shape[1:]
        assert min(h, w) <= 128
        assert (target["boxes"][:, 2:] <= torch.tensor([w, h]) + 1e-3).all()
        assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
        if name != "bccd":
            assert (target["masks"].flatten(1).float().mean(1) > 0.2).all()


def test_masks_of_photos_agree_with_the_image_size_masks(shared_data: Path, tmp_path: Path):
    """Pasted back by sampling, box-frame masks of polygons and of RLE cover what the evaluator's masks cover."""
    ann_file = tmp_path / "val.json"
    ann_file.write_bytes((shared_data / "coco" / "annotations" / "instances_val2017.json").read_bytes())
    packed = open_annotations(ann_file).packed
    reference = COCO(str(ann_file))
    ious = []
    for index in range(len(packed)):
        chosen = packed.objects(index)
        for position in range(chosen.start, chosen.stop):
            x1, y1, x2, y2 = packed.boxes_xyxy[position]
            expected = reference.annToMask(reference.anns[int(packed.annotation_ids[position])])
            rle, box = packed.rle(position, packed.size_hw(index)), packed.boxes_xyxy[position]
            framed = rasterize_polygons(packed.polygons(position), box, 112) if rle is None else None
            framed = rasterize_rle(rle, box, 112) if framed is None else framed
            rows, columns = np.mgrid[: expected.shape[0], : expected.shape[1]] + 0.5
            inside = (rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)
            row = ((rows - y1) / (y2 - y1) * 112).astype(int).clip(0, 111)
            column = ((columns - x1) / (x2 - x1) * 112).astype(int).clip(0, 111)
            pasted = framed[row, column] * inside
            if expected.sum() > 400:
                ious.append((pasted & expected).sum() / (pasted | expected).sum())
    assert len(ious) > 80
    assert np.mean(ious) > 0.97


def test_truncated_image_is_named(coco_folder):
    dataset = coco_folder.open()
    path = coco_folder.image_dir / "1.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"1\.png: the image is truncated"):
        dataset[1]
    assert cv2.imread(str(coco_folder.image_dir / "0.png")) is not None


def test_reduced_photos_have_the_same_targets_and_nearly_the_same_pixels(shared_data: Path, coco_folder):
    source = shared_data / "nuts"
    coco_folder.ann_file.write_bytes((source / "annotations" / "val.json").read_bytes())
    whole, reduced = (
        CocoDataset(
            name="nuts",
            ann_file=coco_folder.ann_file,
            image_dir=source / "images",
            transform=ResizeAndFlip((200,), 400, 0.5),
            with_masks=True,
            reading=ImageReading(reduces_jpeg=is_reduced),
        )
        for is_reduced in (False, True)
    )
    for key in ((0, 3), (1, 4), (2, 5)):
        a, b = whole[key], reduced[key]
        assert a["image"].shape == b["image"].shape == (3, 200, 267)
        assert 0 < (a["image"].float() - b["image"].float()).abs().mean() < 4
        assert all(torch.equal(a["target"][name], b["target"][name]) for name in a["target"])
