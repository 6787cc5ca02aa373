"""Does a quality map point at what is spoilt? `python tools/bench/iqa_map.py nano PHOTOS [--level 4] [--kinds KIND]`.

The left or the right half of every pristine photo of a folder (the Kodak suite, say) is distorted. What is compared is
how much the map changed: of each kind, the share of photos where the distorted half lost more than the other, and the
share where its part of the map is also the lower one, for which the untouched photo's own relief has to be overcome.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.data import network_image
from iqa.data.distortions import DISTORTIONS, distort
from iqa.predict import Predictor
from polyscale.data.images import read_image
from polyscale.data.listing import list_images

KINDS = ("white_noise", "gaussian_blur", "lens_blur", "jpeg", "jpeg2000", "pixelate")


def main() -> None:
    """Distorts, maps and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a shipped name, a folder or a hub id")
    parser.add_argument("photos", type=Path, help="folder of pristine images")
    parser.add_argument("--level", type=int, choices=range(1, 6), default=4)
    parser.add_argument("--kinds", nargs="+", choices=list(DISTORTIONS), default=list(KINDS), metavar="KIND")
    options = parser.parse_args()
    predictor = Predictor(options.model)
    files = list_images(options.photos)
    found = np.array([_found(predictor, file, options.kinds, options.level, i) for i, file in enumerate(files)])
    lines = [f"{len(files)} photos, level {options.level}", "", "| kind | lost more | lower |", "|---|---|---|"]
    for kind, (more, lower) in zip([*options.kinds, "all"], [*found.mean(0), found.mean((0, 1))], strict=True):
        lines.append(f"| {kind} | {more:.0%} | {lower:.0%} |")
    sys.stdout.write("\n".join(lines) + "\n")


def _found(predictor: Predictor, file: Path, kinds: list[str], level: int, index: int) -> list[tuple[bool, bool]]:
    """For each kind whether the distorted half lost more than the other, and whether it is the lower one."""
    photo = network_image(read_image(file), predictor.size).numpy().transpose(1, 2, 0).copy()
    middle, left = photo.shape[1] // 2, index % 2 == 0
    spoilt, other = (np.s_[:, :middle], np.s_[:, middle:]) if left else (np.s_[:, middle:], np.s_[:, :middle])
    before = predictor.map(photo)
    results = []
    for kind in kinds:
        image: NDArray[np.uint8] = photo.copy()
        image[spoilt] = distort(photo, kind, level, np.random.default_rng(index))[spoilt]
        after = predictor.map(image)
        loss = before - after
        results.append((loss[spoilt].mean() > loss[other].mean(), after[spoilt].mean() < after[other].mean()))
    return results


if __name__ == "__main__":
    main()
