"""Whose a file is, and that no other is written over."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from fpt.utils.errors import UserError
from fpt.utils.own_files import check_outputs, claim_outputs, note_outputs, own_files, recorded


def write(path: Path, text: str = "ours") -> Path:
    """A file of ours."""
    claim_outputs([path])
    with recorded(path):
        path.write_text(text)
    return path


def test_what_was_written_may_be_written_again(tmp_path: Path) -> None:
    path = write(tmp_path / "out" / "a.png")
    assert own_files(path.parent)("a.png")
    write(path, "ours, too")
    assert path.read_text() == "ours, too"


def test_other_files_are_refused_and_named(tmp_path: Path) -> None:
    names = [f"{letter}.png" for letter in "abcdefg"]
    for name in names:
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=r"a.png, .*e.png and 2 more would be written over, but each was not written"):
        claim_outputs([tmp_path / name for name in names])
    with pytest.raises(UserError, match=r"a.png would be written over, .*; give a new folder, or move away"):
        claim_outputs([tmp_path / "a.png"], advice="give a new folder")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("change", ["edited", "replaced", "same size"])
def test_a_file_that_was_changed_since_is_the_users(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "a.json")
    if change == "replaced":
        path.unlink()
    path.write_text("mine" if change == "same size" else "edited by hand")
    os.utime(path, ns=(1, 1))
    with pytest.raises(UserError, match="or changed since"):
        claim_outputs([path])


def test_copied_and_moved_folders_stay_ours(tmp_path: Path) -> None:
    path = write(tmp_path / "out" / "a.json")
    shutil.copytree(path.parent, tmp_path / "copy", copy_function=shutil.copyfile)
    path.parent.rename(tmp_path / "moved")
    claim_outputs([tmp_path / "copy" / "a.json", tmp_path / "moved" / "a.json"])


def test_inputs_are_refused_under_any_name_even_if_they_are_ours(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    (tmp_path / "link").symlink_to(tmp_path)
    for target in (path, tmp_path / "link" / "a.png", tmp_path / "x" / ".." / "a.png"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="a.png would be written over, but is an input"):
            check_outputs([target], inputs=[path])
    os.link(path, tmp_path / "hard.png")
    with pytest.raises(UserError, match="is an input"):
        check_outputs([path], inputs=[tmp_path / "hard.png"])


def test_links_and_folders_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b.png").mkdir()
    for name in ("a.png", "b.png"):
        with pytest.raises(UserError, match=f"{name} would be written over"):
            check_outputs([tmp_path / name])


@pytest.mark.parametrize("record", ["", "{", "[]", "\xff\x00", '{"file": 3}\n["a.json"]'])
def test_with_a_broken_record_nothing_is_ours(tmp_path: Path, record: str) -> None:
    path = write(tmp_path / "a.json")
    (tmp_path / ".fpt_files.jsonl").write_text(record, encoding="latin-1")
    with pytest.raises(UserError, match="was not written by this program"):
        claim_outputs([path])
    write(tmp_path / "b.json")
    claim_outputs([tmp_path / "b.json"])


def test_a_killed_process_leaves_its_files_ours(tmp_path: Path) -> None:
    note_outputs(tmp_path / "a.png", tmp_path / "b.png")
    (tmp_path / "a.png").write_text("half")
    with (tmp_path / ".fpt_files.jsonl").open("a") as file:
        file.write('\n{"file": "b.p')  # killed amid a line
    write(tmp_path / "c.png")
    claim_outputs([tmp_path / name for name in ("a.png", "b.png", "c.png")])


def test_a_file_that_could_not_be_written_is_not_ours_later(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), recorded(tmp_path / "a.png"):
        raise OSError("full")
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(UserError, match="was not written by this program"):
        claim_outputs([tmp_path / "a.png"])


def test_each_process_has_its_own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpt.utils.own_files.rank", lambda: 3)
    write(tmp_path / "a.png")
    monkeypatch.undo()
    write(tmp_path / "a.png", "by another process")
    write(tmp_path / "b.png")
    assert {path.name for path in tmp_path.glob(".*")} == {".fpt_files.jsonl", ".fpt_files.3.jsonl"}
    claim_outputs([tmp_path / "a.png", tmp_path / "b.png"])


def test_a_run_folder_of_an_earlier_version_is_ours_but_for_drawings(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "eval" / "val").mkdir(parents=True)
    content = {"command": "fpt-train", "packages": {}, "git_revision": None}
    (run / "environment.json").write_text(json.dumps(content))
    names = ("log.txt", "metrics.json", "eval/val/bbox.json", "1.png")
    for name in names:
        (run / name).write_text("from before")
    with pytest.raises(UserError, match=r"1.png would be written over"):
        claim_outputs([run / "1.png"])
    claim_outputs([run / name for name in ("environment.json", *names[:3])])
    assert own_files(run)("metrics.json")
    (run / "metrics.jsonl").write_text("mine, from now on")
    with pytest.raises(UserError, match=r"metrics.jsonl would be written over"):
        claim_outputs([run / "metrics.jsonl"])
    (run / "photos").mkdir()
    (run / "photos" / "metrics.json").write_text("mine")
    with pytest.raises(UserError, match="was not written by this program"):
        claim_outputs([run / "photos" / "metrics.json"])


def test_another_programs_environment_is_no_sign(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text('{"name": "conda"}')
    (tmp_path / "metrics.json").write_text("mine")
    for name in ("environment.json", "metrics.json"):
        with pytest.raises(UserError, match=f"{name} would be written over"):
            claim_outputs([tmp_path / name])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"output folder .*file cannot be written: "):
        claim_outputs([tmp_path / "file" / "a.png"])


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    write(path)
    claim_outputs([path])
