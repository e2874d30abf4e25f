"""Evaluate a checkpoint: the same as the command fpt-test."""

import sys

from fpt.cli.entry import test

if __name__ == "__main__":
    sys.exit(test())
