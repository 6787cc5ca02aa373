"""Data set layouts: one file a format."""
