"""Images of detections."""
