"""The embedded default data set: a disc that is brighter than its noisy ground, drawn by seeded code, no download."""

import numpy as np
from numpy.typing import NDArray

CONTRAST = 0.3  # how much brighter than its ground a disc is, on the scale of the images, [0, 1]


class Discs:
    """`count` samples; sample i is a function of (split, i, size) alone, `split` being a number."""

    def __init__(self, split: int, count: int, size: int) -> None:
        self.split, self.size = split, size
        self.names = [f"disc{i}" for i in range(count)]

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return an image uint8 [size, size, 3] and its mask bool [size, size]."""
        rng = np.random.default_rng([0, self.split, index])
        y, x = np.mgrid[: self.size, : self.size] / self.size
        centre_y, centre_x = rng.uniform(0.25, 0.75, 2)
        mask = (y - centre_y) ** 2 + (x - centre_x) ** 2 < rng.uniform(0.1, 0.25) ** 2
        noise = rng.normal(0, 0.1, (self.size, self.size, 3))
        image = rng.uniform(0.2, 0.5, 3) + CONTRAST * mask[..., None] + noise
        return np.rint(255 * image.clip(0, 1)).astype(np.uint8), mask
