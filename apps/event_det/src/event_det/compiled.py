"""Numba with the settings that every kernel here shares."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compile a kernel at its first call and keep the machine code on disk, so that only the first run waits.

    The global interpreter lock is released while it runs. Where no folder for the machine code can be written, every
    process compiles anew (about a second a kernel).
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        return numba.njit(nogil=True)(function)
