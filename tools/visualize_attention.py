"""Draw where the transformers of a checkpoint look in images."""

import sys

from fpt.cli.visualize_attention import main

if __name__ == "__main__":
    sys.exit(main())
