"""What the annotation file of a data set says: read, checked, packed and kept on the disk."""
