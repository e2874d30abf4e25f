"""Which files this program has written, so that it never writes over any other.

Each folder that gets a file of ours has a record, ``.fpt_files.jsonl``: one json object a line, added before a file is
written (its name) and after (its name, size, time of change and checksum). A file is ours when the last line about it
is of the first kind, as a killed process leaves it, or says what the file holds now. One that was edited or replaced
since is therefore the user's, and so is each one that no readable line names.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from fpt.utils.distributed import rank
from fpt.utils.errors import UserError

_RECORD = ".fpt_files"
_ENVIRONMENT_KEYS = {"command", "packages", "git_revision"}
_EARLIER_NAMES = frozenset(
    "log.txt metrics.json bbox.json segm.json metrics.jsonl eval.jsonl bad_samples.jsonl skipped_steps.jsonl "
    "results.pdf trace.json slowest.txt wandb_id mlflow_id".split()
)
_NUM_NAMED = 5
_BLOCK = 1 << 20

_Line = dict[str, Any]
_Records = dict[str, list[_Line]]


def check_outputs(
    targets: Iterable[Path], *, inputs: Iterable[Path] = (), advice: str = "give another --output_dir"
) -> None:
    """Make sure that no file of a user would be lost by writing `targets`; nothing is written.

    Args:
        targets: files that will be written.
        inputs: files that are read; no target may be one of them, even if it is ours.
        advice: the way out, for the message.

    Raises:
        UserError: a target is an input, or exists and is not ours.
    """
    places = {_place(path) for path in inputs} - {None}
    taken: list[Path] = []
    foreign: list[Path] = []
    for folder, paths in _by_folder(targets).items():
        is_own = own_files(folder)
        existing = [path for path in paths if os.path.lexists(path)]
        taken += [path for path in existing if _place(path) in places]
        foreign += [path for path in existing if path.is_symlink() or not is_own(path.name)]
    if taken:
        raise UserError(f"{_some(taken)} would be written over, but {_plural(taken, 'is an input')}; {advice}")
    if foreign:
        raise UserError(
            f"{_some(foreign)} would be written over, but {_plural(foreign, 'was not written by this program')}, or "
            f"changed since; {advice}, or move away what is there"
        )


def claim_outputs(
    targets: Iterable[Path], *, inputs: Iterable[Path] = (), advice: str = "give another --output_dir"
) -> None:
    """`check_outputs`, then make the folders of `targets` and their records; called by the main process.

    A folder that an earlier version has left without a record, but with its ``environment*.json``, is taken for ours:
    its files of fixed names, not its drawings.

    Raises:
        UserError: as `check_outputs`, or a folder cannot be written.
    """
    targets = list(targets)
    check_outputs(targets, inputs=inputs, advice=advice)
    folders = _by_folder(targets)
    earlier = {folder: [folder / name for name in _earlier_names(folder)] for folder in folders}
    for folder in folders:
        try:
            with _open_record(folder):
                _append([(path, _describe(path)) for path in earlier[folder] if path.is_file()])
        except OSError as error:
            raise UserError(f"output folder {folder} cannot be written: {error.strerror or error}") from None


def _by_folder(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    return folders


def own_files(folder: Path, *, with_data: bool = True) -> Callable[[str], bool]:
    """A function that tells whether the file of a name in `folder` is ours, as it is now.

    Args:
        folder: the folder.
        with_data: also those of data sets that we have made, which are read as any other; False = results alone.
    """
    records = _read_records(folder)
    if records is None:
        earlier = _earlier_names(folder)
        return lambda name: name in earlier
    known = {name: [line for line in lines if with_data or not line.get("data")] for name, lines in records.items()}
    return lambda name: any(_matches(folder / name, line) for line in known.get(name, ()))


@contextmanager
def recorded(*paths: Path, are_data: bool = False) -> Iterator[None]:
    """Context that writes `paths`, and enters them into the records of their folders.

    Args:
        paths: the files.
        are_data: whether they are those of a data set, which programs read, rather than results.

    Raises:
        OSError: a record cannot be written.
    """
    kind = {"data": True} if are_data else {}
    _append([(path, {"file": path.name, **kind}) for path in paths], is_flushed=True)
    try:
        yield
    finally:
        with suppress(OSError):  # without the second line the first one says that they are ours
            _append([(path, {**_describe(path), **kind}) for path in paths])


def note_outputs(*paths: Path) -> None:
    """Enter files that grow as long as a program runs, such as its log: they stay ours, whatever they hold.

    Raises:
        OSError: a record cannot be written.
    """
    _append([(path, {"file": path.name}) for path in paths], is_flushed=True)


def _append(lines: Sequence[tuple[Path, _Line]], *, is_flushed: bool = False) -> None:
    """Add lines to the records of their folders, each with one write, after whatever a killed process has left."""
    texts: dict[Path, list[str]] = defaultdict(list)
    for path, line in lines:
        texts[path.parent].append("\n" + json.dumps(line))
    for folder, parts in texts.items():
        with _open_record(folder) as file:
            file.write("".join(parts))
            if is_flushed:
                file.flush()
                os.fsync(file.fileno())


def _open_record(folder: Path) -> TextIO:
    """This process's own record: on several computers one file for all would lose lines."""
    folder.mkdir(parents=True, exist_ok=True)
    number = f".{rank()}" if rank() else ""
    return (folder / f"{_RECORD}{number}.jsonl").open("a", encoding="utf-8")


def _read_records(folder: Path) -> _Records | None:
    """The last line about each file, of each process; None without a record. Unreadable lines are left out."""
    files = _record_files(folder)
    found: _Records = defaultdict(list)
    for file in files:
        last: dict[str, _Line] = {}
        for text in _lines(file):
            try:
                line = json.loads(text)
                last[line["file"]] = line
            except (ValueError, KeyError, TypeError):
                continue
        for name, line in last.items():
            found[name].append(line)
    return found if files else None


def _record_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_RECORD}*.jsonl"))


def _lines(file: Path) -> Sequence[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()


def _describe(path: Path) -> _Line:
    """A file as it is now; that of a missing one fits no file."""
    try:
        status = path.stat()
        checksum = _checksum(path)
    except OSError:
        return {"file": path.name, "bytes": None}
    return {"file": path.name, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "blake2b": checksum}


def _matches(path: Path, line: _Line) -> bool:
    """Whether a line of a record is about the file as it is now; the time alone may differ, as in a copied folder."""
    if "bytes" not in line:
        return True
    try:
        status = path.stat()
        if status.st_size != line["bytes"]:
            return False
        return status.st_mtime_ns == line.get("mtime_ns") or _checksum(path) == line.get("blake2b")
    except OSError:
        return False


def _checksum(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _earlier_names(folder: Path) -> set[str]:
    """Names that earlier versions gave to files in `folder`, if they described their run in it or up to two above."""
    if _record_files(folder):
        return set()
    above = [place for place in folder.absolute().parents[:2] if not _record_files(place)]
    own = _environments(folder)
    return own | _EARLIER_NAMES if own or any(map(_environments, above)) else set()


def _environments(folder: Path) -> set[str]:
    """The descriptions of runs in a folder, by what they hold."""
    found = set()
    for path in folder.glob("environment*.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.keys() >= _ENVIRONMENT_KEYS:
            found.add(path.name)
    return found


def _place(path: Path) -> tuple[int, int] | None:
    """What tells a file from every other, under any of its names; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _some(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _NUM_NAMED} more" if len(paths) > _NUM_NAMED else ""
    return ", ".join(map(str, paths[:_NUM_NAMED])) + more


def _plural(paths: Sequence[Path], text: str) -> str:
    """What is said of one file, or of each of several."""
    return text if len(paths) == 1 else f"each {text}"
