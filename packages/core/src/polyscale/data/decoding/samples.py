"""Samples of 16 and 32 bits and of floats to 8 bits, without a second full-size copy."""

import numpy as np

from polyscale.errors import UserError

BAND = 1 << 22  # pixels that are converted at a time
_OVERSHOOT = 1e-4  # that float files may have above 1 by rounding


class ImageError(UserError):
    """An image that cannot be used. The message is one line: the file, then what is wrong with it."""


def to_8bit(samples: np.ndarray, name: str) -> np.ndarray:
    """Scale samples [H, W, ...] to uint8.

    Integers are taken as 16 bit (0 to 65535) and scaled, not clipped. Floats hold [0, 1] or [0, 255], told by their
    maximum; one between 1 and 2 belongs to neither.

    Raises:
        ImageError: Integers outside 0 to 65535, floats outside both ranges, NaN; it names the range found.
    """
    low, high = float(samples.min()), float(samples.max())
    floats = samples.dtype.kind == "f"
    if floats and not (low >= -_OVERSHOOT and (high <= 1 + _OVERSHOOT or 2 <= high <= 255 + _OVERSHOOT)):  # NaN fails
        raise ImageError(f"{name}: float samples from {low:g} to {high:g}; accepted are [0, 1] and [0, 255]")
    if not floats and (low < 0 or high > 65535):
        raise ImageError(f"{name}: 32-bit samples from {low:g} to {high:g}; accepted is 0 to 65535")
    scale = 255 if high <= 1 + _OVERSHOOT else 1
    result = np.empty(samples.shape, np.uint8)
    for rows in bands(samples.shape[0], samples.size // samples.shape[0]):
        part = samples[rows]
        if floats:
            result[rows] = np.clip(np.rint(part * scale), 0, 255)
        else:
            result[rows] = (part.astype(np.uint32) + 128) // 257
    return result


def bands(height: int, width: int) -> list[slice]:
    """Slices of rows, each of about BAND pixels."""
    rows = max(1, BAND // max(1, width))
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
