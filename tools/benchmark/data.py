"""Measures the data pipeline at COCO's size: opening the annotations, memory of a loader worker, images a second.

Writes a made-up data set (118k images, 860k polygons) into --work_dir, once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import time
from pathlib import Path

import cv2
import numpy as np

from fpt.annotations.cache import cache_path
from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.image_io import ImageReading, read_image
from fpt.dataloaders.loader import ImageLoader
from fpt.dataloaders.samplers import TrainBatchSampler
from fpt.dataloaders.transforms import ResizeAndFlip, resize_image

TRANSFORM = ResizeAndFlip((800,), 1333, 0.5)


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work_dir", type=Path, default=Path("outputs/benchmark_data"))
    parser.add_argument("--image_dir", type=Path, help="real photos for the decoding rate; default: a made-up one")
    parser.add_argument("--num_images", type=int, default=118_287)
    parser.add_argument("--num_objects", type=int, default=860_001)
    parser.add_argument("--num_workers", type=int, default=2)
    parser.add_argument("--num_batches", type=int, default=200, help="batches of 2 before memory is read")
    return parser.parse_args()


def make_image(path: Path, *, width: int = 640, height: int = 480) -> None:
    """A JPEG of about as many bytes as a photo."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noisy = (image + rng.normal(0, 12, image.shape)).clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(path), noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])


def make_dataset(folder: Path, num_images: int, num_objects: int) -> tuple[Path, Path]:
    """Annotation file and image folder; polygons of 10 to 25 points, 80 classes, images linked to one file."""
    ann_file, image_dir = folder / f"made_up_{num_images}_{num_objects}.json", folder / f"images_{num_images}"
    image_dir.mkdir(parents=True, exist_ok=True)
    if not (folder / "photo.jpg").exists():
        make_image(folder / "photo.jpg")
    names = [f"{k:012d}.jpg" for k in range(num_images)]
    for name in names:
        if not (image_dir / name).is_symlink():
            (image_dir / name).symlink_to(folder.resolve() / "photo.jpg")
    if ann_file.exists():
        return ann_file, image_dir
    images = [{"id": k, "file_name": name, "height": 480, "width": 640} for k, name in enumerate(names)]
    categories = [{"id": k, "name": f"class {k}"} for k in range(1, 81)]
    rng = np.random.default_rng(0)
    with ann_file.open("w") as file:
        file.write(f'{{"images": {json.dumps(images)}, "categories": {json.dumps(categories)}, "annotations": [')
        for k in range(num_objects):
            num_points = int(rng.integers(10, 26))
            angles = np.sort(rng.random(num_points)) * 2 * np.pi
            radii = rng.uniform(8, 100) * rng.uniform(0.8, 1.2, num_points)
            centre = rng.uniform((0, 0), (640, 480))
            points = centre + radii[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
            points = points.clip(0, (639, 479)).round(2)
            low, sides = points.min(axis=0), np.ptp(points, axis=0) + 1
            entry = {"id": k + 1, "image_id": int(rng.integers(num_images)), "category_id": k % 80 + 1, "iscrowd": 0}
            entry |= {"bbox": [*low.tolist(), *sides.round(2).tolist()], "area": round(float(sides.prod() * 0.7), 2)}
            file.write((", " if k else "") + json.dumps({**entry, "segmentation": [points.ravel().tolist()]}))
        file.write("]}")
    return ann_file, image_dir


def open_dataset(ann_file: Path, image_dir: Path) -> CocoDataset:
    """The data set as training opens it."""
    return CocoDataset(name="made-up", ann_file=ann_file, image_dir=image_dir, transform=TRANSFORM, with_masks=True)


def measure_opening(ann_file: Path, image_dir: Path) -> CocoDataset:
    """Print the time without and with a cache."""
    if (path := cache_path(ann_file)) is not None:
        path.unlink(missing_ok=True)
    for label in ("first", "second", "third"):
        start = time.perf_counter()
        dataset = open_dataset(ann_file, image_dir)
        print(f"{label} opening: {time.perf_counter() - start:.2f} s")
    return dataset


def memory_mb(process_id: int) -> dict[str, float]:
    """USS (private) and PSS (private + share of what is shared) of a process, in MB."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()[1:])
    kilobytes = {key: int(value.split()[0]) for key, value in fields.items()}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"USS": private / 1024, "PSS": kilobytes["Pss"] / 1024}


def measure_workers(dataset: CocoDataset, context: str, num_workers: int, num_batches: int) -> dict[str, float]:
    """Mean memory of a worker after batches of random images, and images a second of all workers."""
    sampler = TrainBatchSampler(is_wide=dataset.is_wide, batch_size=2, seed=0)
    loader = ImageLoader(dataset, batch_sampler=sampler, num_workers=num_workers, context=context)
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    for _ in itertools.islice(batches, num_batches):
        pass
    rate = 2 * num_batches / (time.perf_counter() - start)
    memories = [memory_mb(process.pid) for process in multiprocessing.active_children() if process.pid]
    means = {key: float(np.mean([memory[key] for memory in memories])) for key in ("USS", "PSS")}
    return {**means, "images/s": rate}


def measure_decoding(paths: list[Path], *, reduces_jpeg: bool, seconds: float = 5.0) -> float:
    """Images a second of one core through reading, decoding and resizing to 800 pixels."""
    cv2.setNumThreads(0)
    reading = ImageReading(reduces_jpeg=reduces_jpeg)
    sizes = [read_image(path).shape[:2] for path in paths]
    count, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        path, size_hw = paths[count % len(paths)], sizes[count % len(paths)]
        input_hw, _ = TRANSFORM.draw(size_hw, None)
        resize_image(read_image(path, size_hw, reading=reading, least_size_hw=input_hw), input_hw)
        count += 1
    return count / (time.process_time() - start)


def main() -> None:
    """Make the data set, measure, print."""
    args = parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    ann_file, image_dir = make_dataset(args.work_dir, args.num_images, args.num_objects)
    print(f"{ann_file}: {ann_file.stat().st_size / 2**20:.0f} MB")
    dataset = measure_opening(ann_file, image_dir)
    small = open_dataset(*make_dataset(args.work_dir / "small", 100, 700))
    for context in ("fork", "spawn"):
        base = measure_workers(small, context, args.num_workers, args.num_batches)
        full = measure_workers(dataset, context, args.num_workers, args.num_batches)
        added = ", ".join(f"{key} {full[key]:.0f} MB (+{full[key] - base[key]:.0f})" for key in ("USS", "PSS"))
        print(f"a {context} worker: {added}; + = against 100 images; {full['images/s']:.0f} images/s with masks")
    photos = sorted(args.image_dir.glob("*.jpg")) if args.image_dir else [args.work_dir / "photo.jpg"]
    rate = measure_decoding(photos, reduces_jpeg=False)
    print(f"decode and resize to 800: {rate:.0f} images a second and core ({photos[0].parent})")
    make_image(args.work_dir / "large.jpg", width=4000, height=3000)
    for name, is_reduced in (("whole", False), ("reduced", True), ("whole", False), ("reduced", True)):
        rate = measure_decoding([args.work_dir / "large.jpg"], reduces_jpeg=is_reduced)
        print(f"4000 x 3000, {name} (DATA_LOADER.REDUCED_JPEG {is_reduced}): {rate:.1f} images a second and core")


if __name__ == "__main__":
    main()
