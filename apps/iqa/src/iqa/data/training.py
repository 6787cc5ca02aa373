"""What a training step sees of a data set: the fixed first part of the network (`extract_features`) computed once a
image and kept, so that an epoch costs the trainable part alone; and the ordered chains beside the opinions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iqa.data.dataset import QualitySet, mirrored, random_crop
from iqa.data.synthetic.labels import ordered_chain

Look = Callable[[Tensor], tuple[Tensor, Tensor]]


class ViewSet(torch.utils.data.Dataset[dict[str, Any]]):
    """`[i]` is {"image": float32 [3, h, w], "statistics": float32 [K] of the whole image (K = 0 where the network
    takes none), "score": share of the range, "index": i}; h = w = `crop` where it is given.

    The crop and the mirroring draw from torch's global generator.
    """

    def __init__(self, base: QualitySet, look: Look, crop: int | None, flip: bool, cache: bool = True) -> None:
        self.base, self.look, self.crop, self.flip, self.cache = base, look, crop, flip, cache
        self.names, self.scores, self.subsets = base.names, base.scores, base.subsets
        self.low, self.high = base.low, base.high
        self._seen: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.base)

    def __getstate__(self) -> dict[str, Any]:
        """Without the cache: a copy in another process fills its own."""
        return {**self.__dict__, "_seen": {}}

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        image, statistics = self._view(index)
        if self.crop is not None:
            image = random_crop(image, self.crop)
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        score = (self.base.scores[index] - self.base.low) / (self.base.high - self.base.low)
        seen = {"image": image.float().div_(255), "statistics": statistics}
        return {**seen, "score": torch.tensor(score, dtype=torch.float32), "index": index}

    def _view(self, index: int) -> tuple[Tensor, Tensor]:
        if index in self._seen:
            return self._seen[index]
        image, statistics = view(self.look, self.base.picture(index)[None])
        if self.cache:
            self._seen[index] = image[0], statistics[0]
        return image[0], statistics[0]


class ChainSet:
    """`count` chains of the better third of `base`: an image under one distortion at levels 0 to 5 (ordered_chain),
    as squares of side `side` behind `look`.

    batch(step, device) is {"image": float32 [6 n, 3, side, side], "statistics": float32 [6 n, K]} with n =
    `batch_size`: first the n best, last the n worst. Which chains a step gets is a function of (seed, step,
    micro-batch, rank) alone; all are kept once made.
    """

    def __init__(self, base: QualitySet, look: Look, count: int, side: int, batch_size: int, seed: int) -> None:
        self.base, self.look, self.count, self.side = base, look, count, side
        self.batch_size, self.seed = batch_size, seed
        self.liked = np.argsort(-np.asarray(base.scores), kind="stable")[: -(-len(base) // 3)]
        self._made: dict[int, tuple[Tensor, Tensor]] = {}

    def batch(self, step: int, device: torch.device, micro_batch: int = 0, rank: int = 0) -> dict[str, Tensor]:
        """Return the sequences of one micro-batch of a step on one process."""
        chosen = np.random.default_rng([self.seed, step, micro_batch, rank]).integers(self.count, size=self.batch_size)
        made = [self._chain(int(i)) for i in chosen]
        images, statistics = (torch.stack(part, 1).flatten(0, 1).to(device) for part in zip(*made, strict=True))
        return {"image": images.float().div_(255), "statistics": statistics}

    def _chain(self, number: int) -> tuple[Tensor, Tensor]:
        if number not in self._made:
            rng = np.random.default_rng([self.seed, number])
            picture = self.base.picture(int(rng.choice(self.liked))).permute(1, 2, 0).contiguous()
            levels = torch.from_numpy(np.stack(ordered_chain(picture.numpy(), rng))).permute(0, 3, 1, 2)
            small, statistics = view(self.look, levels)
            self._made[number] = mirrored(small, self.side)[..., : self.side, : self.side], statistics
        return self._made[number]


@torch.no_grad()
def view(look: Look, images: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 [B, 3, H, W] -> (uint8 [B, 3, h, w], statistics [B, K])."""
    small, statistics = look(images.float().div(255))
    return small.mul(255).round_().to(torch.uint8), statistics
