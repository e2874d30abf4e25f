"""What a segmentor says of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpt.run.image_files import IDS
from fpt.run.segment import save_ids
from fpt.utils.errors import UserError
from fpt.utils.files import write_json
from fpt.visualization.draw import ColourBy
from fpt.visualization.image_output import explained_output, save_image
from fpt.visualization.segmentation import class_colours, draw_classes


@dataclass(frozen=True, kw_only=True, eq=False)
class SemanticPrediction:
    """A class for every pixel of an image.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        classes: uint8 [H, W] (int16 for more than 256 classes); class i is known_classes[i].
        scores: float32 [H, W], 0 to 1, of each pixel's class.
        known_classes: class names of the model.
        source: file of the image, None where it came from memory.
        palette: RGB, three numbers a class; () = colours of the program.
    """

    image: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    known_classes: tuple[str, ...]
    source: Path | None = None
    palette: Sequence[int] = ()

    def __len__(self) -> int:
        """Number of classes that some pixel has."""
        return len(np.unique(self.classes))

    def shares(self) -> dict[str, float]:
        """Share of the pixels of each class that is there, largest first."""
        counts = np.bincount(self.classes.ravel(), minlength=len(self.known_classes))
        order = np.argsort(-counts, kind="stable").tolist()
        return {self.known_classes[index]: counts[index] / self.classes.size for index in order if counts[index]}

    def draw(self, *, opacity: float = 0.55) -> np.ndarray:
        """The image tinted by classes with a legend: uint8 [H', W', 3] RGB; small images are enlarged."""
        return draw_classes(self.image, self.classes, self.known_classes, palette=self.palette, opacity=opacity)

    def save(self, path: str | Path, *, colour_by: ColourBy = "class") -> None:
        """Write the drawing (png, jpg, pdf), the map itself (.ids.png, exactly the image's size), or a json.

        Args:
            path: the file.
            colour_by: "class"; there are no objects.

        Raises:
            UserError: another suffix, the file cannot be written, it is the image itself, or objects are asked for.
        """
        path = Path(path)
        if colour_by != "class":
            raise UserError(f"--colour_by {colour_by}: a segmentor knows classes of pixels, and no objects")
        if self.source is not None and path.exists() and self.source.exists() and path.samefile(self.source):
            raise UserError(f"{path} is the image that was segmented; give another name")
        if path.name.endswith(f".{IDS}.png"):
            with explained_output(path):
                save_ids(path, self.classes)
        elif path.suffix.lower() == ".json":
            with explained_output(path):
                write_json(path, self.to_json())
        else:
            save_image(path, self.draw())

    def to_json(self) -> dict[str, Any]:
        """Plain values: file, size, and for each class that is there id, share of the pixels, mean score and colour."""
        colours = class_colours(len(self.known_classes), self.palette).tolist()
        ids = {name: index for index, name in enumerate(self.known_classes)}
        return {
            "file": None if self.source is None else str(self.source),
            "height": self.classes.shape[0],
            "width": self.classes.shape[1],
            "classes": [
                {
                    "class": name,
                    "id": ids[name],
                    "share": share,
                    "score": float(self.scores[self.classes == ids[name]].mean()),
                    "colour": colours[ids[name]],
                }
                for name, share in self.shares().items()
            ],
        }

    def summary(self) -> str:
        """One line for a log."""
        return ", ".join(f"{name} {100 * share:.1f}%" for name, share in list(self.shares().items())[:5])
