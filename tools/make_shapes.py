"""Write the built-in data set ``shapes``: see --help."""

import sys

from fpt.cli.entry import shapes

if __name__ == "__main__":
    sys.exit(shapes())
