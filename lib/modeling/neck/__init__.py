"""Feature pyramids and the Feature Pyramid Transformer."""
