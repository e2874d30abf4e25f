"""The folder of a run, and what it says about itself."""

from __future__ import annotations

import datetime
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fpt.core.config import with_absolute_paths
from fpt.core.config_node import CfgNode
from fpt.run.options import RunOptions
from fpt.run.run_identity import IDENTITY, RunIdentity, identity_to_json, read_identity
from fpt.utils.environment import describe_environment
from fpt.utils.errors import UserError
from fpt.utils.files import write_json, write_text
from fpt.utils.logging import add_log_file
from fpt.utils.own_files import claim_outputs, note_outputs, own_files, recorded

_LOGGER = logging.getLogger("fpt")


def new_run_folder(root: str | Path, name: str) -> Path:
    """Make ``<root>/<name>/<time>``, which did not exist before.

    Raises:
        UserError: it cannot be made.
    """
    time = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in itertools.count(1):
        folder = Path(root) / name / (time if number == 1 else f"{time}_{number}")
        with _explained(folder), suppress(FileExistsError):  # that of a run which began in the same second
            folder.mkdir(parents=True)
            break
    return folder


def start_run_folder(
    folder: Path,
    cfg: CfgNode,
    *,
    command: Sequence[str],
    identity: RunIdentity,
    growing: Sequence[Path],
    later: Sequence[Path],
) -> None:
    """Make the folder, write config.yaml, environment.json and run.json, and log into log.txt from here on.

    A config.yaml that is not ours, or was edited, stays; the resolved configuration goes into config_resolved.yaml.

    Args:
        folder: of the run.
        cfg: the configuration.
        command: program and arguments.
        identity: what the run is of.
        growing: files of `growing_files`.
        later: further files that the run will write.

    Raises:
        UserError: it cannot be written, or holds files of these names that are not ours.
    """
    config, environment, description = (folder / name for name in ("config.yaml", "environment.json", IDENTITY))
    if is_users := os.path.lexists(config) and not own_files(folder)(config.name):
        config = folder / "config_resolved.yaml"
    log = folder / "log.txt"
    claim_outputs([config, environment, description, log, *growing, *later])
    with _explained(folder):
        note_outputs(log, *growing)
        add_log_file(log)
        with recorded(config, environment, description):
            write_text(config, with_absolute_paths(cfg).dump())
            write_json(environment, describe_environment(command))
            write_json(description, identity_to_json(identity, earlier=read_identity(folder)))
    _LOGGER.info("run folder: %s", folder)
    if is_users:
        _LOGGER.warning("config.yaml there is yours and stays; the resolved configuration is in %s", config.name)


def growing_files(folder: Path, options: RunOptions) -> list[Path]:
    """Files of a run that are added to or replaced as long as it goes on; its checkpoints have a manifest."""
    names = ["metrics.jsonl", "eval.jsonl", "bad_samples.jsonl", "skipped_steps.jsonl"]
    names += [f"{writer}_id" for writer in options.writers if writer in ("wandb", "mlflow")]
    names += ["profile/trace.json", "profile/slowest.txt"] if options.profiles else []
    return [folder / name for name in names]


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
