"""Losses that no library keeps: torch only, usable alone. A file is imported when its name is first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
