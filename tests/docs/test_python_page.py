"""Every block of docs/python.md runs, one after the other, as a person would paste them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import fpt


def test_the_blocks_run_in_their_order(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == page.count("```python") >= 7
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks), encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280
    )
    assert shown.returncode == 0, shown.stderr
    assert "step 6/6" in shown.stderr
    assert (tmp_path / "outputs" / "first.png").is_file()
    assert (tmp_path / "outputs" / "first" / "test" / "metrics.json").is_file()


def test_every_public_name_is_on_the_page(root: Path) -> None:
    page = (root / "docs" / "python.md").read_text(encoding="utf-8")
    missing = [name for name in fpt.__all__ if f"`{name}" not in page and f"fpt.{name}" not in page]
    assert [name for name in missing if not name.startswith(("register_", "__"))] == []
