"""The shapes of the embedded world: filled outlines in a unit circle, drawn with smooth edges."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = list[tuple[float, float]]
OVERSAMPLING = 4  # of the grid on which a shape is drawn


def _polygon(corners: int, inner: float = 1.0) -> Points:
    """Corners on the unit circle, the first at the top; with `inner` below 1 there are notches at that radius."""
    points = []
    for step in range(corners if inner == 1.0 else 2 * corners):
        angle = 2 * math.pi * step / (corners if inner == 1.0 else 2 * corners) - math.pi / 2
        radius = inner if inner < 1.0 and step % 2 else 1.0
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    return points


def _cross() -> Points:
    arm = 0.34
    quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    points: Points = []
    for _ in range(4):
        points += quarter
        quarter = [(-y, x) for x, y in quarter]
    return points


def _heart() -> Points:
    points = []
    for step in range(48):
        t = 2 * math.pi * step / 48
        y = -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16
        points.append((math.sin(t) ** 3, y))
    return points


def _square() -> Points:
    side = 0.86
    return [(-side, -side), (side, -side), (side, side), (-side, side)]


OUTLINES: dict[str, Callable[[], Points]] = {
    "circle": lambda: _polygon(48),
    "square": _square,
    "triangle": lambda: _polygon(3),
    "star": lambda: _polygon(5, 0.42),
    "cross": _cross,
    "ring": lambda: _polygon(48),
    "heart": _heart,
    "crescent": lambda: _polygon(48),
}
HOLES = {"ring": (0.0, 0.0, 0.55), "crescent": (0.45, -0.2, 0.8)}  # centre and radius of a circle that is cut out
SHAPES = tuple(OUTLINES)


def coverage(shape: str, radius: float, angle: float) -> NDArray[np.float32]:
    """How far each pixel belongs to a shape: float32 [D, D] in [0, 1], cut to the pixels that it touches.

    Args:
        shape: one of SHAPES.
        radius: of the circle around it in pixels.
        angle: in radians, clockwise.
    """
    side = 2 * math.ceil(radius) + 2
    canvas = Image.new("L", (side * OVERSAMPLING, side * OVERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    cos, sin = math.cos(angle), math.sin(angle)

    def place(x: float, y: float) -> tuple[float, float]:
        turned = (x * cos - y * sin, x * sin + y * cos)
        return (OVERSAMPLING * (side / 2 + radius * turned[0]), OVERSAMPLING * (side / 2 + radius * turned[1]))

    draw.polygon([place(x, y) for x, y in OUTLINES[shape]()], fill=255)
    if shape in HOLES:
        x, y, r = HOLES[shape]
        (cx, cy), half = place(x, y), OVERSAMPLING * radius * r
        draw.ellipse((cx - half, cy - half, cx + half, cy + half), fill=0)
    alpha = np.asarray(canvas.resize((side, side), Image.Resampling.BOX)).astype(np.float32) / np.float32(255)
    rows, columns = (np.flatnonzero(alpha.max(axis) >= 0.5) for axis in (1, 0))
    return alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
