"""Write the built-in data set ``shapes``: see --help."""

import sys

from fpt.cli.shapes import main

if __name__ == "__main__":
    sys.exit(main())
