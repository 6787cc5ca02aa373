"""Colour, brightness, contrast and sharpness distortions of KADID-10k.

Tone changes are tables of 256 values. A hue and saturation model is not converted to where an identity will do:
scaling HSV saturation by f is max + f (channel - max), and scaling Lab-like chroma is done on Cb and Cr.
"""

import math

import numpy as np
from PIL import Image
from scipy import ndimage

from iqa.data.distortions.pixels import Bytes, curve, gaussian, luma, to_bytes
from polyscale.data.noise import Field, Rng

RAMP = np.arange(256, dtype=np.float64)


def colour_diffusion(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Cb and Cr blurred by sigma `strength` pixels, luma kept: colours run over their edges."""
    planes = np.array(Image.fromarray(image).convert("YCbCr"))
    planes[..., 1:] = gaussian(planes, strength)[..., 1:]
    return np.asarray(Image.fromarray(planes, "YCbCr").convert("RGB"))


def colour_shift(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """The green plane moved `strength` pixels in a random direction, blended in along edges: along more, further."""
    angle = rng.uniform(0, 2 * math.pi)
    green = image[..., 1].astype(np.float32)
    offset = (strength * math.sin(angle), strength * math.cos(angle))
    moved = ndimage.shift(green, offset, order=1, mode="nearest")
    grey = luma(image).astype(np.float32)
    edges = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    gain = (0.5 + 0.25 * strength) / (float(np.percentile(edges[::4, ::4], 95)) + 1)
    mask = np.clip(ndimage.uniform_filter(edges, 3) * np.float32(gain), 0, 1)
    result = image.copy()
    result[..., 1] = to_bytes(green + mask * (moved - green))
    return result


def colour_quantise(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """The best 2 ** (8 - strength) or so colours of the image, dithered."""
    rgb = Image.fromarray(image)
    colours = max(2, round(2 ** (8 - strength)))
    palette = rgb.reduce(max(1, min(rgb.size) // 128)).quantize(colours, Image.Quantize.MEDIANCUT)
    return np.asarray(rgb.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))


def desaturate(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """HSV saturation times 1 - `strength`; above 1 colours turn to their complements, as in KADID-10k."""
    peak = image.max(2, keepdims=True).astype(np.float32)
    return to_bytes(peak + np.float32(1 - strength) * (image - peak))


def oversaturate(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Distance of every pixel from its own grey times 1 + `strength` (chroma of a Lab-like space, luma kept)."""
    grey = luma(image)[..., None].astype(np.float32)
    return to_bytes(grey + np.float32(1 + strength) * (image - grey))


def brighten(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Gamma curve that lifts the middle tones, exponent 1 / (1 + strength)."""
    return curve(image, 255 * (RAMP / 255) ** (1 / (1 + strength)))


def darken(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Gamma curve that lowers the middle tones, exponent 1 + strength."""
    return curve(image, 255 * (RAMP / 255) ** (1 + strength))


def mean_shift(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """`strength` (of 255) added to or taken from every value."""
    return curve(image, RAMP + 255 * strength * rng.choice([-1, 1]))


def contrast_change(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Distance from the mean divided or multiplied by 1 + `strength`, smoothly limited."""
    mean = float(image[::2, ::2].mean())
    if rng.random() < 0.5:
        return curve(image, mean + (RAMP - mean) / (1 + strength))
    limit = np.where(mean > RAMP, mean, 255 - mean) + 1e-6
    return curve(
        image, mean + limit * np.tanh((1 + 2 * strength) * (RAMP - mean) / limit) / math.tanh(1 + 2 * strength)
    )


def quantise(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Every channel in steps of `strength`: banding."""
    return curve(image, np.floor(RAMP / strength) * strength + strength / 2)


def oversharpen(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Unsharp masking, `strength` times the difference from a blur of sigma 1.5 pixels."""
    fine: Field = image.astype(np.float32)
    blurred = gaussian(image, 1.5)
    fine += np.float32(strength) * (fine - blurred)
    return to_bytes(fine)
