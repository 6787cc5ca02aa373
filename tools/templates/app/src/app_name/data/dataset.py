"""Samples of any source at the network's size, and the split of a data set by its path."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from app_name.data.formats.pairs import Pairs
from app_name.data.synthetic import Discs
from polyscale.errors import UserError

SPLITS = ("train", "val", "test")


class Source(Protocol):
    """Where samples come from: images uint8 [H, W, 3] and masks bool [H, W], each pair with a name."""

    names: list[str]

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return image and mask of sample `index`."""
        ...


class MaskSet(torch.utils.data.Dataset[dict[str, Any]]):
    """Samples of one split.

    `[i]` is {"image": float32 [3, size, size] in [0, 1], "mask": float32 [1, size, size] of 0 and 1}.
    """

    def __init__(self, source: Source, title: str, split: str, size: int) -> None:
        self.source, self.split, self.size = source, split, size
        self.title, self.names = f"{title}, {split}", source.names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, mask = self.source.read(index)
        small = Image.fromarray(mask).resize((self.size, self.size), Image.Resampling.NEAREST)
        return {
            "image": torch.from_numpy(network_pixels(image, self.size)).float() / 255,
            "mask": torch.from_numpy(np.array(small, np.float32))[None],
        }

    def describe(self) -> dict[str, Any]:
        """One row of `app-name data`: the number of images and the mean share of the mask."""
        areas = [float(self.source.read(index)[1].mean()) for index in range(len(self))]
        return {"split": self.split, "images": len(self), "mean_area": float(np.mean(areas))}


def open_split(path: str, split: str, *, size: int, count: int = 64) -> MaskSet:
    """Open a split with samples of side `size`.

    Args:
        path: "synthetic", or a folder with the folders train, val and test (see formats/pairs.py).
        split: one of SPLITS.
        size: pixels.
        count: samples of the synthetic set.

    Raises:
        UserError: no such split or folder.
    """
    if split not in SPLITS:
        raise UserError(f"--split: no split {split} (choose from: {', '.join(SPLITS)})", exit_code=2)
    if path == "synthetic":
        return MaskSet(Discs(SPLITS.index(split), count, size), path, split, size)
    if not (Path(path) / split).is_dir():
        raise UserError(f"{path}: holds no folder {split}")
    return MaskSet(Pairs(Path(path) / split), path, split, size)


def network_pixels(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to uint8 [3, size, size]; the aspect is not kept."""
    resized = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(resized.transpose(2, 0, 1))
