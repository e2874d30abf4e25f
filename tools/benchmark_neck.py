"""Time and memory of FPN, FPT and the dense formula; parameters and FLOPs by part."""

import sys

from fpt.cli.benchmark_neck import main

if __name__ == "__main__":
    sys.exit(main())
