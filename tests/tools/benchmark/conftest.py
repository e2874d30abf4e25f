"""The scripts of tools/benchmark import each other as they do when one of them is run: from its own folder."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools" / "benchmark"))
