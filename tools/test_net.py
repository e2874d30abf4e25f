"""Evaluate a checkpoint: the same as the command fpt-test."""

import sys

from fpt.cli.test import main

if __name__ == "__main__":
    sys.exit(main())
