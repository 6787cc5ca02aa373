"""Images of results with Pillow and NumPy alone: mask overlays, captioned panels, heat maps, labelled boxes.

All functions take and return uint8 RGB arrays [H, W, 3] as `read_image` gives them, and leave their
arguments unchanged. Line widths and type sizes follow the size of the image, so that a 4000 px photo and a 256 px
crop are both legible. The heat-map colours are computed here, evenly spaced in Oklab (Ottosson 2020).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from polyscale.data.colour import oklab_to_srgb

Colour = tuple[int, int, int]

HIGHLIGHT: Colour = (255, 45, 135)  # a pink that neither vegetation, sand, water nor skin has
# Told apart also by the colour-blind (after Okabe and Ito 2008, brightened for photographs).
CATEGORY_COLOURS: tuple[Colour, ...] = (
    (255, 176, 0),
    (58, 168, 240),
    (255, 94, 58),
    (0, 190, 140),
    (222, 112, 186),
    (240, 228, 66),
    (122, 110, 255),
    (168, 224, 90),
)
_PAPER: Colour = (255, 255, 255)
_INK: Colour = (34, 38, 46)


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    *,
    colour: Colour = HIGHLIGHT,
    alpha: float = 0.45,
    threshold: float = 0.5,
    contour: bool = True,
) -> np.ndarray:
    """Tint `image` where `mask` says foreground, and draw the outline.

    mask: [H, W], bool, or probability in [0, 1]: the tint is then as strong as the probability times `alpha`, and the
    outline runs where it passes `threshold`. Raises ValueError for a mask of another size or range.
    """
    _check_image(image)
    weight = np.asarray(mask, dtype=np.float32)
    if weight.shape != image.shape[:2]:
        raise ValueError(f"mask must be of the image's size {list(image.shape[:2])}, given {list(weight.shape)}")
    if weight.size and not (weight.min() >= 0 and weight.max() <= 1):
        raise ValueError(f"mask must be bool or values in [0, 1], given {weight.min():g} to {weight.max():g}")
    canvas = Image.fromarray(image)
    tint = weight * np.float32(255 * alpha)
    tint += 0.5  # in place: four bytes a pixel are 400 MB of an image of 100 megapixels
    canvas.paste(colour, mask=Image.fromarray(tint.astype(np.uint8)))
    del tint
    result = np.array(canvas)
    if contour:
        _draw_contour(result, weight >= threshold, colour)
    return result


def panel(
    images: Sequence[np.ndarray],
    titles: Sequence[str] = (),
    *,
    height: int = 256,
    columns: int | None = None,
    gap: int = 10,
) -> np.ndarray:
    """Images side by side on white, each `height` px tall with its title above, `columns` to a row (all by default).

    images: uint8 [H, W, 3], or [H, W] as bool, uint8 or float in [0, 1], drawn in grey. Aspect ratios are kept.
    A title too wide for its image is cut with an ellipsis. Raises ValueError for another number of titles.
    """
    if not images:
        raise ValueError("images must hold at least one image")
    if titles and len(titles) != len(images):
        raise ValueError(f"titles must be as many as images ({len(images)}), given {len(titles)}")
    tiles = [_tile(image, height) for image in images]
    columns = columns or len(tiles)
    rows = [list(range(start, min(start + columns, len(tiles)))) for start in range(0, len(tiles), columns)]
    cells = [max(tiles[row[i]].width for row in rows if i < len(row)) for i in range(min(columns, len(tiles)))]
    font = _font(max(12, round(height / 15)))
    caption = round(font.size * 1.7) if titles else 0
    canvas = Image.new("RGB", (sum(cells) + gap * (len(cells) + 1), len(rows) * (height + caption + gap) + gap), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for r, row in enumerate(rows):
        top = gap + r * (height + caption + gap)
        for i, index in enumerate(row):
            left = gap + sum(cells[:i]) + gap * i
            if titles:
                text = _fitted(titles[index], font, cells[i])
                draw.text((left, top + caption / 2), text, fill=_INK, font=font, anchor="lm")
            canvas.paste(tiles[index], (left, top + caption))
    return np.array(canvas)


def heatmap(values: np.ndarray, *, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Colours for a map [H, W]: dark violet at `low` over teal to pale yellow at `high` (default: its own extremes).

    Equal steps in value look equally large, and lightness alone carries the order, so it survives grey printing.
    Values outside are clipped; a constant map takes the colour of `low`. Raises ValueError where a value is not finite.
    """
    values = np.asarray(values)
    if values.ndim != 2:
        raise ValueError(f"values must be a map [H, W], given shape {list(values.shape)}")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("values must be finite, given NaN or infinity")
    low = float(values.min(initial=np.inf)) if low is None else low
    high = float(values.max(initial=-np.inf)) if high is None else high
    steps = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return colour_table()[np.rint(np.clip(steps, 0, 255, out=steps), out=steps).astype(np.uint8)]


def colour_bar(low: str, high: str, width: int, *, height: int = 40) -> np.ndarray:
    """The legend of a `heatmap`: its colours from left to right, uint8 [height, width, 3], what the ends mean below."""
    strip = height // 3
    bar = np.broadcast_to(np.linspace(0, 255, width).round().astype(np.uint8), (strip, width))
    canvas = Image.new("RGB", (width, height), _PAPER)
    canvas.paste(Image.fromarray(colour_table()[bar]))
    draw, font, middle = ImageDraw.Draw(canvas), _font(max(11, round(height * 0.42))), strip + (height - strip) / 2
    for place, text, anchor in ((0, low, "lm"), (width, high, "rm")):
        draw.text((place, middle), _fitted(text, font, (width - font.size) / 2), fill=_INK, font=font, anchor=anchor)
    return np.array(canvas)


@lru_cache(maxsize=1)
def colour_table() -> np.ndarray:
    """The 256 colours of `heatmap`, uint8 [256, 3]: an arc through Oklab at even steps of colour distance."""
    t = np.linspace(0, 1, 1025)
    lightness = 0.20 + 0.75 * t
    hue = np.radians(310 - 205 * t**1.1)
    chroma = 0.097 + 0.024 * np.sin(2 * np.pi * t) ** 2  # just inside what sRGB can show: a clipped path has kinks
    path = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    travelled = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    even = np.interp(np.linspace(0, travelled[-1], 256), travelled, t)
    lab = np.stack([np.interp(even, t, path[:, i]) for i in range(3)], axis=1)
    table = np.rint(oklab_to_srgb(lab) * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


def draw_boxes(
    image: np.ndarray,
    boxes_xyxy: ArrayLike,
    labels: Sequence[str] | None = None,
    scores: Sequence[float] | None = None,
    colours: Sequence[Colour] | None = None,
) -> np.ndarray:
    """Outline boxes [N, 4] (x1, y1, x2, y2 in pixels) with a tag "label 0.87" each; the best score is on top.

    Parts outside the image are cut off. Without `colours` every distinct label has its own, in order of appearance.
    Raises ValueError for boxes of another shape, not finite, or labels, scores or colours of another number.
    """
    _check_image(image)
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise ValueError(f"boxes_xyxy must be finite and shaped [N, 4], given shape {list(boxes.shape)}")
    for name, values in (("labels", labels), ("scores", scores), ("colours", colours)):
        if values is not None and len(values) != len(boxes):
            raise ValueError(f"{name} must be as many as boxes ({len(boxes)}), given {len(values)}")
    if colours is None:
        colours = [HIGHLIGHT] * len(boxes) if labels is None else _label_colours(labels)
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    width, font = _line_width(image), _font(min(40, max(11, round(min(image.shape[:2]) / 26))))
    for i in sorted(range(len(boxes)), key=lambda i: float(scores[i]) if scores is not None else 0.0):
        frame = _frame(boxes[i], image.shape[0], image.shape[1])
        draw.rectangle(frame, outline=colours[i], width=width)
        words = [labels[i]] if labels is not None else []
        words += [f"{float(scores[i]):.2f}"] if scores is not None else []
        if words:
            _tag(draw, frame, " ".join(words), colours[i], font, canvas.size)
    return np.array(canvas)


def category_colour(index: int) -> Colour:
    """The colour of class `index`; after eight they repeat darkened."""
    red, green, blue = CATEGORY_COLOURS[index % len(CATEGORY_COLOURS)]
    shade = 0.7 ** (index // len(CATEGORY_COLOURS) % 3)
    return round(red * shade), round(green * shade), round(blue * shade)


def _label_colours(labels: Sequence[str]) -> list[Colour]:
    order = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return [category_colour(order[label]) for label in labels]


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 [H, W, 3], given {image.dtype} {list(image.shape)}")


def _line_width(image: np.ndarray) -> int:
    return max(1, round(min(image.shape[:2]) / 180))


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this build of Pillow has no FreeType; install the Pillow wheel from PyPI")
    return font


def _draw_contour(image: np.ndarray, inside: np.ndarray, colour: Colour) -> None:
    """Outline `inside` on its outer side, in place, with a dark hem that keeps the line visible on any ground."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return
    width = _line_width(image)
    reach = width + max(1, width // 2)
    part = np.s_[max(0, rows[0] - reach) : rows[-1] + reach + 1, max(0, columns[0] - reach) : columns[-1] + reach + 1]
    ground, inside = image[part], inside[part]
    lined = _grow(inside, width)
    ground[_grow(lined, reach - width) & ~lined] //= 3
    ground[lined & ~inside] = colour


def _grow(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilation by a regular octagon, near a disc: a square grown by a diamond, each from two straight strokes."""
    diamond = min(round(0.293 * radius), (radius - 1) // 2)
    square = radius - 2 * diamond
    grown = np.pad(mask, radius)
    for stroke, down, right in ((square, 1, 0), (square, 0, 1), (diamond, 1, 1), (diamond, 1, -1)):
        covered, length = 1, 2 * stroke + 1
        while covered < length:  # doubling the stroke each time
            step = min(covered, length - covered)
            grown = grown | np.roll(grown, (down * step, right * step), (0, 1))
            covered += step
        grown = np.roll(grown, (-down * stroke, -right * stroke), (0, 1))
    return grown[radius:-radius, radius:-radius]


def _tile(image: np.ndarray, height: int) -> Image.Image:
    if image.ndim == 2 and image.dtype != np.uint8:
        image = np.rint(np.clip(image.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    _check_image(image)
    size = (max(1, round(image.shape[1] * height / image.shape[0])), height)
    kind = Image.Resampling.LANCZOS if height < image.shape[0] else Image.Resampling.BICUBIC
    return Image.fromarray(image).resize(size, kind, reducing_gap=2.0)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1].rstrip()
    return text + "…"


def _frame(box: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Pixel frame inside the image, at least 1 px wide and tall, corners in order."""
    (left, right), (top, bottom) = sorted((box[0], box[2])), sorted((box[1], box[3]))
    x1, y1 = min(max(math.floor(left), 0), width - 1), min(max(math.floor(top), 0), height - 1)
    return x1, y1, min(max(math.ceil(right) - 1, x1), width - 1), min(max(math.ceil(bottom) - 1, y1), height - 1)


def _tag(
    draw: ImageDraw.ImageDraw,
    frame: tuple[int, int, int, int],
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont,
    size: tuple[int, int],
) -> None:
    """A filled tag above the frame's left corner, or inside it where there is no room above."""
    pad = max(2, round(font.size / 5))
    text = _fitted(text, font, size[0] - 2 * pad)
    wide, tall = math.ceil(font.getlength(text)) + 2 * pad, round(font.size * 1.35)
    left = min(frame[0], max(0, size[0] - wide))
    top = frame[1] - tall if frame[1] >= tall else min(frame[1], max(0, size[1] - tall))
    draw.rectangle((left, top, left + wide - 1, top + tall - 1), fill=colour)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (0, 0, 0) if luminance > 110 else (255, 255, 255)
    draw.text((left + pad, top + tall / 2), text, fill=ink, font=font, anchor="lm")
