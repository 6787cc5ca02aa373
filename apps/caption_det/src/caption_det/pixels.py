"""Images as the network takes them, without torch."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def squeeze(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Squeeze an image uint8 [H, W, 3] to the network's square: uint8 [3, size, size]."""
    if image.shape[:2] != (size, size):
        image = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))
    return np.ascontiguousarray(image.transpose(2, 0, 1))
