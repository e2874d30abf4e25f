"""Time, memory and work of the neck, for tools/benchmark_neck.py."""
