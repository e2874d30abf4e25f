"""Where the commands start."""

from __future__ import annotations

import subprocess
import sys

_COMMAND = """
import gc, sys
import fpt.cli.entry as entry

sys.argv = ["fpt-shapes", *{arguments}]
try:
    status = entry.shapes()
except SystemExit as error:
    status = error.code
print(status, gc.isenabled(), gc.get_freeze_count() > 10_000)
"""


def _run(*arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", _COMMAND.format(arguments=arguments)], capture_output=True, text=True, check=True
    )
    return result.stdout.splitlines()[-1]


def test_what_imports_made_is_left_out_of_collections() -> None:
    assert _run("--version") == "0 True True"


def test_so_it_is_after_an_error() -> None:
    assert _run("--num_train", "many") == "2 True True"
