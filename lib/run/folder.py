"""The folder of a run, and what it says about itself."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fpt.core.config import with_absolute_paths
from fpt.core.config_node import CfgNode
from fpt.utils.environment import describe_environment
from fpt.utils.errors import UserError
from fpt.utils.files import write_json, write_text
from fpt.utils.logging import add_log_file
from fpt.utils.own_files import claim_outputs, note_outputs, recorded

_LOGGER = logging.getLogger("fpt")


def new_run_folder(root: str | Path, name: str) -> Path:
    """``<root>/<name>/<time>``, which does not exist yet."""
    time = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path(root) / name / time
    number = 1
    while folder.exists():
        number += 1
        folder = Path(root) / name / f"{time}_{number}"
    return folder


def start_run_folder(folder: Path, cfg: CfgNode, *, command: Sequence[str]) -> None:
    """Make the folder, write config.yaml and environment.json, and log into log.txt from here on.

    Raises:
        UserError: it cannot be written.
    """
    with _explained(folder):
        add_log_file(folder / "log.txt")
        write_text(folder / "config.yaml", with_absolute_paths(cfg).dump())
        write_json(folder / "environment.json", describe_environment(command))
    _LOGGER.info("run folder: %s", folder)


def log_files(folder: Path, *, command: Sequence[str]) -> list[Path]:
    """The files that `start_log` writes."""
    name = command[0].removeprefix("fpt-").removeprefix("fpt.")
    return [folder / "log.txt", folder / f"environment_{name}.json"]


def start_log(folder: Path, *, command: Sequence[str]) -> None:
    """Make the folder of an evaluation or inference, describe it in environment_<program>.json, log into log.txt.

    The folder may be that of a training run, whose environment.json stays.

    Raises:
        UserError: it cannot be written, or holds files of these names that are not ours.
    """
    log, environment = log_files(folder, command=command)
    claim_outputs([log, environment])
    with _explained(folder):
        note_outputs(log)
        add_log_file(log)
        with recorded(environment):
            write_json(environment, describe_environment(command))


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """UserError for what the system says of a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"output folder {folder} cannot be written: {error.strerror or error}") from None
