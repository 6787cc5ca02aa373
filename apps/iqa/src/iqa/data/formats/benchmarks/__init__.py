"""The published data sets: one file a benchmark, and the table by which a folder is detected."""
