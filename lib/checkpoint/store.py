"""The checkpoints of a run: written, pruned, and found again."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

from fpt.checkpoint.checkpoint import Checkpoint, checkpoint_name, load_checkpoint, save_checkpoint
from fpt.checkpoint.manifest import MANIFEST, forget_file, is_temporary, read_manifest
from fpt.utils.errors import UserError
from fpt.utils.files import remove_leftovers

_LOGGER = logging.getLogger("fpt")

BEST = "model_best.pth"


class CheckpointStore:
    """Writes ``model_step<N>.pth`` and ``model_best.pth`` into a folder and removes old ones.

    Args:
        folder: the run's ``ckpt`` folder.
        keep_last: so many of the newest ``model_step<N>.pth`` stay; 0 = all.
        keep_every: those of a multiple of so many steps stay too; 0 = none for that reason.
    """

    def __init__(self, folder: Path, *, keep_last: int = 0, keep_every: int = 0) -> None:
        self.folder = folder
        self.keep_last = keep_last
        self.keep_every = keep_every

    def remove_leftovers(self) -> None:
        """Remove what killed processes have left half written."""
        remove_leftovers(self.folder)

    def save(self, checkpoint: Checkpoint, *, is_temporary: bool = False) -> Path:
        """Write the checkpoint of a step, then remove what is no longer kept; returns its path.

        One that `is_temporary` is kept until the next is written.

        Raises:
            OSError: it could not be written; nothing was removed.
        """
        path = self.folder / checkpoint_name(checkpoint.step)
        save_checkpoint(path, checkpoint, is_temporary=is_temporary)
        self._prune(path)
        return path

    def save_best(self, checkpoint: Checkpoint) -> Path:
        """Replace ``model_best.pth``; returns its path.

        Raises:
            OSError: it could not be written; the one before is still there.
        """
        path = self.folder / BEST
        save_checkpoint(path, checkpoint)
        return path

    def supersede(self, *, after: int) -> bool:
        """Rename the checkpoints of more than `after` steps: the run goes on from there, and makes these steps anew.

        Under their names they would pass for its newest ones. They are damaged, or of a future that was given up.

        Returns:
            Whether the best is one of them, so that there is none now.
        """
        steps = {path: step for step, path in steps_in(self.folder).items()}
        best = self.folder / BEST
        if best.is_file():
            steps[best] = _step_of_best(self.folder)
        for path, step in steps.items():
            if step > after:
                forget_file(path)
                moved = path.replace(path.with_name(path.name.replace("model_", "superseded_")))
                _LOGGER.warning("%s is of a later step than %d, where the run goes on: now %s", path, after, moved.name)
        return steps.get(best, -1) > after

    def _prune(self, newest: Path) -> None:
        entries = read_manifest(self.folder)
        for path in steps_in(self.folder).values():
            if is_temporary(entries.get(path.name, {})) and path != newest:
                _remove(path)
        if not self.keep_last:
            return
        for step, path in list(steps_in(self.folder).items())[self.keep_last :]:
            if not (self.keep_every and step % self.keep_every == 0):
                _remove(path)


def _remove(path: Path) -> None:
    forget_file(path)
    path.unlink(missing_ok=True)


def steps_in(folder: Path) -> dict[int, Path]:
    """The files ``model_step<N>.pth`` of a ``ckpt`` folder by N, the newest first."""
    found = {
        int(match.group(1)): path
        for path in folder.glob("model_step*.pth")
        if (match := re.fullmatch(r"model_step(\d+)\.pth", path.name))
    }
    return dict(sorted(found.items(), reverse=True))


def _step_of_best(folder: Path) -> int:
    """Steps of ``model_best.pth`` as the manifest has them; -1 where it has not."""
    step: int = read_manifest(folder).get(BEST, {}).get("step", -1)
    return step


def checkpoints_in(folder: Path) -> list[Path]:
    """Every file of a ``ckpt`` folder that a run could go on from, that of the most steps first.

    ``model_best.pth`` stands where the manifest says, behind the others where it doesn't.
    """
    steps = {path: step for step, path in steps_in(folder).items()}
    if (folder / BEST).is_file():
        steps[folder / BEST] = _step_of_best(folder)
    return sorted(steps, key=lambda path: -steps[path])


def has_foreign_manifest(folder: Path) -> bool:
    """Whether the ``manifest.json`` of a folder is there, but none of checkpoints."""
    path = folder / MANIFEST
    if not path.is_file():
        return False
    is_empty = path.read_bytes().strip() in (b"", b"{}")
    return not is_empty and not any("sha256" in entry for entry in read_manifest(folder).values())


def load_newest(run: Path) -> tuple[Path, Checkpoint]:
    """The intact checkpoint of the most steps in ``<run>/ckpt``, and its file; damaged ones are named and skipped.

    Raises:
        UserError: there is none.
    """
    found = checkpoints_in(run / "ckpt")
    for path in found:
        try:
            return path, load_checkpoint(path)
        except UserError as error:
            _LOGGER.warning("skipped a checkpoint that cannot be used: %s", error)
    if found:
        raise UserError(f"nothing to resume: none of the {len(found)} checkpoints in {run / 'ckpt'} can be read")
    raise UserError(f"nothing to resume: {run / 'ckpt'} holds no checkpoint; give --load_ckpt FILE")


def newest_run(root: Path, *, why_not: Callable[[Path], str] = lambda run: "") -> Path:
    """The run folder in `root` that was last written a checkpoint into.

    Args:
        root: holds the runs.
        why_not: reason for which a run is not taken; empty for one that is.

    Raises:
        UserError: no folder in it holds a checkpoint, or there is a reason against each that does.
    """
    newest = {
        run: max(path.stat().st_mtime for path in paths)
        for run in (root.iterdir() if root.is_dir() else ())
        if (paths := checkpoints_in(run / "ckpt"))
    }
    if not newest:
        raise UserError(f"nothing to resume: no run in {root} holds a checkpoint; give --output_dir or --load_ckpt")
    runs = sorted(newest, key=lambda run: -newest[run])
    for run in runs:
        if not why_not(run):
            return run
    raise UserError(
        f"nothing to resume: {why_not(runs[0])}; --output_dir {runs[0]} --resume goes on with it all the same, so does "
        "--load_ckpt FILE --resume with that of the file; without --resume a new run begins"
    )
