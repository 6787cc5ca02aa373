"""Attention over the places of an image or a clip, over channels, and over a few sampled points of several levels."""
