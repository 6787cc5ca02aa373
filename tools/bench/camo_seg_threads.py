"""How far camo-seg's probabilities and masks move between one thread and two, in float32 and in bfloat16.

python tools/bench/camo_seg_threads.py FOLDER [MODEL]; the largest change of a probability and the mask pixels that flip
over all images of FOLDER. With a processor that has no bf16, bf16 is emulated: the rounding is the same, the order of
sums is not.
"""

import sys

import numpy as np
import torch

from camo_seg.predict import Prediction, Predictor
from polyscale.commands import table
from polyscale.data.listing import walk_images
from polyscale.inference.precision import cpu_has_bf16


def main(folder: str, model: str = "nano") -> None:
    """Print a row for each precision."""
    rows = []
    files = walk_images(folder, recursive=True).files
    for precision in ("fp32", "bf16"):
        predictor = Predictor(model, device="cpu", precision=precision)
        largest, flipped, pixels = 0.0, 0, 0
        for file in files:
            results: list[Prediction] = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                results.append(predictor(file))
            one, two = results
            largest = max(largest, float(np.abs(one.probability - two.probability).max()))
            flipped, pixels = flipped + int((one.mask != two.mask).sum()), pixels + one.mask.size
        rows.append({"precision": precision, "largest change": largest, "mask pixels": flipped, "of": pixels})
    native = "in the processor" if cpu_has_bf16() else "emulated"
    table(rows, title=f"{model}, {len(files)} images, 1 against 2 threads; bf16 {native}", digits=7)


if __name__ == "__main__":
    main(*sys.argv[1:])
