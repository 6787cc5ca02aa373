"""What is known of an image: captions, boxes, or both."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Record:
    """The labels of one image.

    Attributes:
        name: unique in its data set.
        captions: all of them; () where none are known.
        boxes: float64 [T, 4], (x1, y1, x2, y2) in pixels of the image; None where boxes are not known, which is
            different from an image without objects.
        labels: int64 [T], numbers of the categories.
        crowd: bool [T], regions of many objects, which are not learnt and where a box counts neither way.
    """

    name: str
    captions: tuple[str, ...] = ()
    boxes: NDArray[np.float64] | None = None
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    crowd: NDArray[np.bool_] | None = None


class Source(Protocol):
    """Images with records."""

    @property
    def title(self) -> str:
        """Name of the data set."""
        ...

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the classes of the boxes."""
        ...

    @property
    def names(self) -> list[str]:
        """Of the images."""
        ...

    def __len__(self) -> int: ...

    def record(self, index: int) -> Record:
        """Return the labels of an image without reading its pixels, where that is possible."""
        ...

    def image_size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of an image."""
        ...

    def read(self, index: int) -> tuple[NDArray[np.uint8], Record]:
        """Return image uint8 [H, W, 3] and labels."""
        ...
