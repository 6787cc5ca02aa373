"""Blocks: torch only, usable alone. A block's file is imported when its name is first used."""

from polyscale._lazy import lazy_exports

_EXPORTS: dict[str, str] = {}

__all__ = list(_EXPORTS)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
