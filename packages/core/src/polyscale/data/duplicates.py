"""Difference hashes: which images are nearly the same, whatever their format, size and compression.

dHash (Krawetz 2013) at 16 x 16: 256 bits, each whether the image, shrunk to 17 x 16 grey, grows brighter from one
column to the next. Near-duplicates are within a few bits of each other, two photographs of BIQ2021 about 126 apart.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscale.data.decoding.opening import MAX_PIXELS, name_of, opened, upright
from polyscale.data.images import read_image

NEAR = 20  # bits of 256
_SIDE = 16
_BLOCK = 512


def difference_hash(image: Image.Image) -> NDArray[np.bool_]:
    """Return the 256 bits of an image of any mode and size."""
    small = image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(small)
    return (grey[:, 1:] > grey[:, :-1]).ravel()


def hash_file(path: Path) -> NDArray[np.bool_]:
    """Hash an image file, within two bits of the hash of all its pixels.

    Of a large JPEG only the luma is decoded, at a part of its size.

    Raises:
        ImageError: The file cannot be read; it is named.
    """
    with opened(path, name_of(path), MAX_PIXELS) as image:
        if image.mode[0] in "IF":  # convert("L") would clip 16 bits, not scale them
            return difference_hash(Image.fromarray(read_image(path)))
        image.draft("L", (16 * _SIDE, 16 * _SIDE))
        return difference_hash(upright(image))


def hash_files(paths: Sequence[Path]) -> NDArray[np.bool_]:
    """Hash many files, bool [N, 256], in threads (Pillow decodes outside the interpreter's lock)."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(hash_file, paths)))


def near_pairs(first: NDArray[np.bool_], second: NDArray[np.bool_], bits: int = NEAR) -> NDArray[np.intp]:
    """Find indices [M, 2] (i, j) of hashes at most `bits` apart, i of `first`, j of `second`."""
    signs = 2 * second.astype(np.float32).T - 1
    found = []
    for start in range(0, len(first), _BLOCK):
        agreement = (2 * first[start : start + _BLOCK].astype(np.float32) - 1) @ signs  # 256 - 2 * distance
        found.append(np.argwhere(agreement >= first.shape[1] - 2 * bits) + np.array([start, 0]))
    return np.concatenate(found) if found else np.zeros((0, 2), np.intp)
