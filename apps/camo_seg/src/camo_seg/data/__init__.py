"""Data sets of camo-seg: the embedded synthetic scenes, folder pairs, and the standard benchmarks by their layouts.

Nothing is imported before a name is first used: prediction needs `data.resize` alone, which is without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
