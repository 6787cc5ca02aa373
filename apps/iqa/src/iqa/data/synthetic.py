"""The embedded default data set: drawn scenes under one distortion at a time, labelled by its level; no download.

Sample i of a split is a function of (seed, split, i, side) alone. A scene gives eight samples in a row: itself, and
seven of a random kind and level each. Labels are 90 for the untouched scene and 16 less for every level, on a range of
0 to 100: equal levels are about equally visible (distortions.LEVELS); kinds that stay milder lose less (REACH).
"""

import numpy as np
from numpy.typing import NDArray

from polyscale.errors import UserError

from .distortions import DISTORTIONS, REACH, distort
from .scenes import scene

Bytes = NDArray[np.uint8]
Rng = np.random.Generator

SPLITS = {"train": 0, "val": 1, "test": 2}
KINDS = tuple(DISTORTIONS)
PER_SCENE = 8
PRISTINE, STEP = 90.0, 16.0  # labels of the untouched scene and of one level
# A photo may gain from a little of these: it was dark, pale, soft or noisy. Only differences past level 2 are sure.
MAY_HELP = frozenset(
    ("brighten", "darken", "mean_shift", "contrast_change", "desaturate", "oversaturate", "oversharpen",
     "denoise_artefact", "sensor_noise", "exposure_clip")
)  # fmt: skip


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
            raise UserError(f"the synthetic {split} split needs at least one picture, given {count}")
        if side < 32:
            raise UserError(f"synthetic pictures need at least 32 pixels, given {side}")
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

    def read(self, index: int) -> Bytes:
        """Sample `index`, uint8 [side, side, 3]."""
        rng = np.random.default_rng([self.seed, SPLITS[self.split], 0, index // PER_SCENE])
        image = scene(rng, self.side, self.side)
        kind, level, rng = self._plan(index)
        return distort(image, kind, level, rng) if level else image


def label(kind: str, level: int) -> float:
    """The score of a scene under a kind at a level; level 0 is the untouched scene."""
    if level == 0:
        return PRISTINE
    return PRISTINE - STEP * (1 + (level - 1) / 4 * (REACH.get(kind, 5.0) - 1))


def ordered_pair(image: Bytes, rng: Rng, side: int) -> Bytes:
    """A crop of a picture under one kind at two levels, the better first: uint8 [2, side, side, 3].

    The picture is uint8 [H, W, 3]; a side shorter than `side` is mirrored, never enlarged. Both levels share their
    random draws. The better level may be 0, the picture as it is, except for kinds that can improve a photo
    (MAY_HELP): there the worse level is at least 3 and two levels away.
    """
    height, width = image.shape[:2]
    missing = [(0, max(side - n, 0)) for n in (height, width)]
    if any(after for _, after in missing):
        image = np.pad(image, [*missing, (0, 0)], "symmetric")
        height, width = image.shape[:2]
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    crop = np.ascontiguousarray(image[top : top + side, left : left + side])
    kind = KINDS[rng.integers(len(KINDS))]
    gap, lowest = (2, 3) if kind in MAY_HELP else (1, 1)
    worse = int(rng.integers(lowest, 6))
    better = int(rng.integers(0, worse - gap + 1))
    draws = int(rng.integers(2**63))
    return np.stack(
        [distort(crop, kind, level, np.random.default_rng(draws)) if level else crop for level in (better, worse)]
    )
