"""Box and mask heads."""
