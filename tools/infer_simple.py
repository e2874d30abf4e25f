"""Draw what a checkpoint finds in images: the same as the command fpt-infer."""

import sys

from fpt.cli.infer import main

if __name__ == "__main__":
    sys.exit(main())
