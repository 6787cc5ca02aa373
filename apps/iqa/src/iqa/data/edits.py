"""Edits that no viewer sees: a quality score has to stay where it is. Trained as ties, tested, and used by compare."""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]


def save_again(image: Bytes, quality: int = 95) -> Bytes:
    """Return uint8 [H, W, 3] as a JPEG file of this quality holds it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer).convert("RGB"))


def cut_off(image: Bytes, pixels: int) -> Bytes:
    """Return uint8 [H, W, 3] without `pixels` at the top and at the left; sides that are as short stay."""
    top, left = (pixels if n > pixels else 0 for n in image.shape[:2])
    return np.ascontiguousarray(image[top:, left:])


def mirror(image: Bytes) -> Bytes:
    """Return uint8 [H, W, 3] with left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def shrink(image: Bytes, factor: float = 0.9) -> Bytes:
    """Return uint8 [H, W, 3] at `factor` of its size: bicubic, anti-aliased."""
    height, width = (max(1, round(n * factor)) for n in image.shape[:2])
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


EDITS: dict[str, Callable[[Bytes], Bytes]] = {
    "saved again": save_again,
    "1 px cut off": lambda image: cut_off(image, 1),
    "4 px cut off": lambda image: cut_off(image, 4),
    "mirrored": mirror,
    "90 % size": shrink,
}
