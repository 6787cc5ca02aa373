"""Draws docs/images/iqa.png: a generated scene untouched and distorted, with its score by `iqa predict`."""

from pathlib import Path

import numpy as np
from PIL import Image

from iqa.data.distortions import distort
from iqa.data.synthetic.scenes import scene
from iqa.predict import Predictor
from polyscale.report.drawing import panel

FILE = Path(__file__).parents[2] / "docs/images/iqa.png"
SCENE, SIDE = [9, 7], 384
SHOWN = (("untouched", 0), ("white_noise", 2), ("jpeg", 4), ("depth_defocus", 4), ("lens_blur", 4))


def main() -> None:
    """Score, draw and write."""
    predictor, untouched = Predictor(), scene(np.random.default_rng(SCENE), SIDE, SIDE)
    images, titles = [], []
    for kind, level in SHOWN:
        image = distort(untouched, kind, level, np.random.default_rng(0)) if level else untouched
        result = predictor(image)
        images.append(image)
        titles.append(f"{kind.replace('_', ' ')}: {result.score:.0f} ± {result.spread:.0f}")
    Image.fromarray(panel(images, titles, height=256)).quantize(256, dither=Image.Dither.NONE).save(FILE, optimize=True)


if __name__ == "__main__":
    main()
