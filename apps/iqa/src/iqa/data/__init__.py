"""Data sets of iqa: the embedded synthetic images, CSV files of scores, and the benchmarks by their layouts.

Nothing is imported before a name is first used: prediction needs `data.resize` alone, which is without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
