"""Detection in many image files, each with its results on the disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fpt.run.image_files import output_names
from fpt.run.predictor import Predictor
from fpt.utils.distributed import gather_on_main, share_of_range
from fpt.utils.errors import UserError
from fpt.visualization.draw import ColourBy
from fpt.visualization.image_output import merge_pdfs

_LOGGER = logging.getLogger("fpt")


@dataclass(frozen=True, kw_only=True)
class PredictedFiles:
    """What became of many images; on the main process of all of them, on others of their part.

    Attributes:
        written: the result files.
        failures: images that could not be read, or whose results could not be written.
    """

    written: list[Path]
    failures: list[Path]


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    output_dir: Path,
    *,
    formats: Sequence[str] = ("png", "json"),
    merges_pdfs: bool = False,
    colour_by: ColourBy = "class",
) -> PredictedFiles:
    """Write ``<output_dir>/<name>.<format>`` for each image, even where nothing is found.

    An image that cannot be read, or whose results cannot be written, is one logged error; the others go on. Under
    torchrun each process takes its part.

    Args:
        predictor: the model.
        images: files.
        output_dir: where the results go.
        formats: "png", "jpg", "pdf", "json".
        merges_pdfs: write one results.pdf of all images too.
        colour_by: "class", or "object" for a colour of its own for each detection.
    """
    formats = list(dict.fromkeys([*formats, *(["pdf"] if merges_pdfs else [])]))
    names = output_names(images)
    written: list[Path] = []
    failures: list[Path] = []
    for index in range(*share_of_range(0, len(images))):
        try:
            written += _predict_file(predictor, images[index], output_dir / names[index], formats, colour_by)
        except UserError as error:
            failures.append(images[index])
            _LOGGER.error("%s", error)
    gathered = gather_on_main((written, failures))
    if gathered is None:
        return PredictedFiles(written=written, failures=failures)
    written, failures = (sum(parts, []) for parts in zip(*gathered, strict=True))
    pages = [path for path in written if path.suffix == ".pdf"]
    if merges_pdfs and pages:
        merge_pdfs(pages, output_dir / "results.pdf")
    _LOGGER.info("%d of %d images done: %s", len(images) - len(failures), len(images), output_dir)
    return PredictedFiles(written=written, failures=failures)


def _predict_file(
    predictor: Predictor, path: Path, target: Path, formats: Sequence[str], colour_by: ColourBy
) -> list[Path]:
    """Detect in one image and write `target` in each format; returns the files.

    Raises:
        UserError: the image cannot be read, or a file cannot be written.
    """
    result = predictor(path)
    _LOGGER.info("%s: %d detection%s", path, len(result), "" if len(result) == 1 else "s")
    files = [target.with_name(f"{target.name}.{suffix}") for suffix in formats]
    for file in files:
        result.save(file, colour_by=colour_by)
    return files
