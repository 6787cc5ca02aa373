"""Draws docs/images/camo-seg.png: the shipped model on photographs under free licences, as they come with scikit-image.

    uv run --with scikit-image python tools/recipes/camo_seg_images.py

chelsea: Stefan van der Walt, CC0. astronaut: NASA, public domain. coffee: Rachel Michetti, CC0. rocket: SpaceX, CC0.
"""

from pathlib import Path

import numpy as np
from skimage import data

from camo_seg import Predictor
from camo_seg.outputs import Cutout
from polyscale.data.images import save_png
from polyscale.report import overlay
from polyscale.report.drawing import panel

ROOT = Path(__file__).parents[2]
PHOTOGRAPHS = ("chelsea", "astronaut", "coffee", "rocket")


def main() -> None:
    """Draw image, map, overlay and cutout of each photograph."""
    predictor = Predictor("nano", "cpu", "fp32")
    rows = []
    for number, name in enumerate(PHOTOGRAPHS):
        found = predictor(getattr(data, name)())
        white = Cutout((255, 255, 255)).draw(found.image, found.probability, found.threshold)
        images = [found.image, found.probability, overlay(found.image, found.probability), white]
        titles = ["photograph", "map", "overlay", "cutout"]
        rows.append(panel(images, titles if number == 0 else (), height=180))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    save_png(ROOT / "docs/images/camo-seg.png", np.concatenate(rows))


if __name__ == "__main__":
    main()
