"""Draw where the transformers of a checkpoint look in images: the same as the command fpt-attention."""

import sys

from fpt.cli.entry import attention

if __name__ == "__main__":
    sys.exit(attention())
