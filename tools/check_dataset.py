"""Say what is wrong with data sets: the same as the command fpt-check-data."""

import sys

from fpt.cli.entry import check_data

if __name__ == "__main__":
    sys.exit(check_data())
