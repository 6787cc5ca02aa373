"""What a model has to beat: maps that need no training, and a bootstrap interval for the difference.

`colour_contrast` is the border contrast of MB+ (Zhang et al., ICCV 2015) alone: how far a pixel's colour is from the
colours at the image's border. On photographs of animals it came out ahead of frequency-tuned saliency (Achanta et
al., CVPR 2009) and of centre-surround contrast, elsewhere level with them. Camouflage is made to defeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from polyscale.data.colour import srgb_to_lab

Map = NDArray[np.float32]


class Difference(NamedTuple):
    """The mean of paired differences with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def empty_map(image: NDArray[np.uint8]) -> Map:
    """No foreground at all: zeros [H, W]."""
    return np.zeros(image.shape[:2], np.float32)


def centre_prior(image: NDArray[np.uint8], width: float = 0.15) -> Map:
    """A Gaussian at the centre, [H, W] in [0, 1]; its deviation is `width` of the height and of the width."""
    height, breadth = image.shape[:2]
    y, x = (((np.arange(n) + 0.5) / n - 0.5) / width for n in (height, breadth))
    return np.exp(-0.5 * (y[:, None] ** 2 + x[None] ** 2)).astype(np.float32)


def colour_contrast(image: NDArray[np.uint8], longest: int = 256) -> Map:
    """Mahalanobis distance of the Lab colours of uint8 RGB [H, W, 3] to those of the border: [h, w] in [0, 1].

    Computed on the image shrunk to `longest` pixels (its contrasts are large areas); a map of that size is returned.
    """
    small = Image.fromarray(image)
    small.thumbnail((longest, longest), Image.Resampling.BOX)
    lab = srgb_to_lab(np.asarray(small))
    side = min(lab.shape[:2])
    smooth = ndimage.gaussian_filter(lab, sigma=(side / 40, side / 40, 0), mode="nearest")
    band = max(1, side // 20)
    edges = (smooth[:band], smooth[-band:], smooth[:, :band], smooth[:, -band:])
    border = np.concatenate([edge.reshape(-1, 3) for edge in edges])
    offset = border - border.mean(axis=0)
    spread = offset.T @ offset / len(offset) + 4 * np.eye(3)  # two units of Lab, the least difference one notices
    away = smooth - border.mean(axis=0)
    squared = np.einsum("hwi,ij,hwj->hw", away, np.linalg.inv(spread), away)
    return _stretch(np.sqrt(np.maximum(squared, 0))).astype(np.float32)


BASELINES: dict[str, Callable[[NDArray[np.uint8]], Map]] = {
    "empty map": empty_map,
    "centre prior": centre_prior,
    "colour contrast": colour_contrast,
}


def bootstrap_difference(
    a: NDArray[np.float64], b: NDArray[np.float64], rounds: int = 2000, seed: int = 0
) -> Difference:
    """Mean of the paired per-image differences a - b and the 95 % percentile interval of that mean.

    `a`, `b`: scores [N] of the same images in the same order. Images are drawn with replacement, the same draw for
    both. Raises ValueError where the shapes differ, N is 0 or a value is not finite.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(f"a and b are {a.shape} and {b.shape}; two vectors of the same images are needed")
    difference = a - b
    if not np.isfinite(difference).all():
        raise ValueError("a or b holds a value that is not finite")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; at least 1 is needed")
    generator = np.random.default_rng(seed)
    # one round at a time: 2000 rounds of 4000 images at once would take 64 MB of indices
    means = [difference[generator.integers(len(difference), size=len(difference))].mean() for _ in range(rounds)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(float(difference.mean()), float(low), float(high))


def _stretch(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
