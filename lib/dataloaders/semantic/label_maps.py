"""Maps of ids on the disk, and the classes that they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fpt.utils.errors import UserError

_UNKNOWN = -2
_NUM_IDS = 2**16


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """What a reader of a format finds.

    Attributes:
        images: files.
        read: map of ids, int [H, W], of an image by its number.
        table: int16 [65536], the class of each id; see ``make_table``.
        class_names: names; class i is class_names[i].
    """

    images: Sequence[Path]
    read: Callable[[int], np.ndarray]
    table: np.ndarray
    class_names: tuple[str, ...]

    def classes(self, index: int) -> np.ndarray:
        """Map of classes of an image, int16 [H, W], IGNORED where nothing counts.

        Raises:
            UserError: the map cannot be read, or holds an id that is no class.
        """
        ids = self.read(index)
        if ids.size and (ids.min() < 0 or ids.max() >= _NUM_IDS):
            raise UserError(f"{self.images[index]}: its map has ids from {ids.min()} to {ids.max()}")
        classes: np.ndarray = self.table[ids]
        if (classes == _UNKNOWN).any():
            wrong = np.unique(ids[classes == _UNKNOWN]).tolist()
            raise UserError(
                f"the map of {self.images[index]} has {_listed(wrong)}, but there are {len(self.class_names)} classes "
                "and ignored ids (IGNORE of the data set): correct the map, or name its ids"
            )
        return classes


def make_table(classes: Mapping[int, int], *, others: int = _UNKNOWN) -> np.ndarray:
    """int16 [65536]: the class of each id; `others` is that of the ids that are not given, an error if left out."""
    table = np.full(_NUM_IDS, others, np.int16)
    for number, name in classes.items():
        table[number] = name
    return table


def read_id_map(path: Path) -> np.ndarray:
    """The ids of a png of 8 or 16 bits, or of the palette's indices, int32 [H, W].

    Raises:
        UserError: the file is missing, damaged or a colour image.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1", "I", "I;16", "I;16B"):
                raise UserError(
                    f"{path}: a colour image ({image.mode}), but a map of ids is wanted: grey of 8 or 16 bits, or "
                    "palette indices"
                )
            return np.asarray(image).astype(np.int32)
    except FileNotFoundError:
        raise UserError(f"{path}: the map of ids is missing") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: the map of ids cannot be read: {error}") from None


def check_partners(images: Sequence[Path], maps: Sequence[Path], *, source: Path) -> None:
    """Raise UserError where there is no image at all, or where some have no map; all of them are counted."""
    if not images:
        raise UserError(f"{source}: there is no image")
    missing = [path for path in maps if not path.is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(images)} images have no map of ids; the first: "
            f"{', '.join(str(path) for path in missing[:5])}: put the maps there, or take the images away"
        )


def _listed(ids: Sequence[int]) -> str:
    return f"id{'' if len(ids) == 1 else 's'} {', '.join(map(str, ids[:10]))}{', ...' if len(ids) > 10 else ''}"
