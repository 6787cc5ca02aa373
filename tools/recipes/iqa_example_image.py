"""Draws docs/images/iqa.png: photographs untouched and distorted, each with its score by the shipped model.

    uv run --with scikit-image python tools/recipes/iqa_example_image.py

From scikit-image: chelsea (Stefan van der Walt, CC0) and coffee (Rachel Michetti, CC0).
"""

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from iqa.data.distortions import distort
from iqa.predict import Predictor
from polyscale.report.drawing import panel

FILE = Path(__file__).parents[2] / "docs/images/iqa.png"
SHOWN = (("untouched", 0), ("white_noise", 3), ("jpeg", 4), ("lens_blur", 4), ("darken", 4))


def main() -> None:
    """Score, draw and write."""
    predictor, rows = Predictor("nano", runtime="onnx"), []
    for photo in (data.chelsea(), data.coffee()):
        images, titles = [], []
        for kind, level in SHOWN:
            image = distort(photo, kind, level, np.random.default_rng(0)) if level else photo
            result = predictor(image)
            images.append(image)
            titles.append(f"{kind.replace('_', ' ')}: {result.score:.0f} ± {result.spread:.0f}")
        rows.append(panel(images, titles, height=170))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    drawn = Image.fromarray(np.concatenate(rows))
    drawn.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(FILE, optimize=True)


if __name__ == "__main__":
    main()
