"""Plain data: boxes, masks, image lists, detections."""
