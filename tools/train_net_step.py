"""Train a model: the same as the command fpt-train."""

import sys

from fpt.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
