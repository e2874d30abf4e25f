"""Detection in many image files, each with its results on the disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fpt.run.image_files import IDS, output_names
from fpt.run.predictor import Predictor
from fpt.utils.distributed import from_main, gather_on_main, share_of_range
from fpt.utils.errors import UserError
from fpt.utils.heap import HeapGaps, keep_freed_memory
from fpt.utils.own_files import claim_outputs, recorded
from fpt.visualization.draw import ColourBy
from fpt.visualization.image_output import explained_output, merge_pdfs

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


def result_files(
    names: Sequence[str], output_dir: Path, *, formats: Sequence[str], merges_pdfs: bool = False
) -> list[Path]:
    """The files that `predict_files` writes for images of these names."""
    files = [_with_suffix(output_dir / name, suffix) for name in names for suffix in _all(formats, merges_pdfs)]
    return [*files, output_dir / "results.pdf"] if merges_pdfs else files


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    output_dir: Path,
    *,
    names: Sequence[str] | None = None,
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
        names: of the results of each image, without suffix; None = those that `output_names` gives.
        formats: "png", "jpg", "pdf", "json", and of a segmentor "ids", the map of classes as ``<name>.ids.png``.
        merges_pdfs: write one results.pdf of all images too.
        colour_by: "class", or "object" for a colour of its own for each detection.

    Raises:
        UserError: a result would be written over an image or another file that is not this program's; nothing is
            written then.
    """
    keep_freed_memory()
    names = output_names(images) if names is None else names
    targets = result_files(names, output_dir, formats=formats, merges_pdfs=merges_pdfs)
    from_main(lambda: claim_outputs(targets, inputs=images))
    written: list[Path] = []
    failures: list[Path] = []
    gaps = HeapGaps()
    for index in range(*share_of_range(0, len(images))):
        files = [_with_suffix(output_dir / names[index], suffix) for suffix in _all(formats, merges_pdfs)]
        try:
            _predict_file(predictor, images[index], files, colour_by)
            written += files
        except UserError as error:
            failures.append(images[index])
            _LOGGER.error("%s", error)
        gaps.after_item()
    gathered = gather_on_main((written, failures))
    if gathered is None:
        return PredictedFiles(written=written, failures=failures)
    written, failures = (sum(parts, []) for parts in zip(*gathered, strict=True))
    pages = [path for path in written if path.suffix == ".pdf"]
    if merges_pdfs and pages:
        with explained_output(targets[-1]), recorded(targets[-1]):
            merge_pdfs(pages, targets[-1])
    _LOGGER.info("%d of %d images done: %s", len(images) - len(failures), len(images), output_dir)
    return PredictedFiles(written=written, failures=failures)


def _all(formats: Sequence[str], merges_pdfs: bool) -> list[str]:
    return list(dict.fromkeys([*formats, *(["pdf"] if merges_pdfs else [])]))


def _with_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{IDS}.png" if suffix == IDS else f"{path.name}.{suffix}")


@contextmanager
def _explained_memory(path: Path) -> Iterator[None]:
    """UserError where an image is too large for the memory: the others may go on."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise UserError(
            f"{path}: too large for the memory that is there: lower TEST.SCALE and TEST.MAX_SIZE, or for a segmentor "
            "set SEMANTIC.SHORT_SIDE or SEMANTIC.WINDOW"
        ) from error


def _predict_file(predictor: Predictor, path: Path, files: Sequence[Path], colour_by: ColourBy) -> None:
    """Detect in one image and write `files`, each in the format of its suffix.

    Raises:
        UserError: the image cannot be read, or a file cannot be written.
    """
    with _explained_memory(path):
        result = predictor(path)
    _LOGGER.info("%s: %s", path, result.summary())
    with explained_output(files[0]), recorded(*files):
        for file in files:
            result.save(file, colour_by=colour_by)
