"""Draws docs/images/caption-det.png: what the shipped models say of drawn scenes and of photographs.

    uv run --with scikit-image python tools/recipes/caption_image.py

Above, nano on scenes of the embedded test set; below, photo on photographs under free licences, as
they come with scikit-image. astronaut: NASA, public domain. chelsea: Stefan van der Walt, CC0. coffee: Rachel Michetti,
CC0. rocket: SpaceX, CC0. They are of another kind than Flickr8k's, which it has learnt.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from caption_det import Prediction, Predictor
from caption_det.data.synthetic import World
from polyscale.data.images import save_png
from polyscale.report.drawing import draw_boxes

ROOT = Path(__file__).parents[2]
SCENES = (0, 1, 5, 8)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
WIDTH, HEIGHT, GAP, TYPE, LINES = 330, 240, 12, 17, 3
SCENE = 320  # pixels a side that scenes are drawn at


def main() -> None:
    """Draw a row of scenes and a row of photographs."""
    world, nano, photo = World("test", 48, side=SCENE), Predictor("nano", "cpu"), Predictor("photo", "cpu")
    scenes = [draw(nano(np.asarray(world.draw(i)[0]))) for i in SCENES]
    photographs = [draw(photo(getattr(data, name)())) for name in PHOTOGRAPHS]
    save_png(ROOT / "docs/images/caption-det.png", np.concatenate([np.concatenate(scenes, 1),
                                                                   np.concatenate(photographs, 1)]))  # fmt: skip


def draw(found: Prediction) -> NDArray[np.uint8]:
    """Put an image with its boxes above its caption."""
    scale = min(WIDTH / found.image.shape[1], HEIGHT / found.image.shape[0])
    size = (round(found.image.shape[1] * scale), round(found.image.shape[0] * scale))
    small = np.asarray(Image.fromarray(found.image).resize(size, Image.Resampling.LANCZOS))
    drawn = draw_boxes(small, found.boxes * scale, list(found.labels), found.scores.tolist())
    canvas = Image.new("RGB", (WIDTH + 2 * GAP, HEIGHT + round((LINES * 1.35) * TYPE) + 2 * GAP), "white")
    canvas.paste(Image.fromarray(drawn), ((canvas.width - size[0]) // 2, GAP + (HEIGHT - size[1]) // 2))
    font, lines = ImageFont.load_default(TYPE), [""]
    for word in (found.caption or "").split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= WIDTH else [*lines, word]
    place = (canvas.width / 2, HEIGHT + 1.5 * GAP)
    ImageDraw.Draw(canvas).multiline_text(place, "\n".join(lines), fill="black", font=font, anchor="ma", align="center")
    return np.array(canvas)


if __name__ == "__main__":
    main()
