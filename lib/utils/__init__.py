"""Leaf helpers: errors, logging, timers, seeding."""
