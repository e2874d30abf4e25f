"""RetinaNet: a detector of one stage."""
