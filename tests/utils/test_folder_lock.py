"""One training a folder."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from fpt.utils.errors import UserError
from fpt.utils.folder_lock import locked_folder

HOLD = """
import sys
from pathlib import Path
from fpt.utils.folder_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_until_the_first_is_gone_however_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        (tmp_path / "link").symlink_to(tmp_path / "run")
        for name in ("run", "link"):
            with pytest.raises(UserError, match=f"{name} is the folder of a training that is running; .* another"):
                with locked_folder(tmp_path / name):
                    pass
        other.kill()
    with locked_folder(tmp_path / "run"):
        pass


def test_another_training_of_the_same_process_is_refused(tmp_path: Path) -> None:
    with locked_folder(tmp_path):
        with pytest.raises(UserError, match="is running"), locked_folder(tmp_path):
            pass
    with locked_folder(tmp_path):
        pass


def test_a_disk_without_locks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lockf(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", lockf)
    with locked_folder(tmp_path):
        assert "cannot be locked (No locks available): make sure that no other training" in caplog.text


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"), locked_folder(tmp_path / "file"):
        pass
