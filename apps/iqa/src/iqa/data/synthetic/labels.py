"""The embedded default data set: drawn scenes under one distortion at a time, labelled by its level; no download.

Sample i of a split is a function of (seed, split, i, side) alone. A scene gives eight samples in a row: itself, and
seven of a random kind and level each. Labels are 90 for the untouched scene and 16 less for every level, on a range of
0 to 100: equal levels are about equally visible (distortions.LEVELS); kinds that stay milder lose less (REACH).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.data.distortions import DISTORTIONS, REACH, distort
from iqa.data.distortions.pixels import gaussian
from iqa.data.synthetic.scenes import scene
from polyscale.data.noise import Rng
from polyscale.errors import UserError

Bytes = NDArray[np.uint8]

SPLITS = {"train": 0, "val": 1, "test": 2}
KINDS = tuple(DISTORTIONS)
PER_SCENE = 8
PRISTINE, STEP = 90.0, 16.0  # labels of the untouched scene and of one level
SOFTNESS, GRAIN = (0.3, 0.9), (0.7, 4.0)  # of the original of ranked levels: sigma in pixels, deviation of 255


class SyntheticSource:
    """`count` samples of a split, `side` pixels a side, drawn anew whenever they are read.

    `names`, `scores` (0 to 100, higher is better), `subsets` (the kind of distortion, "pristine" for none) and
    `references` (the scene; splits never share one) are in sample order.
    """

    low, high = 0.0, 100.0

    def __init__(self, split: str, count: int, seed: int = 0, side: int = 256) -> None:
        if split not in SPLITS:
            raise UserError(f"the synthetic set has the splits {', '.join(SPLITS)}, not {split!r}", exit_code=2)
        if count < 1:
            raise UserError(f"the synthetic {split} split needs at least one image, given {count}")
        if side < 32:
            raise UserError(f"synthetic images need at least 32 pixels, given {side}")
        self.split, self.seed, self.side = split, seed, side
        plans = [self._plan(index)[:2] for index in range(count)]
        self.names = [f"synthetic_{split}_{index:05d}" for index in range(count)]
        self.scores = np.array([label(kind, level) for kind, level in plans])
        self.subsets = [kind for kind, _ in plans]
        self.references = [f"{split}_{index // PER_SCENE:05d}" for index in range(count)]

    def __len__(self) -> int:
        return len(self.names)

    def _plan(self, index: int) -> tuple[str, int, Rng]:
        """Kind, level (0 untouched) and the generator that the distortion continues with."""
        rng = np.random.default_rng([self.seed, SPLITS[self.split], 1, index])
        if index % PER_SCENE == 0:
            return "pristine", 0, rng
        return KINDS[rng.integers(len(KINDS))], int(rng.integers(1, 6)), rng

    def shape(self, index: int) -> tuple[int, int]:
        """Return (height, width) of every sample."""
        return self.side, self.side

    def read(self, index: int) -> Bytes:
        """Draw sample `index`, uint8 [side, side, 3]."""
        rng = np.random.default_rng([self.seed, SPLITS[self.split], 0, index // PER_SCENE])
        image = scene(rng, self.side, self.side)
        kind, level, rng = self._plan(index)
        return distort(image, kind, level, rng) if level else image


def label(kind: str, level: int) -> float:
    """The score of a scene under a kind at a level; level 0 is the untouched scene."""
    if level == 0:
        return PRISTINE
    return PRISTINE - STEP * (1 + (level - 1) / 4 * (REACH.get(kind, 5.0) - 1))


def distort_in_levels(image: Bytes, rng: Rng, count: int = 6, kinds: Sequence[str] = KINDS) -> list[Bytes]:
    """Distort an image uint8 [H, W, 3] by one of `kinds` at levels 0 to `count` - 1, all of one size: the best first.

    It is first shrunk to a random size, which takes away the traces of its own compression, and half of the images
    get a little softness, half a little grain: a distortion seldom meets a perfect photograph. A third is shrunk
    once more behind the distortion, as a viewer would see it. All levels share their random draws.
    """
    image = _shrunk(image, rng.uniform(0.4, 0.9))
    kind = kinds[int(rng.integers(len(kinds)))]
    softness, grain = rng.uniform(*SOFTNESS), rng.uniform(*GRAIN)
    image = gaussian(image, softness) if rng.random() < 0.5 else image
    image = DISTORTIONS["white_noise"](image, grain, rng) if rng.random() < 0.5 else image
    after = rng.uniform(0.6, 1.0) if rng.random() < 1 / 3 else 1.0
    draws = int(rng.integers(2**63))
    levels = [image, *(distort(image, kind, level, np.random.default_rng(draws)) for level in range(1, count))]
    return [_shrunk(level, after) for level in levels]


def _shrunk(image: Bytes, factor: float) -> Bytes:
    """Bicubic, anti-aliased, as `network_image` does it; no side below 32 pixels."""
    height, width = (max(round(n * factor), min(n, 32)) for n in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
