"""What a training step sees of a data set: crops with opinions, ranked levels and ties.

Ranked levels are images whose order of quality is known; ties are images that must score alike.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iqa.config import SEQUENCE_IMAGES
from iqa.data.dataset import QualitySet, mirrored, random_crop
from iqa.data.distortions import DISTORTIONS
from iqa.data.edits import EDITS
from iqa.data.synthetic.labels import distort_in_levels
from polyscale.errors import UserError


class TrainingSet(torch.utils.data.Dataset[dict[str, Any]]):
    """The samples of a QualitySet with their images flipped and cropped to a square, by torch's global generator."""

    def __init__(self, base: QualitySet, crop: int | None, flip: bool) -> None:
        self.base, self.crop, self.flip = base, crop, flip
        self.low, self.high = base.low, base.high

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.base[index]
        image = sample["image"]
        if self.crop is not None:
            image = random_crop(image, self.crop)
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        return {**sample, "image": image}


class RankedLevels:
    """`count` ranked sequences: an image of the better third of `base` under one distortion at levels 0 to 5.

    They show the same square of side `side`, the top left one, and are kept once made (`distort_in_levels`). The
    distortion is drawn from `kinds`, in which one may stand several times; all alike if it is empty.

    Raises:
        UserError: a kind that does not exist.
    """

    def __init__(
        self, base: QualitySet, count: int, side: int, batch_size: int, seed: int, kinds: Sequence[str] = ()
    ) -> None:
        self.base, self.count, self.side, self.batch_size, self.seed = base, count, side, batch_size, seed
        self.kinds = tuple(kinds) or tuple(DISTORTIONS)
        for kind in set(self.kinds) - set(DISTORTIONS):
            raise UserError(f"data.ranked_kinds: {kind!r} is none of {', '.join(DISTORTIONS)}", exit_code=2)
        self.best = np.argsort(-np.asarray(base.scores), kind="stable")[: -(-len(base) // 3)]
        self._kept: dict[int, Tensor] = {}

    def batch(self, step: int, device: torch.device, micro_batch: int = 0, rank: int = 0) -> Tensor:
        """Return the sequences of one micro-batch of a step on one process.

        Which they are is a function of (seed, step, micro-batch, rank) alone.

        Returns:
            Images float32 [6 n, 3, side, side] with n = `batch_size`: first the n originals, last the n images of the
            worst level.
        """
        chosen = np.random.default_rng([self.seed, step, micro_batch, rank]).integers(self.count, size=self.batch_size)
        images = torch.stack([self._sequence(int(i)) for i in chosen], 1).flatten(0, 1)
        return images.to(device).float().div_(255)

    def _sequence(self, number: int) -> Tensor:
        """Return sequence `number`, uint8 [6, 3, side, side]."""
        if number not in self._kept:
            rng = np.random.default_rng([self.seed, number])
            image = self.base.image(int(rng.choice(self.best))).permute(1, 2, 0).contiguous()
            levels = np.stack(distort_in_levels(image.numpy(), rng, SEQUENCE_IMAGES, self.kinds))
            self._kept[number] = _square(torch.from_numpy(levels).permute(0, 3, 1, 2), self.side, 0, 0).clone()
        return self._kept[number]


class TiedViews:
    """Images of `base` next to themselves after an edit that no viewer sees (data.edits), as squares of side `side`.

    The squares show the same part of both. Every step has other images and edits; nothing is kept.
    """

    def __init__(self, base: QualitySet, side: int, batch_size: int, seed: int) -> None:
        self.base, self.side, self.batch_size, self.seed = base, side, batch_size, seed

    def batch(self, step: int, device: torch.device, micro_batch: int = 0, rank: int = 0) -> Tensor:
        """Return the pairs of one micro-batch of a step on one process, a function of (seed, step, micro-batch, rank).

        Returns:
            Images float32 [2 n, 3, side, side] with n = `batch_size`: first the n images as they are, then the same
            after their edits.
        """
        rng = np.random.default_rng([self.seed, step, micro_batch, rank, 1])
        pairs = [self._pair(rng) for _ in range(self.batch_size)]
        return torch.stack([pair[i] for i in (0, 1) for pair in pairs]).to(device).float().div_(255)

    def _pair(self, rng: np.random.Generator) -> list[Tensor]:
        image = self.base.image(int(rng.integers(len(self.base)))).permute(1, 2, 0).numpy()
        edit = str(rng.choice(list(EDITS)))
        down, right = rng.random(2)
        there = 1 - right if edit == "mirrored" else right
        views = (image, right), (EDITS[edit](image), there)
        return [_square(torch.from_numpy(v.copy()).permute(2, 0, 1), self.side, down, at) for v, at in views]


def _square(image: Tensor, side: int, down: float, right: float) -> Tensor:
    """Cut a square out of [..., 3, h, w] at shares of the way down and to the right; shorter sides are mirrored."""
    image = mirrored(image, side)
    top, left = (round(at * (n - side)) for at, n in zip((down, right), image.shape[-2:], strict=True))
    return image[..., top : top + side, left : left + side]
