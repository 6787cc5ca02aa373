"""What a training step sees of a data set.

The part of the network without parameters (`extract_features`) is computed once per image and kept, so that an epoch
costs the trainable part alone. Ranked levels are images whose order of quality is known, next to those with a MOS.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqa.config import SEQUENCE_IMAGES
from iqa.data.dataset import QualitySet, mirrored, random_crop
from iqa.data.edits import EDITS
from iqa.data.synthetic.labels import distort_in_levels

FeatureExtractor = Callable[[Tensor], tuple[Tensor, Tensor]]


class FeatureSet(torch.utils.data.Dataset[dict[str, Any]]):
    """The images of a QualitySet as the trainable part of the network takes them.

    `[i]` is {"image": float32 [3, h, w], "statistics": float32 [K] of the whole image (K = 0 where the network takes
    none), "score": share of the range, "index": i}; h = w = `crop` where there is one. Crop and flip draw from torch's
    global generator.
    """

    def __init__(
        self, base: QualitySet, extractor: FeatureExtractor, crop: int | None, flip: bool, cache: bool = True
    ) -> None:
        self.base, self.extractor, self.crop, self.flip, self.cache = base, extractor, crop, flip, cache
        self.names, self.scores, self.subsets = base.names, base.scores, base.subsets
        self.low, self.high = base.low, base.high
        self._cached: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.base)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the cache: a copy in another process fills its own."""
        return {**self.__dict__, "_cached": {}}

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        image, statistics = self._features(index)
        if self.crop is not None:
            image = random_crop(image, self.crop)
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        score = (self.base.scores[index] - self.base.low) / (self.base.high - self.base.low)
        sample = {"image": image.float().div_(255), "statistics": statistics}
        return {**sample, "score": torch.tensor(score, dtype=torch.float32), "index": index}

    def _features(self, index: int) -> tuple[Tensor, Tensor]:
        if index in self._cached:
            return self._cached[index]
        image, statistics = compute_features(self.extractor, self.base.image(index)[None])
        if self.cache:
            self._cached[index] = image[0], statistics[0]
        return image[0], statistics[0]


class RankedLevels:
    """`count` ranked sequences: an image of the better third of `base` under one distortion at levels 0 to 5.

    They are squares of side `side` behind `extractor`, and are kept once made (`distort_in_levels`).
    """

    def __init__(
        self, base: QualitySet, extractor: FeatureExtractor, count: int, side: int, batch_size: int, seed: int
    ) -> None:
        self.base, self.extractor, self.count, self.side = base, extractor, count, side
        self.batch_size, self.seed = batch_size, seed
        self.best = np.argsort(-np.asarray(base.scores), kind="stable")[: -(-len(base) // 3)]
        self._cached: dict[int, tuple[Tensor, Tensor]] = {}

    def batch(self, step: int, device: torch.device, micro_batch: int = 0, rank: int = 0) -> dict[str, Tensor]:
        """Return the sequences of one micro-batch of a step on one process.

        Which they are is a function of (seed, step, micro-batch, rank) alone.

        Returns:
            {"image": float32 [6 n, 3, side, side], "statistics": float32 [6 n, K]} with n = `batch_size`: first the n
            originals, last the n images of the worst level.
        """
        chosen = np.random.default_rng([self.seed, step, micro_batch, rank]).integers(self.count, size=self.batch_size)
        made = [self._sequence(int(i)) for i in chosen]
        images, statistics = (torch.stack(part, 1).flatten(0, 1).to(device) for part in zip(*made, strict=True))
        return {"image": images.float().div_(255), "statistics": statistics}

    def _sequence(self, number: int) -> tuple[Tensor, Tensor]:
        if number not in self._cached:
            rng = np.random.default_rng([self.seed, number])
            image = self.base.image(int(rng.choice(self.best))).permute(1, 2, 0).contiguous()
            levels = np.stack(distort_in_levels(image.numpy(), rng, SEQUENCE_IMAGES))
            small, statistics = compute_features(self.extractor, torch.from_numpy(levels).permute(0, 3, 1, 2))
            self._cached[number] = mirrored(small, self.side)[..., : self.side, : self.side], statistics
        return self._cached[number]


class TiedViews:
    """Images of `base` next to themselves after an edit that no viewer sees (data.edits), as squares of side `side`.

    The squares show the same part of both. Every step has other images and edits; nothing is kept.
    """

    def __init__(self, base: QualitySet, extractor: FeatureExtractor, side: int, batch_size: int, seed: int) -> None:
        self.base, self.extractor, self.side, self.batch_size, self.seed = base, extractor, side, batch_size, seed

    def batch(self, step: int, device: torch.device, micro_batch: int = 0, rank: int = 0) -> dict[str, Tensor]:
        """Return the pairs of one micro-batch of a step on one process, a function of (seed, step, micro-batch, rank).

        Returns:
            {"image": float32 [2 n, 3, side, side], "statistics": float32 [2 n, K]} with n = `batch_size`: first the n
            images as they are, then the same after their edits.
        """
        rng = np.random.default_rng([self.seed, step, micro_batch, rank, 1])
        pairs = [self._pair(rng) for _ in range(self.batch_size)]
        views = [pair[i] for i in (0, 1) for pair in pairs]
        images, statistics = (torch.stack(part).to(device) for part in zip(*views, strict=True))
        return {"image": images.float().div_(255), "statistics": statistics}

    def _pair(self, rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
        image = self.base.image(int(rng.integers(len(self.base)))).permute(1, 2, 0).numpy()
        edit = str(rng.choice(list(EDITS)))
        down, right = rng.random(2)
        there = 1 - right if edit == "mirrored" else right
        return [self._view(image, down, right), self._view(EDITS[edit](image), down, there)]

    def _view(self, image: NDArray[np.uint8], down: float, right: float) -> tuple[Tensor, Tensor]:
        small, statistics = compute_features(self.extractor, torch.from_numpy(image.copy()).permute(2, 0, 1)[None])
        small = mirrored(small[0], self.side)
        top, left = (round(at * (n - self.side)) for at, n in zip((down, right), small.shape[-2:], strict=True))
        return small[..., top : top + self.side, left : left + self.side], statistics[0]


@torch.no_grad()
def compute_features(extractor: FeatureExtractor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Apply `extractor` to uint8 [B, 3, H, W]: (uint8 [B, 3, h, w], statistics [B, K])."""
    small, statistics = extractor(images.float().div(255))
    return small.mul(255).round_().to(torch.uint8), statistics
