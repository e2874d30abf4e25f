"""Command lines."""

import os

# Before torch is loaded. GNU OpenMP's threads spin for long while they wait for one another: two jobs that share two
# cores then run up to a hundred times slower than one alone. With a short spin one job alone loses about 5 %.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
