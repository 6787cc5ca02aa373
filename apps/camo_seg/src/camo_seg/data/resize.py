"""The one way in which an image is brought to the network's size, in training, evaluation and prediction."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def network_pixels(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to uint8 [3, size, size]: bilinear, anti-aliased, the aspect not kept, as in the field."""
    if image.shape[:2] != (size, size):
        image = np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(image.transpose(2, 0, 1))
