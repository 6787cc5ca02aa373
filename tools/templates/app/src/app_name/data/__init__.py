"""Data sets: synthetic.py is the embedded default, formats/ has one file per format."""
