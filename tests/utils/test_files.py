"""Temporary files: whose they are, and which go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from fpt.utils import files
from fpt.utils.files import remove_leftovers, write_atomic, write_text


def dead_process() -> int:
    """A number that no process has any more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_living_process_is_writing_stays(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"a")
        code = "import sys, pathlib; from fpt.utils.files import remove_leftovers as r; r(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
        remove_leftovers(tmp_path)
        file.write(b"b")

    write_atomic(tmp_path / "model.pth", write)
    assert (tmp_path / "model.pth").read_bytes() == b"ab"


def test_what_a_dead_process_has_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = dead_process()
    monkeypatch.setattr(os, "getpid", lambda: number)
    ours = tmp_path / files._temporary_name("model.pth")
    earlier = tmp_path / f".model.pth.{number}.tmp"  # as earlier versions named them
    monkeypatch.setattr(files, "_computer", lambda: "0123abcd")
    foreign = tmp_path / files._temporary_name("model.pth")
    monkeypatch.undo()
    others = [tmp_path / name for name in (".notes.tmp", "a.5.tmp", f".model.{os.getpid()}.tmp")]
    for path in (ours, earlier, foreign, *others):
        path.touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([foreign, *others])
    yesterday = time.time() - 25 * 3600
    for path in (foreign, *others):
        os.utime(path, (yesterday, yesterday))
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others[:2])


def test_temporary_names_fit_where_the_name_does() -> None:
    for name in ("n" * 255, os.fsdecode(b"\xff" * 255), "é" * 127):
        assert len(os.fsencode(files._temporary_name(name))) <= 255


def test_text_with_the_name_of_a_file_that_is_no_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "caf\\udce9"
