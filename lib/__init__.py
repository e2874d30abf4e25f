"""Feature Pyramid Transformer: a research training framework for object detection and instance segmentation."""

__version__ = "0.1.0"
