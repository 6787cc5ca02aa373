"""Scoring by crops, as most of the field does it: kept to compare one whole-image pass with.

What differs from the field's usual code: the grid reaches every border (pyiqa's misses a seventh of a 1024 x 768
image on the right and below), and random places depend on the image's index alone, never on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from polyscale.errors import UserError

CropKind = Literal["whole", "random", "grid", "centre"]


@dataclass(frozen=True)
class Crops:
    """The parts of an image that are scored; its score is their mean.

    Attributes:
        kind: whole (no crops), random (`count` places by `seed`), grid (`count` = rows * columns, evenly spaced from
            border to border) or centre (one).
        count: of random or grid crops.
        side: of a crop in pixels at the network's size; a shorter image is taken whole in that direction.
        seed: of random places.

    Raises:
        UserError: an unknown kind, or a count that gives no grid.
    """

    kind: CropKind = "whole"
    count: int = 20
    side: int = 224
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(CropKind):
            choices = ", ".join(get_args(CropKind))
            raise UserError(f"crops: {self.kind!r} is none of {choices}", exit_code=2)
        if self.count < 1 or self.side < 1:
            raise UserError(f"crops: {self.count} of {self.side} pixels; at least 1 of each is needed", exit_code=2)
        if self.kind == "grid" and not _factors(self.count):
            wrong = f"crops: {self.count} make no grid of two rows and columns or more; use 4, 6, 8, 9, 10, 12, ..."
            raise UserError(wrong, exit_code=2)

    def cut(self, image: Tensor, index: int) -> Tensor:
        """Cut image [3, h, w] number `index` of its data set: [n, 3, min(side, h), min(side, w)].

        n is 1 for whole (all of the image) and centre, else `count`.
        """
        if self.kind == "whole":
            return image[None]
        height, width = image.shape[-2:]
        tall, wide = min(self.side, height), min(self.side, width)
        starts = self._starts(height - tall, width - wide, index)
        return torch.stack([image[:, top : top + tall, left : left + wide] for top, left in starts])

    def _starts(self, down: int, across: int, index: int) -> list[tuple[int, int]]:
        """(top, left) of each crop, within [0, down] and [0, across]."""
        if self.kind == "centre":
            return [(down // 2, across // 2)]
        if self.kind == "random":
            rng = np.random.default_rng([self.seed, index])
            return [(int(rng.integers(down + 1)), int(rng.integers(across + 1))) for _ in range(self.count)]
        rows, columns = min(_factors(self.count), key=lambda grid: abs(_step(down, grid[0]) - _step(across, grid[1])))
        tops, lefts = (np.rint(np.linspace(0, room, n)) for room, n in ((down, rows), (across, columns)))
        return [(int(top), int(left)) for top in tops for left in lefts]


WHOLE = Crops()


def _factors(count: int) -> list[tuple[int, int]]:
    return [(rows, count // rows) for rows in range(2, count // 2 + 1) if count % rows == 0]


def _step(room: int, crops: int) -> float:
    return room / (crops - 1)
