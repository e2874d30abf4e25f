"""The wheel: it holds the whole package and nothing else, and works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

COMMANDS = {
    "fpt-train": "train",
    "fpt-test": "test",
    "fpt-infer": "infer",
    "fpt-shapes": "shapes",
    "fpt-check-data": "check_data",
    "fpt-attention": "attention",
    "fpt-convert": "convert",
}


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout's build folder neither changes nor leaks in."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("lib", "configs"):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(root / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return next((copy / "dist").glob("*.whl"))


def test_wheel_holds_the_package_and_its_yaml_files_alone(root: Path, wheel: Path) -> None:
    names = {Path(name) for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {"fpt" / path.relative_to(root / "lib") for path in (root / "lib").rglob("*.py")}
    yaml_files = {"fpt" / path.relative_to(root) for path in (root / "configs").rglob("*.yaml")}
    assert len(yaml_files) > 20
    assert names == sources | yaml_files
    assert not {"benchmark", "tests", "tools"} & {part for name in names for part in name.parts}


def test_wheel_names_its_commands(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    text = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    for command, module in COMMANDS.items():
        assert f"{command} = fpt.cli.entry:{module}" in text


def test_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    modules = ", ".join(f"fpt.cli.{module}" for module in COMMANDS.values())
    code = f"import fpt, {modules}; print(fpt.__file__); print(fpt.load_cfg('fpt_R-101').cfg_dir)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    package, configs = (Path(line) for line in result.stdout.splitlines())
    assert package == site / "fpt" / "__init__.py"
    assert configs == site / "fpt" / "configs" / "paper"
