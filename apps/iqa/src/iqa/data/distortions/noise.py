"""Noise distortions of KADID-10k and the artefacts of removing noise.

The random field is drawn before it is scaled, the same numbers whatever the strength: two levels from one seed differ
in strength alone.
"""

import numpy as np
from scipy import ndimage

from iqa.data.distortions.pixels import LINEAR, Bytes, from_linear, gaussian, to_bytes
from polyscale.data.noise import Field, Rng

TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)  # of Y, Cb, Cr (JFIF)


def white_noise(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Gaussian, independent in each channel; `strength` is its deviation of 255."""
    field = rng.standard_normal(image.shape, np.float32)
    field *= strength
    field += image
    return to_bytes(field)


def colour_noise(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Gaussian in Cb and Cr alone; `strength` is its deviation of 255."""
    field = rng.standard_normal((*image.shape[:2], 2), np.float32) @ (strength * TO_RGB[:, 1:].T)
    field += image
    return to_bytes(field)


def impulse_noise(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Salt and pepper in a share `strength` of the values."""
    draw = rng.random(image.shape, np.float32)
    result = image.copy()
    result[draw < strength / 2] = 0
    result[draw > 1 - strength / 2] = 255
    return result


def multiplicative_noise(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Speckle: every value times 1 + strength n, n standard normal."""
    field = rng.standard_normal(image.shape, np.float32)
    field *= strength
    field += 1
    field *= image
    return to_bytes(field)


def denoised(image: Bytes, deviation: float, radius: int, colour_sigma: float) -> Bytes:
    """A self-guided filter (He et al. 2010) of the luma that flattens what is below `deviation`, and blurred chroma."""
    soft = gaussian(image, colour_sigma).astype(np.float32)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    grey: Field = image @ weights
    soft -= (soft @ weights)[..., None]
    side = 2 * radius + 1
    mean = ndimage.uniform_filter(grey, side)
    variance = np.maximum(ndimage.uniform_filter(grey * grey, side) - mean * mean, 0)
    keep = variance / (variance + np.float32(deviation**2))
    level = ndimage.uniform_filter(mean - keep * mean, side)
    soft += (ndimage.uniform_filter(keep, side) * grey + level)[..., None]
    return to_bytes(soft)


def denoise_artefact(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """White noise of deviation `strength` taken out again too eagerly: waxy surfaces, lost texture."""
    return denoised(white_noise(image, strength, rng), 1.8 * strength + 2, 4, 0.5 + strength / 12)


def sensor_noise(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Photon and read noise in linear light, then the denoiser of a camera: blotches, worst in the shadows.

    `strength` is the photon noise of a white pixel in thousandths of white.
    """
    light = LINEAR.take(image)
    field = rng.standard_normal(image.shape, np.float32)
    gain = strength / 1000
    field *= np.sqrt(light * np.float32(gain**2) + np.float32((gain / 6) ** 2))
    light += field
    noisy = from_linear(light)
    return denoised(noisy, 0.25 * strength, 2, 0.4 + strength / 60)
