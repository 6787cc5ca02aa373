"""Noise that images are drawn with: white noise under any spectrum, and coarse random grids enlarged.

Random phase textures (Galerne, Gousseau and Morel 2011) and value noise. All randomness comes from the generator that
is passed in, so that an image is the same wherever it is drawn.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]
Rng = np.random.Generator


@lru_cache(maxsize=16)
def frequencies(rows: int, columns: int) -> tuple[NDArray[np.float64], Field, Field]:
    """Return what a spectrum is made of, on the half plane of rfft2, [rows, columns // 2 + 1] each; do not write to it.

    Returns:
        The radius in cycles per pixel, and cosine and sine of twice the angle.
    """
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    twice = 2 * np.arctan2(fy, fx)
    return np.hypot(fx, fy), np.cos(twice).astype(np.float32), np.sin(twice).astype(np.float32)


def streaks(rows: int, columns: int, angle: float, stretch: float) -> Field:
    """Return the logarithm of a gain that makes streaks across `angle` (radians).

    `stretch` is 0 for none, about 3 for fur, 6 to 10 for grass; the gain spans exp(-stretch) to exp(stretch).
    """
    _, cosine, sine = frequencies(rows, columns)
    return cosine * np.float32(stretch * math.cos(2 * angle)) + sine * np.float32(stretch * math.sin(2 * angle))


def white_spectrum(rng: Rng, gain: Field) -> NDArray[np.complex64]:
    """Return white noise under the amplitudes `gain`, for irfft2; both [rows, columns // 2 + 1].

    Its numbers come from 2 bytes of `rng` each: the variance of either part is 2 ** 16 / 12 before the gain.
    """
    white = np.frombuffer(rng.bytes(2 * gain.size), np.int8).astype(np.float32)
    white += 0.5  # bytes are centred on -0.5
    spectrum = white.view(np.complex64).reshape(gain.shape)
    spectrum *= gain
    return spectrum


def enlarged(
    grid: NDArray[np.floating], height: int, width: int, box: tuple[float, float, float, float] | None = None
) -> Field:
    """Return a coarse grid, or the part `box` (left, top, right, bottom) of it, as smooth waves [height, width]."""
    image = Image.fromarray(grid.astype(np.float32, copy=False))
    return np.array(image.resize((width, height), Image.Resampling.BICUBIC, box))
