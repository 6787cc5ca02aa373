"""The data set class of camo-seg: images and masks of any source, brought to the network's size and cached.

A source knows how to read sample i at its original size; CamoSet resizes, caches, augments and makes tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from camo_seg.data.resize import network_pixels
from polyscale.data.cache import SampleCache
from polyscale.errors import UserError
from polyscale.training.loader import Order

CACHE_BYTES = 2**30  # of resized uint8 images and masks: 4096 samples at 256 px, 1820 at 384 px

Planes = tuple[torch.Tensor, torch.Tensor]
Augment = Callable[[torch.Tensor, torch.Tensor], Planes]
Recompose = Callable[[torch.Tensor, torch.Tensor, Callable[[], Planes]], Planes]


class Sample(NamedTuple):
    """An image uint8 [H, W, 3] and its mask bool [H, W]."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


class Source(Protocol):
    """Where samples come from: their names, and sample i at its original size."""

    names: list[str]

    def read(self, index: int) -> Sample:
        """Read sample `index` at its original size."""
        ...


def network_image(image: NDArray[np.uint8], size: int) -> torch.Tensor:
    """Make a tensor of `network_pixels`: uint8 [3, size, size]."""
    return torch.from_numpy(network_pixels(image, size))


def network_mask(mask: NDArray[np.bool_], size: int) -> torch.Tensor:
    """Resize a mask bool [H, W] to uint8 {0, 1} [1, size, size]: foreground where it covers half of the new pixel.

    An object so small that this would erase it keeps its best-covered pixels.
    """
    if mask.shape == (size, size):
        return torch.from_numpy(mask.astype(np.uint8))[None]
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    cover = np.asarray(grey.resize((size, size), Image.Resampling.BOX))
    small = cover >= 128
    if mask.any() and not small.any():
        small = cover == cover.max()
    return torch.from_numpy(small.astype(np.uint8))[None]


class CamoSet(torch.utils.data.Dataset[dict[str, Any]]):
    """Samples of one split at the network's size.

    `[i]` is {"image": float32 [3, S, S] in [0, 1], "mask": float32 [1, S, S] in {0, 1}, "index": i} with S = `size`.
    `original(i)` is the Sample at its original size. `title` names data set and split, `notes` holds one-line remarks
    for the user. `augment` gets and returns uint8 [3, S, S] and [1, S, S] (mask in {0, 1}); it draws from torch's
    global generator only, as does `recompose`, which comes first and also gets a function that returns image and mask
    of any sample. `order` is how training draws, None for every sample once an epoch. `parts` are the
    indices of each set where there are several. With `cache`, resized samples stay in memory up to `cache_bytes` in
    all, filled as they are first read or at once by `preload`; worker processes inherit what was filled before they
    were forked.
    """

    def __init__(
        self,
        source: Source,
        size: int,
        title: str,
        notes: list[str] | None = None,
        augment: Augment | None = None,
        cache: bool = True,
        cache_bytes: int = CACHE_BYTES,
        recompose: Recompose | None = None,
        order: Order | None = None,
        parts: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        if size < 1:
            raise UserError(f"size of the network's input must be a positive number of pixels, given {size}")
        self.source, self.size, self.title, self.augment = source, size, title, augment
        self.recompose, self.order, self.parts = recompose, order, dict(parts or {})
        self.notes = list(notes or [])
        self.names = source.names
        self._cache: SampleCache[torch.Tensor] = SampleCache(cache_bytes if cache else 0)

    def __len__(self) -> int:
        return len(self.names)

    def original(self, index: int) -> Sample:
        """The image uint8 [H, W, 3] and mask bool [H, W] at original size. Raises UserError naming a bad file."""
        return self.source.read(index)

    def _resize(self, index: int) -> torch.Tensor:
        """Read sample `index` as uint8 [4, S, S]: three colour planes and the mask in {0, 1}."""
        image, mask = self.source.read(index)
        return torch.cat([network_image(image, self.size), network_mask(mask, self.size)])

    def preload(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Fill the cache now; `progress(done, total)` is called after each sample."""
        count = min(len(self), self._cache.limit // (4 * self.size * self.size))
        for index in range(count):
            self._cache.get(index, self._resize)
            if progress is not None:
                progress(index + 1, count)

    def _draw(self) -> Planes:
        """Return image and mask of any sample."""
        planes = self._cache.get(int(torch.randint(len(self), ())), self._resize)
        return planes[:3], planes[3:]

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        planes = self._cache.get(index, self._resize)
        image, mask = planes[:3], planes[3:]
        if self.recompose is not None:
            image, mask = self.recompose(image, mask, self._draw)
        if self.augment is not None:
            image, mask = self.augment(image, mask)
        return {"image": image.float().div_(255), "mask": mask.float(), "index": index}
