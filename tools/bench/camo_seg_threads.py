"""How far camo-seg's probabilities and masks move between one thread and two, and between float32 and bfloat16.

python tools/bench/camo_seg_threads.py FOLDER [MODEL]; the largest change of a probability and the mask pixels that flip
over all images of FOLDER. With a processor that has no bf16 it is emulated, by sums in an order of their own.
"""

import sys
from dataclasses import dataclass

import numpy as np
import torch

from camo_seg.predict import Prediction, Predictor
from polyscale.commands import table
from polyscale.data.listing import walk_images


@dataclass
class Change:
    """What differs between two predictions of the same images."""

    largest: float = 0.0
    flipped: int = 0
    pixels: int = 0

    def add(self, one: Prediction, other: Prediction) -> None:
        """Count an image."""
        self.largest = max(self.largest, float(np.abs(one.probability - other.probability).max()))
        self.flipped += int((one.mask != other.mask).sum())
        self.pixels += one.mask.size


def main(folder: str, model: str = "nano") -> None:
    """Print a row for each comparison."""
    files = walk_images(folder, recursive=True).files
    predictors = {name: Predictor(model, device="cpu", precision=name) for name in ("fp32", "bf16")}
    changes = {
        name: Change() for name in ("fp32, 1 against 2 threads", "bf16, 1 against 2 threads", "fp32 against bf16")
    }
    for file in files:
        found: list[Prediction] = []
        for predictor in predictors.values():
            for threads in (1, 2):
                torch.set_num_threads(threads)
                found.append(predictor(file))
        for change, (a, b) in zip(changes.values(), ((0, 1), (2, 3), (0, 2)), strict=True):
            change.add(found[a], found[b])
    rows = [
        {"": name, "largest change": change.largest, "mask pixels": change.flipped, "of": change.pixels}
        for name, change in changes.items()
    ]
    table(rows, title=f"{model}, {len(files)} images", digits=7)


if __name__ == "__main__":
    main(*sys.argv[1:])
