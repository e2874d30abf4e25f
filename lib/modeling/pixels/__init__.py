"""How images are prepared for a backbone."""
