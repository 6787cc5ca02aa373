"""Events as arrays that a network takes: stacked histogram, voxel grid, time surface.

Each has a compiled kernel that passes over the events once, and a reference in plain NumPy that gives the same values.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
