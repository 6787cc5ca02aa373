"""Data set formats: one file a format."""
