"""Where in an image the quality is lost: the map of local scores drawn next to the image."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscale.data.images import replace_file, resize_map
from polyscale.report.drawing import colour_bar, heatmap, panel

if TYPE_CHECKING:
    from iqa.predict import ScoreRange

SIDE, MIN_SIDE = 640, 120  # pixels that the longer side of the image is shown at, and the shorter at least
MAX_SIDE = 4 * SIDE  # of the longer side of a very long image
GAP = 10  # pixels of white around what is drawn
MIN_SPAN = 0.2  # share of the range that the colours span at least, so that an even image looks even


def draw_quality(image: NDArray[np.uint8], quality: NDArray[np.float32], score_range: ScoreRange) -> NDArray[np.uint8]:
    """Draw an image next to its map laid over it (above it for a wide image), dark where the quality is worst.

    Args:
        image: uint8 [H, W, 3].
        quality: float32 [h, w] in the units of the score.
        score_range: of the model; the colours span the map's own extremes, and at least a fifth of this range.

    Returns:
        uint8 [h', w', 3] with a legend below.
    """
    middle = (float(quality.max()) + float(quality.min())) / 2
    half = max(MIN_SPAN * (score_range[1] - score_range[0]), float(np.ptp(quality))) / 2
    low, high = max(middle - half, score_range[0]), min(middle + half, score_range[1])
    height, width = image.shape[:2]
    scale = min(max(SIDE / max(height, width), MIN_SIDE / min(height, width)), MAX_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    heat = Image.fromarray(heatmap(resize_map(quality, (size[1], size[0])), low=low, high=high))
    drawn = Image.blend(small.convert("L").convert("RGB"), heat, 0.6)
    both = panel([np.array(small), np.array(drawn)], height=size[1], gap=GAP, columns=1 if width > 2 * height else 2)
    digits = score_range.decimals
    bar = colour_bar(f"{low:.{digits}f} worse", f"better {high:.{digits}f}", both.shape[1] - 2 * GAP)
    return np.concatenate([both, np.pad(bar, ((0, GAP), (GAP, GAP), (0, 0)), constant_values=255)])


def save_jpeg(path: Path, image: NDArray[np.uint8]) -> Path:
    """Write uint8 [H, W, 3] whole or not at all. Raises UserError where it cannot be written."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92)
    return replace_file(path, buffer.getvalue())
