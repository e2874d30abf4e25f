"""Building blocks without knowledge of detection."""
