"""The page of options."""

from __future__ import annotations

from pathlib import Path

from fpt.core.defaults import OPTIONS
from fpt.core.describe import describe_options
from fpt.core.merge import flatten_options
from fpt.registry import names_by_option


def test_page_is_up_to_date(root: Path) -> None:
    assert (root / "docs" / "config.md").read_text() == describe_options(names_by_option()), "run: make docs"


def test_every_option_has_a_row() -> None:
    page = describe_options(names_by_option())
    for key, _ in flatten_options(OPTIONS):
        assert f"| `{key}` |" in page
