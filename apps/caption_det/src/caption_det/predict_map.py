"""Where the words of a caption looked: small maps over the image, the word below each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from polyscale.data.images import resize_map
from polyscale.report.drawing import colour_bar, heatmap, panel

SIDE, MIN_SIDE = 240, 48  # pixels that the longer side of each map is shown at, and the shorter at least
COLUMNS, GAP, TYPE = 6, 10, 18


class WordMap(NamedTuple):
    """A word of a caption, and where the model looked to write it.

    Attributes:
        word: without punctuation.
        places: float32 [h, w], the share of its attention that each part of the image got; the sum is 1.
    """

    word: str
    places: NDArray[np.float32]


def draw_words(image: NDArray[np.uint8], maps: Sequence[WordMap]) -> NDArray[np.uint8]:
    """Draw an image and the map of each word laid over it; one scale of colours holds for all words.

    Args:
        image: uint8 [H, W, 3].
        maps: of the words, in their order.

    Returns:
        uint8 [h, w, 3].
    """
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(MIN_SIDE, round(width * scale)), max(MIN_SIDE, round(height * scale)))
    small = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    grey, most = small.convert("L").convert("RGB"), max((float(one.places.max()) for one in maps), default=0.0)
    tiles = [_titled(np.asarray(small), "")]
    for word, places in maps:
        heat = heatmap(resize_map(places, (size[1], size[0])), low=0.0, high=most)
        tiles.append(_titled(np.asarray(Image.blend(grey, Image.fromarray(heat), 0.6)), word))
    drawn = panel(tiles, height=tiles[0].shape[0], gap=GAP, columns=COLUMNS)
    bar = colour_bar("not looked at", "most", min(drawn.shape[1], 400) - 2 * GAP)
    return np.concatenate([drawn, np.pad(bar, ((0, GAP), (GAP, drawn.shape[1] - bar.shape[1] - GAP), (0, 0)),
                                         constant_values=255)])  # fmt: skip


def _titled(image: NDArray[np.uint8], word: str) -> NDArray[np.uint8]:
    """Put a word below an image."""
    canvas = Image.new("RGB", (image.shape[1], image.shape[0] + round(1.5 * TYPE)), "white")
    canvas.paste(Image.fromarray(image))
    place = (image.shape[1] / 2, image.shape[0] + 0.75 * TYPE)
    ImageDraw.Draw(canvas).text(place, word, fill="black", font=ImageFont.load_default(TYPE), anchor="mm")
    return np.array(canvas)
