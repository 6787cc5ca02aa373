"""The data set class of iqa: images of any source with their scores, brought to the network's size and cached.

`network_image` keeps the aspect and never enlarges; it is the one preprocessing of training, evaluation and prediction.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from iqa.data.listing import Entry
from iqa.data.resize import network_pixels, read_network_pixels
from polyscale.data.cache import SampleCache
from polyscale.data.images import ImageSource, image_size, read_image
from polyscale.errors import UserError

CACHE_BYTES = 2**31  # of uint8 images at the network's size: 2,700 at 512 x 512, 10,900 at 256 x 256

Bytes = NDArray[np.uint8]


class Source(Protocol):
    """Where images come from, and what is known of each."""

    names: list[str]
    scores: NDArray[np.float64]
    subsets: list[str]
    references: list[str]
    low: float
    high: float

    def read(self, index: int) -> Bytes:
        """Read image `index` at its original size, uint8 [H, W, 3]."""
        ...

    def shape(self, index: int) -> tuple[int, int]:
        """Return the original size (H, W) of an image without reading its pixels."""
        ...


class FileSource:
    """The images of a listing's entries."""

    def __init__(self, entries: Sequence[Entry], low: float, high: float) -> None:
        self.entries, self.low, self.high = list(entries), low, high
        self.names = [entry.name for entry in self.entries]
        self.scores = np.array([entry.score for entry in self.entries], np.float64)
        self.subsets = [entry.subset for entry in self.entries]
        self.references = [entry.reference for entry in self.entries]

    def read(self, index: int) -> Bytes:
        """Read image `index` at its original size, uint8 [H, W, 3]."""
        return read_image(self.entries[index].image)

    def shape(self, index: int) -> tuple[int, int]:
        """Return the original size (H, W) of an image by its header."""
        return image_size(self.entries[index].image)

    def read_small(self, index: int, size: int) -> torch.Tensor:
        """Read an image with `read_network_image`, which decodes a large JPEG at a part of its size."""
        return read_network_image(self.entries[index].image, size)


def network_image(image: Bytes, size: int) -> torch.Tensor:
    """Make a tensor of `network_pixels`: uint8 [3, h, w]."""
    return torch.from_numpy(network_pixels(image, size))


def read_network_image(source: ImageSource, size: int) -> torch.Tensor:
    """Make a tensor of `read_network_pixels`: uint8 [3, h, w]."""
    return torch.from_numpy(read_network_pixels(source, size))


def random_crop(image: torch.Tensor, side: int) -> torch.Tensor:
    """Cut a square [C, side, side] out of [C, h, w], by torch's global generator; shorter sides are mirrored."""
    image = mirrored(image, side)
    top = int(torch.randint(image.shape[-2] - side + 1, ()))
    left = int(torch.randint(image.shape[-1] - side + 1, ()))
    return image[..., top : top + side, left : left + side]


def mirrored(image: torch.Tensor, side: int) -> torch.Tensor:
    """Continue an image [C, h, w] by its mirror images below and to the right until no side is below `side`."""
    for axis in (-2, -1):
        while image.shape[axis] < side:
            image = torch.cat(
                [image, image.flip(axis).narrow(axis, 0, min(image.shape[axis], side - image.shape[axis]))], axis
            )
    return image


class QualitySet(torch.utils.data.Dataset[dict[str, Any]]):
    """Images of one split with their scores, whole, at the network's size; a TrainingSet crops and flips them.

    `[i]` is {"image": float32 [3, h, w] in [0, 1] of at most `size` squared pixels, "score": float32 scalar, 0 at `low`
    and 1 at `high`, "index": i}. `names`, `scores` (the set's own units, higher is better), `subsets` and `references`
    are in the order of the indices. `original(i)` is the image at its original size, `image(i)` `[i]` as uint8.

    With `cache`, images at the network's size stay in memory up to `cache_bytes`, filled as they are first read or
    at once by `preload`; worker processes inherit what was filled before the fork.
    """

    def __init__(
        self,
        source: Source,
        size: int,
        title: str,
        notes: Sequence[str] = (),
        cache: bool = True,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if size < 1:
            raise UserError(f"size of the network's input must be a positive number of pixels, given {size}")
        self.source, self.size, self.title, self.notes = source, size, title, list(notes)
        self.names, self.scores = source.names, source.scores
        self.subsets, self.references = source.subsets, source.references
        self.low, self.high = source.low, source.high
        self._cache: SampleCache[torch.Tensor] = SampleCache(cache_bytes if cache else 0)

    def __len__(self) -> int:
        return len(self.names)

    def original(self, index: int) -> Bytes:
        """Read the image uint8 [H, W, 3] at its original size.

        Raises:
            UserError: The file cannot be read; it is named.
        """
        return self.source.read(range(len(self))[index])

    def image(self, index: int) -> torch.Tensor:
        """Return the whole image at the network's size, uint8 [3, h, w], neither cropped nor flipped."""
        return self._cache.get(index, self._shrink)

    def _shrink(self, index: int) -> torch.Tensor:
        if isinstance(self.source, FileSource):
            return self.source.read_small(index, self.size)
        return network_image(self.source.read(index), self.size)

    def preload(self, progress: Callable[[int, int], None] | None = None, threads: int | None = None) -> None:
        """Fill the cache now, in threads; `progress(done, total)` is called after each image."""
        with ThreadPoolExecutor(threads) as pool:
            for done, _ in enumerate(pool.map(self.image, range(len(self))), 1):
                if progress is not None:
                    progress(done, len(self))

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        image = self.image(index).to(torch.float32).div_(255)
        score = (self.scores[index] - self.low) / (self.high - self.low)
        return {"image": image, "score": torch.tensor(score, dtype=torch.float32), "index": index}
