"""Which pictures are read, and what their results are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fpt.utils.errors import UserError

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .png .bmp .dib .webp .tif .tiff .ppm .pgm .pbm .pnm .gif .jp2 .avif .hdr .exr .sr .ras".split()
)

RESERVED = ("environment_infer", "log", "results")


def find_pictures(folder: Path) -> list[Path]:
    """Picture files of a folder, by name; folders in it are not entered.

    Raises:
        UserError: the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise UserError(f"--image_dir {folder} is {'a file' if folder.exists() else 'missing'}; name a folder")
    entries = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    pictures = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
    if not pictures:
        raise UserError(
            f"--image_dir {folder} holds {len(entries)} files but no picture ({', '.join(sorted(SUFFIXES))})"
        )
    return pictures


def output_names(pictures: Sequence[Path]) -> list[str]:
    """A name without suffix for each picture, all different even where only letter case or folders differ.

    a.jpg -> a; a.jpg and a.png -> a_jpg and a_png; x/a.jpg and y/a.jpg -> a_jpg and a_jpg_2. Names in RESERVED are
    those of other files in the folder.
    """
    stems = Counter(picture.stem.lower() for picture in pictures)
    taken = set(RESERVED)
    names = []
    for picture in pictures:
        base = picture.stem
        if stems[base.lower()] > 1:
            base = f"{base}_{picture.suffix.lstrip('.')}"
        name, number = base, 1
        while name.lower() in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names
