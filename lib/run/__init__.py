"""Whole trainings, evaluations and predictions, as Python calls them."""
