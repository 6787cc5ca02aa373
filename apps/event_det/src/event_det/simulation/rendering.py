"""Kernels that draw a scene: a background seen through a moving frame, and sprites at fractions of a pixel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.compiled import compiled


@compiled
def draw_background(image: NDArray[Any], background: NDArray[Any], left: float, top: float) -> None:
    """Fill `image` with the part of `background` whose upper left corner is at (left, top), bilinear."""
    x0, y0 = int(np.floor(left)), int(np.floor(top))
    a, b = np.float32(left - x0), np.float32(top - y0)
    for y in range(image.shape[0]):
        upper, lower = background[y0 + y], background[y0 + y + 1]
        for x in range(image.shape[1]):
            k = x0 + x
            above = upper[k] + a * (upper[k + 1] - upper[k])
            below = lower[k] + a * (lower[k + 1] - lower[k])
            image[y, x] = above + b * (below - above)


@compiled
def draw_sprite(
    image: NDArray[Any], grey: NDArray[Any], alpha: NDArray[Any], left: float, top: float, scale: float
) -> None:
    """Draw a sprite over `image`, its upper left corner at (left, top), bilinear; parts outside are cut off."""
    height, width = grey.shape
    y_first, y_last = max(int(np.floor(top)) - 1, 0), min(int(np.ceil(top + height * scale)) + 1, image.shape[0])
    x_first, x_last = max(int(np.floor(left)) - 1, 0), min(int(np.ceil(left + width * scale)) + 1, image.shape[1])
    for y in range(y_first, y_last):
        v = (y + 0.5 - top) / scale - 0.5
        r = int(np.floor(v))
        b = np.float32(v - r)
        if r < -1 or r >= height:
            continue
        for x in range(x_first, x_last):
            u = (x + 0.5 - left) / scale - 0.5
            c = int(np.floor(u))
            if c < -1 or c >= width:
                continue
            a = np.float32(u - c)
            cover = tone = np.float32(0)
            for dy in range(2):
                for dx in range(2):
                    if 0 <= r + dy < height and 0 <= c + dx < width:
                        weight = (b if dy else 1 - b) * (a if dx else 1 - a) * alpha[r + dy, c + dx]
                        cover += weight
                        tone += weight * grey[r + dy, c + dx]
            image[y, x] = image[y, x] * (1 - cover) + tone


@compiled
def mark_sprite(owner: NDArray[Any], alpha: NDArray[Any], left: float, top: float, scale: float, number: int) -> int:
    """Write `number` where the sprite covers at least half of a pixel; return how many pixels it has, outside too."""
    height, width = alpha.shape
    area = 0
    for y in range(int(np.floor(top)) - 1, int(np.ceil(top + height * scale)) + 1):
        r = int(np.floor((y + 0.5 - top) / scale))
        if not 0 <= r < height:
            continue
        for x in range(int(np.floor(left)) - 1, int(np.ceil(left + width * scale)) + 1):
            c = int(np.floor((x + 0.5 - left) / scale))
            if 0 <= c < width and alpha[r, c] >= 0.5:
                area += 1
                if 0 <= y < owner.shape[0] and 0 <= x < owner.shape[1]:
                    owner[y, x] = number
    return area
