"""Where curves and images of a training go beside its own files: TensorBoard, Weights & Biases, MLflow.

Each is one class with the same three methods; what is not installed is imported by nobody.
"""

from __future__ import annotations

import importlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fpt.utils.errors import UserError
from fpt.utils.files import write_text

_LOGGER = logging.getLogger("fpt")


def optional_package(name: str, *, option: str) -> Any:
    """Import the module `name`.

    Raises:
        UserError: it is not installed; `option`, which needs it, and the way to get it are named.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{option} needs the package {name}: pip install {name}, or -e '.[{name}]'") from None


class CurveWriter(Protocol):
    """Takes the values and images of a step."""

    def __call__(self, record: Mapping[str, float]) -> None:
        """Draw every value of the record over its `step`."""

    def add_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Keep images, uint8 [H, W, 3] RGB, by name."""

    def close(self) -> None:
        """Write what is still queued."""


class TensorboardWriter:
    """Event files for TensorBoard.

    They are written at once, and not by tensorboardX's SummaryWriter: its thread ends at the first error, such as a
    full disk, and whoever writes then waits for it for ever.

    Args:
        folder: of the run; the files are written into ``tensorboard/``.
        start_step: what an earlier run in the same folder drew of later steps is hidden.
    """

    def __init__(self, folder: Path, *, start_step: int = 0) -> None:
        self.folder = folder / "tensorboard"
        self._first = start_step + 1
        self._file: Any = None

    def __call__(self, record: Mapping[str, float]) -> None:
        """See CurveWriter."""
        from tensorboardX.summary import scalar

        self._write([scalar(name, value) for name, value in _values(record).items()], int(record["step"]))

    def add_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """See CurveWriter."""
        from tensorboardX.summary import image

        self._write([image(f"images/{name}", p, dataformats="HWC") for name, p in images.items()], step)

    def close(self) -> None:
        """See CurveWriter."""
        if self._file is not None:
            self._file.close()

    def _begin(self) -> None:
        """Start a file; values of its first step and later ones in other files are hidden."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            file = EventsWriter(str(self.folder / "events"), f".{self._first}")
            file.write_event(Event(step=self._first, session_log=SessionLog(status=SessionLog.START)))
            file.flush()
        except OSError:
            for path in self.folder.glob(f"events*.{self._first}"):
                if not path.stat().st_size:
                    path.unlink()
            raise
        self._file = file

    def _write(self, summaries: Sequence[Any], step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        if self._file is None:
            self._begin()
        try:
            for summary in summaries:
                self._file.write_event(Event(wall_time=time.time(), step=step, summary=summary))
            self._file.flush()
        except OSError:
            self._file, self._first = None, step  # nothing that comes after half an event is read
            raise


class WandbWriter:
    """A run of Weights & Biases; a resumed training goes on in the same one.

    Args:
        folder: of the run; its files, and the id in ``wandb_id``, are kept in it.
        config: options of the run.
        start_step: finished steps of the training that is resumed.

    Raises:
        UserError: wandb is not installed.
    """

    def __init__(self, folder: Path, *, config: Mapping[str, Any], start_step: int = 0) -> None:
        wandb = optional_package("wandb", option="--use_wandb")
        self._image = wandb.Image
        name = _id_in(folder / "wandb_id", is_kept=start_step > 0)
        self._run = wandb.init(
            project="fpt", id=name, name=folder.name, dir=str(folder), config=dict(config), resume="allow"
        )

    def __call__(self, record: Mapping[str, float]) -> None:
        """See CurveWriter."""
        self._run.log(_values(record), step=int(record["step"]))

    def add_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """See CurveWriter."""
        logged = {f"images/{name}": self._image(image) for name, image in images.items()}
        self._run.log(logged, step=step)

    def close(self) -> None:
        """See CurveWriter."""
        self._run.finish()


class MlflowWriter:
    """A run of MLflow, where MLFLOW_TRACKING_URI says, else in ``mlflow.db`` and ``mlflow/`` beside the run folder.

    A resumed training goes on in the same run, whose id is kept in ``mlflow_id``.

    Args:
        folder: of the run.
        config: options of the run.
        start_step: finished steps of the training that is resumed.

    Raises:
        UserError: mlflow is not installed.
    """

    def __init__(self, folder: Path, *, config: Mapping[str, Any], start_step: int = 0) -> None:
        self._mlflow = optional_package("mlflow", option="--use_mlflow")
        if not self._mlflow.is_tracking_uri_set():
            place = folder.resolve().parent
            self._mlflow.set_tracking_uri(f"sqlite:///{place / 'mlflow.db'}")
            if self._mlflow.get_experiment_by_name("fpt") is None:  # its files would go to the working directory
                self._mlflow.create_experiment("fpt", artifact_location=(place / "mlflow").as_uri())
        self._mlflow.set_experiment("fpt")
        file = folder / "mlflow_id"
        if start_step and file.is_file():
            self._mlflow.start_run(run_id=file.read_text(encoding="utf-8").strip())
        else:
            run = self._mlflow.start_run(run_name=folder.name)
            write_text(file, run.info.run_id)
            self._mlflow.log_dict(dict(config), "config.yaml")

    def __call__(self, record: Mapping[str, float]) -> None:
        """See CurveWriter."""
        self._mlflow.log_metrics(_values(record), step=int(record["step"]))

    def add_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """See CurveWriter."""
        for name, image in images.items():
            self._mlflow.log_image(image, artifact_file=f"images/{name}_{step}.png")

    def close(self) -> None:
        """See CurveWriter."""
        self._mlflow.end_run()


class CurveWriters:
    """Several curve writers as one; there may be none.

    One that fails (a server that is away, a full disk) doesn't end the training: it is reported once, until it works
    again.

    Args:
        writers: each gets everything.
    """

    def __init__(self, writers: Sequence[CurveWriter]) -> None:
        self.writers = list(writers)
        self._failing: set[int] = set()

    def __call__(self, record: Mapping[str, float]) -> None:
        """See CurveWriter."""
        self._call_each(lambda writer: writer(record))

    def add_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """See CurveWriter."""
        self._call_each(lambda writer: writer.add_images(step, images))

    def close(self) -> None:
        """See CurveWriter."""
        self._call_each(lambda writer: writer.close())

    def _call_each(self, call: Callable[[CurveWriter], None]) -> None:
        for number, writer in enumerate(self.writers):
            try:
                call(writer)
                self._failing.discard(number)
            except Exception as error:  # each package has its own
                if number not in self._failing:
                    _LOGGER.error("%s fails, so its curves have gaps: %s", type(writer).__name__, error)
                self._failing.add(number)


def _values(record: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in record.items() if name != "step"}


def _id_in(file: Path, *, is_kept: bool) -> str:
    """The id in a file, or a new one."""
    if is_kept and file.is_file():
        return file.read_text(encoding="utf-8").strip()
    name = uuid.uuid4().hex[:12]
    write_text(file, name)
    return name
