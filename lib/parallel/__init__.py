"""Several devices: replicas in one process, and processes on one or several computers."""
