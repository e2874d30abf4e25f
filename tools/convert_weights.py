"""Convert weights between this program and others: see --help."""

import sys

from fpt.cli.entry import convert

if __name__ == "__main__":
    sys.exit(convert())
