"""Train one recipe with several necks and seeds, and table their average precisions."""

import sys

from fpt.cli.compare_necks import main

if __name__ == "__main__":
    sys.exit(main())
