"""Train a model: the same as the command fpt-train."""

import sys

from fpt.cli.entry import train

if __name__ == "__main__":
    sys.exit(train())
