"""Which images are read, and what their results are called."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fpt.utils.errors import UserError
from fpt.utils.own_files import own_files

IDS = "ids"
"""Name of the format of a map of classes: ``<name>.ids.png``."""

_LOGGER = logging.getLogger("fpt")

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .png .bmp .dib .webp .tif .tiff .ppm .pgm .pbm .pnm .gif .jp2 .avif .hdr .exr .sr .ras".split()
)

RESERVED = ("environment_infer", "log", "results")

_FOLDERS = "sub-folders (--recursive enters them)"


@dataclass(frozen=True)
class FoundImages:
    """Images that were asked for.

    Attributes:
        images: their files.
        names: a name for the results of each, without suffix, all different; with the sub-folder that it lies in.
    """

    images: list[Path]
    names: list[str]


@dataclass
class _Search:
    """What the search of a folder has found.

    Attributes:
        images: files, each with the sub-folder that it lies in.
        left_out: how many there are of each other kind.
        seen: folders that were entered.
    """

    images: list[tuple[Path, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    seen: set[Path] = field(default_factory=set)


def find_images(folder: Path, *, enters_folders: bool = False) -> FoundImages:
    """Image files of a folder, by name; what is left out is logged in one line.

    Files that begin with a dot are no images, nor are results of this program, as their folder's record knows them.

    Args:
        folder: the folder.
        enters_folders: take the images of its sub-folders, too.

    Raises:
        UserError: the folder is missing, cannot be read or holds no image.
    """
    if not folder.is_dir():
        raise UserError(f"--image_dir {folder} is {'a file' if folder.exists() else 'missing'}; name a folder")
    search = _Search()
    _search(folder, "", search, enters_folders=enters_folders)
    left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(search.left_out.items()))
    if not search.images:
        num_files = search.left_out.total() - search.left_out[_FOLDERS]
        details = f": {left_out}" if left_out else ""
        raise UserError(
            f"--image_dir {folder} holds {num_files} files but no image{details}; images end with "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    if left_out:
        _LOGGER.info("left out of %s: %s", folder, left_out)
    paths = [path for path, _ in search.images]
    return FoundImages(paths, output_names(paths, folders=[name for _, name in search.images]))


def find_named_images(words: Sequence[str | Path], *, enters_folders: bool = False) -> FoundImages:
    """The images that words name: files, patterns such as ``photos/*.jpg``, and folders, as `find_images` takes them.

    A file that is named, even one that is missing, is an image whatever its suffix; of those that a pattern finds only
    images are taken, and what is left out is logged.

    Raises:
        UserError: a pattern finds no image, or a folder holds none.
    """
    found: dict[Path, str] = {}
    for word in words:
        for path, name in _named(word, enters_folders=enters_folders):
            found.setdefault(path, name)
    paths = list(found)
    return FoundImages(paths, output_names(paths, folders=list(found.values())))


def _named(word: str | Path, *, enters_folders: bool) -> Iterator[tuple[Path, str]]:
    """The images of one word, each with the folder that its results go into."""
    path = Path(word)
    if path.is_dir():
        found = find_images(path, enters_folders=enters_folders)
        yield from zip(found.images, map(os.path.dirname, found.names), strict=True)
        return
    if os.path.lexists(path) or not glob.has_magic(str(word)):
        yield path, ""
        return
    matches = [Path(match) for match in sorted(glob.glob(str(word), recursive=True))]
    is_own = {folder: own_files(folder, with_data=False) for folder in {match.parent for match in matches}}
    images = [match for match in matches if _kind(match, is_result=is_own[match.parent](match.name)) is None]
    if not images:
        raise UserError(f"--images {str(word)!r} finds {len(matches)} files and folders, but no image")
    if len(images) < len(matches):
        _LOGGER.info("left out of %r: %d that are no images", str(word), len(matches) - len(images))
    yield from ((image, "") for image in images)


def _search(folder: Path, name: str, search: _Search, *, enters_folders: bool) -> None:
    """Add what `folder`, the sub-folder `name` of the one that is searched, holds."""
    search.seen.add(folder.resolve())
    try:
        found = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
        # what links lead to is entered under its own name first
        entries = sorted(found, key=lambda entry: (entry.is_symlink() and entry.is_dir(), entry))
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror or error}") from None
    is_own = own_files(folder, with_data=False)
    for entry in entries:
        if not entry.is_dir():
            kind = _kind(entry, is_result=is_own(entry.name))
            if kind is None:
                search.images.append((entry, name))
            else:
                search.left_out[kind] += 1
        elif not enters_folders:
            search.left_out[_FOLDERS] += 1
        elif entry.resolve() not in search.seen:
            _search(entry, os.path.join(name, entry.name), search, enters_folders=True)


def _kind(entry: Path, *, is_result: bool) -> str | None:
    """What a file is called in the line about those that are left out; None for an image, by its suffix."""
    if is_result:
        return "results of this program"
    if not entry.is_file():
        return "that are no files"
    if not entry.suffix:
        return "files without suffix"
    return None if entry.suffix.lower() in SUFFIXES else f"x {entry.suffix.lower()}"


def output_names(images: Sequence[Path], *, folders: Sequence[str] | None = None) -> list[str]:
    """A name without suffix for each image, all different even where only letter case or folders differ.

    a.jpg -> a; a.jpg and a.png -> a_jpg and a_png; x/a.jpg and y/a.jpg -> a_jpg and a_jpg_2, whichever comes first.
    Names in RESERVED are those of other files in the folder.

    Args:
        images: files.
        folders: where the results of each go, below the folder of all; None = right into it.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index in range(len(images)):
        groups["" if folders is None else folders[index]].append(index)
    names = [""] * len(images)
    for folder, indices in groups.items():
        for index, name in zip(indices, _names_in_folder([images[index] for index in indices]), strict=True):
            names[index] = os.path.join(folder, name)
    return names


def _base(image: Path) -> str:
    """The stem; ``a.ids`` becomes ``a_ids``, as a.ids.png is the map of classes of another image a."""
    stem = image.stem
    return f"{stem[: -len(IDS) - 1]}_{IDS}" if stem.lower().endswith(f".{IDS}") else stem


def _names_in_folder(images: Sequence[Path]) -> list[str]:
    bases = [_base(image) for image in images]
    stems = Counter(base.lower() for base in bases)
    taken = set(RESERVED)
    names = [""] * len(images)
    for index in sorted(range(len(images)), key=lambda index: str(images[index])):
        base = bases[index]
        if stems[base.lower()] > 1:
            base = f"{base}_{images[index].suffix.lstrip('.')}"
        name, number = base, 1
        while name.lower() in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name.lower())
        names[index] = name
    return names
