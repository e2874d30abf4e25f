"""Configurations that come with the package are found by name, from any folder."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import fpt
from fpt.core.config import resolve_data_path
from fpt.core.config_files import find_cfg_file, match_name, packaged_files
from fpt.utils.errors import UserError

NAMES = {
    "e2e_fptnet_R-50_mask": "e2e_fptnet_R-50_mask",
    "e2e_fptnet_R-50_mask.yaml": "e2e_fptnet_R-50_mask",
    "paper/fpt_R-101": "paper/fpt_R-101",
    "fpt_R-101.yml": "paper/fpt_R-101",
    "demo/shapes_fpt_R-18.yaml": "demo/shapes_fpt_R-18",
    "nuts_fpt_mobilenet": "examples/nuts_fpt_mobilenet",
    "ablation/bfp": "paper/ablation/bfp",
}


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_names_with_and_without_folder_and_suffix(
    root: Path, empty: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = root / "configs" / f"{NAMES[name]}.yaml"
    with caplog.at_level(logging.INFO, "fpt"):
        assert find_cfg_file(name) == file
    assert caplog.messages == [f"configuration {NAMES[name]}: {file}"]
    assert fpt.load_cfg(Path(name)) == fpt.load_cfg(file)


def test_every_file_of_ours_has_a_name(root: Path) -> None:
    assert set(packaged_files().values()) == set((root / "configs").rglob("*.y*ml"))


def test_a_file_wins_over_a_name(empty: Path) -> None:
    Path("nuts_fpt_mobilenet").write_text("SOLVER: {MAX_ITER: 7}\n")
    assert fpt.load_cfg("nuts_fpt_mobilenet").SOLVER.MAX_ITER == 7
    assert fpt.load_cfg("nuts_fpt_mobilenet.yaml").SOLVER.MAX_ITER == 400


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("e2e_fptnet_R50_mask", "e2e_fptnet_R-50_mask"),
        ("paper/fpt_R101.yaml", "paper/fpt_R-101"),
        ("folder/nuts_mobilenet.yaml", "examples/nuts_fpt_mobilenet"),
        ("owm.yaml", "own.yaml"),
    ],
)
def test_an_unknown_name_lists_the_nearest(empty: Path, name: str, nearest: str) -> None:
    Path("own.yaml").touch()
    with pytest.raises(UserError) as caught:
        fpt.load_cfg(name)
    start, _, similar = str(caught.value).partition("; files with a similar name: ")
    assert start == f"config file {name} does not exist"
    assert nearest in similar.split(", ")


def test_nothing_is_near(empty: Path) -> None:
    with pytest.raises(UserError, match=r"config file \?\?\? does not exist; files with a similar name: none"):
        find_cfg_file("???")


def test_an_ambiguous_name_lists_the_candidates() -> None:
    known = ["a", "x/a", "x/b", "y/b", "y/xb"]
    assert match_name("a", known) == "a"
    assert match_name("x/b", known) == "x/b"
    assert match_name("c", known) is None
    with pytest.raises(UserError, match=r"b is the name of several configurations; give one of x/b, y/b$"):
        match_name("b", known)


def test_data_of_a_packaged_file_count_from_the_working_folder(empty: Path) -> None:
    (empty / "data" / "shapes" / "annotations").mkdir(parents=True)
    (empty / "data" / "shapes" / "annotations" / "train.json").touch()
    cfg = fpt.load_cfg("shapes_fpt_R-18")
    found = resolve_data_path(cfg, cfg.DATASETS.shapes_train.ANN_FILE)
    assert found.resolve() == empty / "data" / "shapes" / "annotations" / "train.json"
