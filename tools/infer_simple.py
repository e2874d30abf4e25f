"""Draw what a checkpoint finds in images: the same as the command fpt-infer."""

import sys

from fpt.cli.entry import infer

if __name__ == "__main__":
    sys.exit(infer())
