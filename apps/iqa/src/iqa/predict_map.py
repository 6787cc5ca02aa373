"""Where in an image the quality is lost: the map of local scores drawn next to the image."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from polyscale.data.images import replace_file, resize_map
from polyscale.report.drawing import colour_bar, heatmap, panel

if TYPE_CHECKING:
    from iqa.predict import ScoreRange

SIDE, MIN_SIDE = 640, 120  # pixels that the longer side of the image is shown at, and the shorter at least
MAX_SIDE = 4 * SIDE  # of the longer side of a very long image
TILE, STEP, TILES = 128, 64, 16  # pixels a side of what is scored alone, pixels between two, how many at once
GAP = 10  # pixels of white around what is drawn


def map_quality(
    infer: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    pixels: NDArray[np.uint8],
    tile: int = TILE,
    step: int = STEP,
) -> NDArray[np.float32]:
    """Score overlapping tiles of an image, one every `step` pixels.

    Args:
        infer: maps uint8 [B, 3, h, w] to rows that begin with the score [B, ...].
        pixels: uint8 [3, H, W].
        tile: pixels a side of a tile; shorter sides are taken whole.
        step: pixels between two, at most.

    Returns:
        float32 [rows, columns] in the units of the score.
    """
    height, width = pixels.shape[1:]
    tile_h, tile_w = min(tile, height), min(tile, width)
    tops, lefts = _starts(height, tile_h, step), _starts(width, tile_w, step)
    tiles = [pixels[:, top : top + tile_h, left : left + tile_w] for top in tops for left in lefts]
    scores = [infer(np.stack(tiles[i : i + TILES]))[:, 0] for i in range(0, len(tiles), TILES)]
    return np.concatenate(scores).reshape(len(tops), len(lefts))


def _starts(length: int, tile: int, step: int) -> list[int]:
    """Starts of tiles that reach both borders, about `step` apart."""
    count = -(-(length - tile) // step) + 1
    return [round(i * (length - tile) / max(count - 1, 1)) for i in range(count)]


def draw_quality(image: NDArray[np.uint8], quality: NDArray[np.float32], score_range: ScoreRange) -> NDArray[np.uint8]:
    """Draw an image next to its map laid over it (above it for a wide image), dark where the quality is worst.

    Args:
        image: uint8 [H, W, 3].
        quality: float32 [h, w] in the units of the score.
        score_range: of the model; the colours span it whole, so that maps of different images compare.

    Returns:
        uint8 [h', w', 3], below it a line that says what is shown, and the colours of the scores.
    """
    height, width = image.shape[:2]
    scale = min(max(SIDE / max(height, width), MIN_SIDE / min(height, width)), MAX_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    heat = Image.fromarray(heatmap(resize_map(quality, (size[1], size[0])), low=score_range.low, high=score_range.high))
    drawn = Image.blend(small.convert("L").convert("RGB"), heat, 0.6)
    both = panel([np.array(small), np.array(drawn)], height=size[1], gap=GAP, columns=1 if width > 2 * height else 2)
    wide, digits = both.shape[1] - 2 * GAP, score_range.decimals
    bar = colour_bar(f"{score_range.low:g} worst", f"best {score_range.high:g}", wide)
    said = f"Tiles of {TILE} px, each scored alone: {quality.min():.{digits}f} to {quality.max():.{digits}f}."
    legend = np.concatenate([_text(said, wide), bar])
    return np.concatenate([both, np.pad(legend, ((0, GAP), (GAP, GAP), (0, 0)), constant_values=255)])


def _text(words: str, width: int, size: int = 16) -> NDArray[np.uint8]:
    """Write words in black on white, uint8 [h, width, 3], in as many lines as they need."""
    font, lines = ImageFont.load_default(size), [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    canvas = Image.new("RGB", (width, round(1.4 * size * len(lines))), "white")
    ImageDraw.Draw(canvas).multiline_text((0, 0), "\n".join(lines), fill="black", font=font)
    return np.array(canvas)


def save_jpeg(path: Path, image: NDArray[np.uint8]) -> Path:
    """Write uint8 [H, W, 3] whole or not at all. Raises UserError where it cannot be written."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92)
    return replace_file(path, buffer.getvalue())
