"""The one way in which an image is brought to the network's size, in training, evaluation and prediction."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscale.data.images import ImageSource, read_image

Bytes = NDArray[np.uint8]


def network_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Return (height, width) of an image for the network: equal aspect, at most `size` squared pixels, not enlarged."""
    area = size * size
    if height * width <= area:
        return height, width
    scale = math.sqrt(area / (height * width))
    shorter = max(1, round(min(height, width) * scale))
    longer = max(1, min(round(max(height, width) * scale), area // shorter))
    return (shorter, longer) if height <= width else (longer, shorter)


def network_pixels(image: Bytes, size: int) -> Bytes:
    """Resize uint8 [H, W, 3] to uint8 [3, h, w] of at most `size` squared pixels: bicubic, anti-aliased."""
    height, width = network_size(image.shape[0], image.shape[1], size)
    if (height, width) != image.shape[:2]:
        image = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    return np.array(image.transpose(2, 0, 1), order="C")


def read_network_pixels(source: ImageSource, size: int) -> Bytes:
    """Read any image that read_image takes as uint8 [3, h, w] for the network; large files stay cheap.

    At least four times the pixels that remain are decoded, so that the anti-aliased resize decides how they look.
    """
    return network_pixels(read_image(source, min_pixels=4 * size * size), size)
