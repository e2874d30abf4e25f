"""Fixtures that several tests share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def _importable_tests() -> Iterator[None]:
    """Processes that a test spawns find it by its name, however pytest was started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield


@pytest.fixture(autouse=True)
def _fresh_logger() -> Iterator[None]:
    """Undo what command lines do to the package's logger, so that no test depends on those before it."""
    _reset_logger()
    yield
    _reset_logger()


def _reset_logger() -> None:
    logger = logging.getLogger("fpt")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        if isinstance(handler, logging.FileHandler):
            handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def _shared(name: str) -> Path:
    folder = Path(os.environ.get("FPT_SHARED", ROOT.parent / "shared")) / name
    if not folder.is_dir():
        pytest.skip(f"real data is absent: {folder} (set FPT_SHARED to its parent)")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets beside the checkout; the test is skipped where it is absent."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Folder of real weights beside the checkout; the test is skipped where it is absent."""
    return _shared("weights")
