"""Which images are read, and what their results are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fpt.utils.errors import UserError

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .png .bmp .dib .webp .tif .tiff .ppm .pgm .pbm .pnm .gif .jp2 .avif .hdr .exr .sr .ras".split()
)

RESERVED = ("environment_infer", "log", "results")


def find_images(folder: Path) -> list[Path]:
    """Image files of a folder, by name; folders in it are not entered.

    Raises:
        UserError: the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise UserError(f"--image_dir {folder} is {'a file' if folder.exists() else 'missing'}; name a folder")
    entries = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    images = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
    if not images:
        raise UserError(f"--image_dir {folder} holds {len(entries)} files but no image ({', '.join(sorted(SUFFIXES))})")
    return images


def output_names(images: Sequence[Path]) -> list[str]:
    """A name without suffix for each image, all different even where only letter case or folders differ.

    a.jpg -> a; a.jpg and a.png -> a_jpg and a_png; x/a.jpg and y/a.jpg -> a_jpg and a_jpg_2. Names in RESERVED are
    those of other files in the folder.
    """
    stems = Counter(image.stem.lower() for image in images)
    taken = set(RESERVED)
    names = []
    for image in images:
        base = image.stem
        if stems[base.lower()] > 1:
            base = f"{base}_{image.suffix.lstrip('.')}"
        name, number = base, 1
        while name.lower() in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names
