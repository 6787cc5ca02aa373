"""Opening image files of any kind: whatever is wrong with one ends in one line."""
