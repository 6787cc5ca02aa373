"""Blurs and spatial distortions of KADID-10k: Gaussian, lens, motion; pixelate, jitter, displaced patches, blocks.

Lengths are in pixels of the image itself, so that a crop of a distorted image is a distorted crop.
"""

import math

import numpy as np
from PIL import Image

from iqa.data.distortions.pixels import Bytes, convolved, disc, gaussian, path_kernel, to_bytes
from polyscale.data.noise import Rng

MOST_SQUARES = 400  # drawn at once, whatever the level: a higher level uses more of the same list


def gaussian_blur(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """`strength` is sigma in pixels."""
    return gaussian(image, strength)


def lens_blur(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """A disc of radius `strength` pixels: out of focus, everywhere."""
    return to_bytes(convolved(image.astype(np.float32), [disc(strength)])[0])


def motion_blur(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """A straight trace of `strength` pixels in a random direction."""
    angle = rng.uniform(0, math.pi)
    steps = np.linspace(-0.5, 0.5, 64)[:, None] * strength
    path = steps * np.array([math.sin(angle), math.cos(angle)])
    return to_bytes(convolved(image.astype(np.float32), [path_kernel(path)])[0])


def pixelate(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Squares of about `strength` pixels, each of one colour."""
    height, width = image.shape[:2]
    small = (max(1, round(width / strength)), max(1, round(height / strength)))
    reduced = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(reduced.resize((width, height), Image.Resampling.NEAREST))


def jitter(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Every pixel is taken from a random place near it; `strength` is the deviation of its distance in pixels."""
    height, width = image.shape[:2]
    offsets = rng.standard_normal((2, height, width), np.float32)
    offsets *= strength
    moved = np.rint(offsets, out=offsets).astype(np.int32)
    rows = np.clip(moved[0] + np.arange(height, dtype=np.int32)[:, None], 0, height - 1)
    columns = np.clip(moved[1] + np.arange(width, dtype=np.int32), 0, width - 1)
    rows *= width
    rows += columns
    return image.reshape(-1, 3).take(rows, axis=0)


def _squares(rng: Rng, height: int, width: int, side: int, share: float) -> list[tuple[int, int]]:
    """Corners of squares that together have `share` of the image's area; a larger share continues the same list."""
    places = rng.random((MOST_SQUARES, 2))
    count = min(MOST_SQUARES, max(1, math.ceil(share * height * width / side**2)))
    return [(int(y * (height - side + 1)), int(x * (width - side + 1))) for y, x in places[:count]]


def displaced_patches(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Non-eccentricity patches: squares replaced by a neighbouring piece of the image; `strength`: share of area."""
    height, width = image.shape[:2]
    side = max(1, min(height, width) // 24)
    result = image.copy()
    turns = rng.uniform(0, 2 * math.pi, MOST_SQUARES)
    for (y, x), turn in zip(_squares(rng, height, width, side, strength), turns, strict=False):
        from_y = min(max(y + round(1.2 * side * math.sin(turn)), 0), height - side)
        from_x = min(max(x + round(1.2 * side * math.cos(turn)), 0), width - side)
        result[y : y + side, x : x + side] = image[from_y : from_y + side, from_x : from_x + side]
    return result


def colour_blocks(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Squares of one random colour each laid over the image; `strength`: share of area."""
    height, width = image.shape[:2]
    side = max(1, min(height, width) // 20)
    result = image.copy()
    colours = rng.integers(0, 256, (MOST_SQUARES, 3), np.uint8)
    for (y, x), colour in zip(_squares(rng, height, width, side, strength), colours, strict=False):
        result[y : y + side, x : x + side] = colour
    return result
