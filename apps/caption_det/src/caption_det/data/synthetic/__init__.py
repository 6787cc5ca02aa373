"""The embedded default: scenes of coloured shapes with exact boxes and five captions each, drawn by seeded code."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
