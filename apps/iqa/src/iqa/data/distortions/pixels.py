"""Arithmetic that the distortions share: rounding, linear light, fast blurs, kernels of paths, smooth fields.

Pillow blurs bytes (three box passes, independent of the radius); kernels of any other shape go through one float32
FFT of the mirrored image, which is faster than scipy.ndimage from about nine taps on.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import fft

from polyscale.data.colour import linear_to_srgb, srgb_to_linear
from polyscale.data.noise import Field, Rng, enlarged

Bytes = NDArray[np.uint8]

LINEAR = srgb_to_linear(np.linspace(0, 1, 256)).astype(np.float32)
# back over a table that is spaced by the square root: fine steps where the eye sees them
_ROOTS = np.linspace(0, 1, 4096) ** 2
_BYTES = np.rint(255 * linear_to_srgb(_ROOTS)).astype(np.uint8)


def to_bytes(field: Field) -> Bytes:
    """Values in units of 0 to 255, rounded and clipped; the array is used up."""
    field += 0.5
    return np.clip(field, 0, 255, out=field).astype(np.uint8)


def from_linear(light: Field) -> Bytes:
    """Linear light in [0, 1] as sRGB bytes, clipped at both ends; the array is used up."""
    np.clip(light, 0, 1, out=light)
    np.sqrt(light, out=light)
    light *= len(_BYTES) - 1
    light += 0.5
    return _BYTES.take(light.astype(np.int32))


def curve(image: Bytes, table: NDArray[np.floating[Any]]) -> Bytes:
    """A tone curve given as 256 values in units of 0 to 255."""
    return np.clip(np.rint(table), 0, 255).astype(np.uint8).take(image)


def gaussian(image: Bytes, sigma: float) -> Bytes:
    """Gaussian blur of bytes [H, W, 3] or [H, W], sigma in pixels."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def luma(image: Bytes) -> Bytes:
    """BT.601 luma [H, W] of RGB bytes."""
    return np.asarray(Image.fromarray(image).convert("L"))


def convolved(field: Field, kernels: Sequence[Field]) -> list[Field]:
    """The image [H, W, 3] through each kernel [k, k] (odd sides), mirrored beyond its borders: float32 [H, W, 3]."""
    height, width = field.shape[:2]
    margin = max(kernel.shape[0] for kernel in kernels) // 2
    planes = np.pad(field.transpose(2, 0, 1), ((0, 0), (margin, margin), (margin, margin)), "symmetric")
    shape = tuple(fft.next_fast_len(n + margin, real=True) for n in planes.shape[1:])
    spectrum = fft.rfft2(planes, shape)
    results = []
    for kernel in kernels:
        start = margin + kernel.shape[0] // 2
        product = fft.irfft2(spectrum * fft.rfft2(kernel, shape), shape)
        results.append(product[:, start : start + height, start : start + width].transpose(1, 2, 0))
    return results


def disc(radius: float) -> Field:
    """A disc of `radius` pixels with a soft rim, sum 1."""
    reach = math.ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def path_kernel(path: NDArray[np.float64]) -> Field:
    """The trace of a point that moves along `path` [N, 2] (pixels, equal times), centred on its mean, sum 1."""
    path = path - path.mean(0)
    reach = math.ceil(np.abs(path).max()) + 1
    whole = np.floor(path).astype(int)
    part = path - whole
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
            np.add.at(kernel, (whole[:, 0] + reach + dy, whole[:, 1] + reach + dx), weight)
    return (kernel / kernel.sum()).astype(np.float32)


def smooth_field(rng: Rng, height: int, width: int, cells: int) -> Field:
    """Random slow waves [H, W], about `cells` over the longer side, stretched to span 0 to 1."""
    longer = max(height, width)
    coarse = rng.standard_normal((cells + 3, cells + 3), np.float32)
    box = (1.0, 1.0, 1.0 + cells * width / longer, 1.0 + cells * height / longer)
    field = enlarged(coarse, height, width, box)
    field -= field.min()
    field /= max(float(field.max()), 1e-6)
    return field
