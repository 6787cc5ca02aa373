"""What a mask is turned into: a cutout with alpha, a crop, COCO run lengths and polygons. NumPy only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from polyscale.errors import UserError

Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]
Point = tuple[int, int]

SOFT = 0.3  # probability below and above the threshold over which a cutout fades
MARGIN = 0.02  # of the longer side of the object, around a crop
TOLERANCE = 0.7  # pixels by which a polygon may leave the outline of the mask


@dataclass(frozen=True)
class Cutout:
    """How an object is cut out: `background` is an RGB colour, or None for transparency; `crop` leaves out the rest."""

    background: tuple[int, int, int] | None = None
    crop: bool = False

    def draw(self, image: Pixels, probability: NDArray[np.float32], threshold: float) -> Pixels:
        """Cut the object out of uint8 [H, W, 3]: uint8 [h, w, 4] with alpha, or [h, w, 3] on the background.

        The edge fades over probabilities within SOFT of the threshold.
        """
        pixels = fade(image, probability, threshold, self.background)
        return crop(pixels, bounding_box(probability >= threshold)) if self.crop else pixels


def segmentation_of(mask: Mask, kind: str) -> Any:
    """Return COCO's "segmentation" of a mask: its run lengths ("rle") or "polygons"."""
    return to_rle(mask) if kind == "rle" else to_polygons(mask)


def bounding_box(mask: Mask) -> list[int] | None:
    """Return left, top, right and bottom, the last two exclusive; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def parse_colour(text: str) -> tuple[int, int, int]:
    """Return the RGB of a colour such as white, #ff8800 or rgb(255, 136, 0).

    Raises:
        UserError: It is none.
    """
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UserError(f"background: {text} is no colour; give a name or #rrggbb", exit_code=2) from error
    return red, green, blue


def fade(
    image: Pixels, probability: NDArray[np.float32], threshold: float, background: tuple[int, int, int] | None = None
) -> Pixels:
    """Give uint8 [H, W, 3] an alpha channel, or put it on the colour `background`."""
    alpha = np.clip((probability - threshold) / (2 * SOFT) + 0.5, 0, 1)[..., None]
    if background is None:
        return np.concatenate([image, np.rint(alpha * 255).astype(np.uint8)], axis=2)
    blended = image * alpha + np.asarray(background, np.float32) * (1 - alpha)
    return np.rint(blended).astype(np.uint8)


def crop(pixels: Pixels, box: list[int] | None) -> Pixels:
    """Return the part of [H, W, C] within `box` and a margin; all of it where there is no box.

    `box` is left, top, right and bottom, the last two exclusive.
    """
    if box is None:
        return pixels
    left, top, right, bottom = box
    margin = round(MARGIN * max(right - left, bottom - top)) + 1
    return pixels[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin]


def to_rle(mask: Mask) -> dict[str, Any]:
    """Return COCO's compressed run lengths, as pycocotools encodes them: {"size": [H, W], "counts": text}."""
    columns = np.concatenate([[0], mask.T.ravel().astype(np.int8), [0]])
    ends = np.flatnonzero(np.diff(columns))
    runs = np.diff(ends, prepend=0).tolist()
    if mask.size - (ends[-1] if len(ends) else 0):
        runs.append(int(mask.size - (ends[-1] if len(ends) else 0)))
    text = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run  # from the fourth on, the difference to the last but one
        while True:
            five = value & 31
            value >>= 5
            last = value == (-1 if five & 16 else 0)
            text.append(chr((five if last else five | 32) + 48))
            if last:
                break
    return {"size": list(mask.shape), "counts": "".join(text)}


def to_polygons(mask: Mask) -> list[list[float]]:
    """Return COCO's polygons, [x0, y0, x1, y1, ...] in pixels: the outline of every part, simplified to TOLERANCE.

    Holes are not cut out, as the format has none; run lengths keep them.
    """
    polygons = []
    for loop in _outlines(mask):
        points = _simplified(np.asarray(loop, np.float64))
        if len(points) >= 3:
            polygons.append([float(value) for value in points.ravel()])
    return polygons


def _outlines(mask: Mask) -> list[list[Point]]:
    """Follow the edges between pixels with the object on the right hand; only loops around objects, not holes."""
    padded = np.pad(mask, 1).astype(np.int8)
    down, right = np.diff(padded, axis=0)[:, 1:-1], np.diff(padded, axis=1)[1:-1]
    following: dict[Point, list[Point]] = {}
    for edges, step in ((down == 1, (1, 0)), (down == -1, (-1, 0)), (right == 1, (0, -1)), (right == -1, (0, 1))):
        for y, x in np.argwhere(edges).tolist():
            start = (x + (step[0] < 0), y + (step[1] < 0))
            following.setdefault(start, []).append((start[0] + step[0], start[1] + step[1]))
    loops = []
    while following:
        start = next(iter(following))
        loop, here, before = [start], _next(following, start, None), start
        while here != start:
            loop.append(here)
            here, before = _next(following, here, before), here
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(loop, [*loop[1:], loop[0]], strict=True))
        if area > 0:
            loops.append(loop)
    return loops


def _next(following: dict[Point, list[Point]], here: Point, before: Point | None) -> Point:
    """Take an edge that begins `here`; where two pixels meet at a corner, the one that stays with its own pixel."""
    ways = following[here]
    if len(ways) == 1 or before is None:
        way = ways.pop()
    else:
        dx, dy = here[0] - before[0], here[1] - before[1]
        way = next(w for w in ways if (w[0] - here[0], w[1] - here[1]) == (-dy, dx))  # turn right
        ways.remove(way)
    if not ways:
        del following[here]
    return way


def _simplified(loop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Douglas and Peucker's method on a closed loop, begun at two points far from each other."""
    far = int(((loop - loop[0]) ** 2).sum(axis=1).argmax())
    closed = np.concatenate([loop, loop[:1]])
    kept = {0, far}
    waiting = [(0, far), (far, len(loop))]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        inner, base = closed[first + 1 : last] - closed[first], closed[last] - closed[first]
        length = np.hypot(*base)
        away = np.abs(inner[:, 0] * base[1] - inner[:, 1] * base[0]) / length if length else np.hypot(*inner.T)
        split = int(away.argmax())
        if away[split] > TOLERANCE:
            kept.add(first + 1 + split)
            waiting += [(first, first + 1 + split), (first + 1 + split, last)]
    return loop[sorted(kept)]
