"""What the hand-crafted baseline measures: 632 numbers of an image."""
