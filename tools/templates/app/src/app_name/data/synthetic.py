"""The embedded default data set: a disc that is brighter than its noisy ground, drawn by seeded code, no download."""

from typing import Any

import numpy as np
import torch

SPLITS = {"train": 0, "val": 1, "test": 2}


class Discs(torch.utils.data.Dataset[dict[str, Any]]):
    """`count` images of a split: sample i is a function of (seed, split, i, size, contrast) alone.

    `[i]` is {"image": float32 [3, size, size] in [0, 1], "mask": float32 [1, size, size] in {0, 1}}.
    """

    def __init__(self, split: str, count: int, size: int, contrast: float = 0.3, seed: int = 0) -> None:
        self.split, self.count, self.size, self.contrast, self.seed = split, count, size, contrast, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, SPLITS[self.split], range(self.count)[index]])
        y, x = np.mgrid[: self.size, : self.size] / self.size
        centre_y, centre_x = rng.uniform(0.25, 0.75, 2)
        mask = (y - centre_y) ** 2 + (x - centre_x) ** 2 < rng.uniform(0.1, 0.25) ** 2
        image = rng.uniform(0.2, 0.5, (3, 1, 1)) + self.contrast * mask + rng.normal(0, 0.1, (3, self.size, self.size))
        return {
            "image": torch.from_numpy(image.clip(0, 1).astype(np.float32)),
            "mask": torch.from_numpy(mask.astype(np.float32))[None],
        }
