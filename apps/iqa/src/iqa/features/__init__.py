"""Natural scene statistics of whole images."""
