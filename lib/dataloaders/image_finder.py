"""Finds the image files of a data set, also where their names were written on another system or by another program."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from fpt.dataloaders.image_io import IMAGE_SUFFIXES, ImageReading, read_size_hw


@dataclass
class _Folder:
    """What lies in a folder.

    Attributes:
        names: of the entries.
        by_key: names by what is left of them without letter case and Unicode form.
        by_stem: names of images by that of their stem.
    """

    names: set[str]
    by_key: dict[str, list[str]] = field(default_factory=dict)
    by_stem: dict[str, list[str]] = field(default_factory=dict)


class ImageFinder:
    """Looks for images below a folder; each folder is listed once.

    Asking the system for 118k files one by one takes many times longer.

    Args:
        image_dir: the folder.
    """

    def __init__(self, image_dir: Path) -> None:
        self.image_dir = image_dir
        self._folders: dict[str, _Folder] = {}

    def is_there(self, name: str) -> bool:
        """Whether a file of exactly this name, relative to the folder, exists."""
        folder, _, base = name.rpartition("/")
        if name.startswith("/") and not folder:
            folder = "/"
        return base in self._list(folder).names

    def find(self, name: str) -> str | None:
        """The name of the only file that a name can mean, relative to the folder; None without, or of several.

        Tried are backslashes and escapes of addresses (%20) as what they stand for, the end of a path that begins
        elsewhere, another letter case, another Unicode form, and another suffix of images.
        """
        if self.is_there(name):
            return name
        for parts in _readings(name):
            for start in range(len(parts)):
                found = self._match("/".join(parts[start:-1]), parts[-1])
                if len(found) == 1:
                    return "/".join([*parts[start:-1], found[0]])
                if found:
                    return None
        return None

    def nearest(self, name: str) -> str | None:
        """The name in the folder that is most like one that is missing, if any is."""
        folder, _, base = name.replace("\\", "/").rpartition("/")
        near = difflib.get_close_matches(base, sorted(self._list(folder).names or self._list("").names), n=1)
        return near[0] if near else None

    def _match(self, folder: str, base: str) -> list[str]:
        listed = self._keyed(folder)
        if base in listed.names:
            return [base]
        return listed.by_key.get(_key(base)) or listed.by_stem.get(_key(PurePosixPath(base).stem)) or []

    def _keyed(self, folder: str) -> _Folder:
        listed = self._list(folder)
        if listed.names and not listed.by_key:
            for name in sorted(listed.names):
                listed.by_key.setdefault(_key(name), []).append(name)
                path = PurePosixPath(name)
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    listed.by_stem.setdefault(_key(path.stem), []).append(name)
        return listed

    def _list(self, folder: str) -> _Folder:
        if folder not in self._folders:
            try:
                with os.scandir(self.image_dir / folder) as entries:
                    names = {entry.name for entry in entries}
            except (OSError, ValueError):
                names = set()
            self._folders[folder] = _Folder(names)
        return self._folders[folder]


def _readings(name: str) -> Iterator[list[str]]:
    """The parts of the path that a name can stand for."""
    for text in dict.fromkeys((name, unquote(name.partition("?")[0]))):
        parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
        last_up = max((i for i, part in enumerate(parts) if part == ".." or part.endswith(":")), default=-1)
        if parts[last_up + 1 :]:
            yield parts[last_up + 1 :]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True)
class FoundImages:
    """Where the images of a data set are.

    Attributes:
        other_names: names relative to the folder, by index, of images that have another name than it is written.
        missing: indices of images that are not there.
    """

    other_names: dict[int, str]
    missing: list[int]


def find_size_hw(finder: ImageFinder, reading: ImageReading, name: str) -> tuple[int, int] | None:
    """Height and width of the image that a name means, from its header; None where there is none or it is none."""
    found = finder.find(name)
    return None if found is None else read_size_hw(finder.image_dir / found, reading)


def find_images(finder: ImageFinder, names: Sequence[str]) -> FoundImages:
    """Look for all images of a data set; a file that several names could mean is none of theirs."""
    absent = [index for index, name in enumerate(names) if not finder.is_there(name)]
    found = {index: other for index in absent if (other := finder.find(names[index])) is not None}
    if not found:
        return FoundImages({}, absent)
    taken = Counter(found.values())
    gone = set(absent)
    taken.update(name for index, name in enumerate(names) if index not in gone)
    other_names = {index: other for index, other in found.items() if taken[other] == 1}
    return FoundImages(other_names, [index for index in absent if index not in other_names])
