"""Made-up recordings: a model of an event camera, and drawn traffic scenes with exact boxes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
