"""Configuration of the framework."""
