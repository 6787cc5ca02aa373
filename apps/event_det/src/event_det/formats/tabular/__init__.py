"""Files of columns t, x, y and p: NumPy, HDF5 and text."""
