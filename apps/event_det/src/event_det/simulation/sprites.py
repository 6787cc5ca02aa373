"""Sprites of road users and of what stands in front of them, drawn with polygons: brightness and cover, seen sideways.

All face right. A sprite has several phases, the stages of a step or of a turning wheel.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from polyscale.data.noise import Rng

FINER = 4  # sprites are drawn at this many times their size, then averaged
PHASES = 8


class Sprite(NamedTuple):
    """Brightness and cover in [0, 1], float32 [phases, rows, columns], and the tight boxes [phases, 4] as xyxy."""

    grey: NDArray[np.float32]
    alpha: NDArray[np.float32]
    boxes: NDArray[np.float32]


class Canvas:
    """Draws polygons and ellipses in units of the sprite's height: x to the right, y up from the ground."""

    def __init__(self, height: int, aspect: float) -> None:
        self.unit = height * FINER
        self.width = max(round(height * aspect), 2)
        size = (self.width * FINER, self.unit)
        self._grey, self._alpha = Image.new("L", size, 0), Image.new("L", size, 0)
        self._pens = ImageDraw.Draw(self._grey), ImageDraw.Draw(self._alpha)

    def polygon(self, points: list[tuple[float, float]], tone: float) -> None:
        """Fill a polygon."""
        placed = [(x * self.unit, (1 - y) * self.unit) for x, y in points]
        for pen, value in zip(self._pens, (round(255 * tone), 255), strict=True):
            pen.polygon(placed, fill=value)

    def disc(self, x: float, y: float, radius: float, tone: float) -> None:
        """Fill a circle."""
        box = [value * self.unit for value in (x - radius, 1 - y - radius, x + radius, 1 - y + radius)]
        for pen, value in zip(self._pens, (round(255 * tone), 255), strict=True):
            pen.ellipse(box, fill=value)

    def line(self, points: list[tuple[float, float]], width: float, tone: float) -> None:
        """Draw a line with round joints."""
        placed = [(x * self.unit, (1 - y) * self.unit) for x, y in points]
        thick = max(round(width * self.unit), FINER)
        for pen, value in zip(self._pens, (round(255 * tone), 255), strict=True):
            pen.line(placed, fill=value, width=thick, joint="curve")

    def planes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Average to the size of the sprite: brightness and cover."""
        shape = (self.unit // FINER, FINER, self.width, FINER)
        alpha = np.asarray(self._alpha, np.float32).reshape(shape).mean((1, 3)) / 255
        grey = np.asarray(self._grey, np.float32).reshape(shape).mean((1, 3)) / 255
        return grey / np.maximum(alpha, 1e-6), alpha


def _contrast(rng: Rng, tone: float) -> float:
    """Return a brightness that stands out from `tone`."""
    return float(np.clip(tone * rng.uniform(1.8, 3) if tone < 0.35 else tone * rng.uniform(0.25, 0.5), 0.02, 1))


def _wheel(canvas: Canvas, x: float, radius: float, turn: float, tone: float, rim: float) -> None:
    canvas.disc(x, radius, radius, tone)
    canvas.disc(x, radius, radius * 0.6, rim)
    for spoke in range(3):
        angle = turn + spoke * math.pi / 3
        dx, dy = 0.6 * radius * math.cos(angle), 0.6 * radius * math.sin(angle)
        canvas.line([(x - dx, radius - dy), (x + dx, radius + dy)], 0.15 * radius, tone)


def _car(rng: Rng) -> tuple[float, Callable[[Canvas, float], None]]:
    aspect = rng.uniform(1.9, 2.7)
    body, tyre = rng.uniform(0.08, 0.85), rng.uniform(0.03, 0.12)
    window, front, rear = _contrast(rng, body), rng.uniform(0.15, 0.35), rng.uniform(0.02, 0.25)
    roof, box = rng.uniform(0.88, 1.0), rng.random() < 0.25

    def draw(canvas: Canvas, phase: float) -> None:
        a, hood = aspect, 0.55
        canvas.polygon([(0, 0.18), (0, hood), (a - 0.03, hood - 0.08), (a, 0.3), (a, 0.18)], body)
        back = 0.02 if box else rear + 0.1
        canvas.polygon([(back, hood), (back + 0.2 * (not box), roof), (a * 0.62, roof), (a * (1 - front), hood)], body)
        canvas.polygon(
            [(back + 0.2, hood), (back + 0.3, roof - 0.08), (a * 0.45, roof - 0.08), (a * 0.45, hood)], window
        )
        canvas.polygon(
            [(a * 0.49, hood), (a * 0.49, roof - 0.08), (a * 0.6, roof - 0.08), (a * (0.97 - front), hood)], window
        )
        for x in (0.2 * a, 0.8 * a):
            _wheel(canvas, x, 0.2, -2 * math.pi * phase / 6, tyre, min(1.0, 3 * tyre + 0.2))

    return aspect, draw


def _two_wheeler(rng: Rng) -> tuple[float, Callable[[Canvas, float], None]]:
    aspect = rng.uniform(0.95, 1.15)
    tyre, frame, coat = rng.uniform(0.03, 0.15), rng.uniform(0.1, 0.6), rng.uniform(0.05, 0.9)
    head, motor, lean = rng.uniform(0.3, 0.75), rng.random() < 0.4, rng.uniform(0.05, 0.2)

    def draw(canvas: Canvas, phase: float) -> None:
        radius = 0.2
        left, right = radius, aspect - radius
        for x in (left, right):
            _wheel(canvas, x, radius, -2 * math.pi * phase / 6, tyre, 0.45)
        middle = aspect / 2
        canvas.line([(left, radius), (middle - 0.1, 0.45), (right - 0.05, 0.45), (right, radius)], 0.05, frame)
        canvas.line([(left, radius), (middle, 0.22), (right - 0.05, 0.45), (right - 0.08, 0.55)], 0.05, frame)
        if motor:
            canvas.polygon([(left, 0.28), (left, 0.45), (right - 0.1, 0.5), (right - 0.15, 0.22)], frame)
        hip, shoulder = (middle - 0.12, 0.5), (middle - 0.08 + lean, 0.8)
        for side in (0, math.pi):
            angle = 2 * math.pi * phase + side
            foot = (middle + 0.08 * math.cos(angle), 0.2 + 0.08 * math.sin(angle))
            knee = ((hip[0] + foot[0]) / 2 + 0.1, (hip[1] + foot[1]) / 2 + 0.02)
            canvas.line([hip, knee, foot], 0.08, coat * 0.6)
        canvas.line([hip, shoulder], 0.16, coat)
        canvas.line([shoulder, (right - 0.1, 0.58)], 0.07, coat)
        canvas.disc(shoulder[0] + 0.04, 0.91, 0.085, head)

    return aspect, draw


def _pedestrian(rng: Rng) -> tuple[float, Callable[[Canvas, float], None]]:
    aspect = 0.5
    coat, legs, head = rng.uniform(0.05, 0.9), rng.uniform(0.05, 0.6), rng.uniform(0.3, 0.75)
    stride, girth = rng.uniform(0.14, 0.22), rng.uniform(0.15, 0.22)

    def draw(canvas: Canvas, phase: float) -> None:
        middle, hip, shoulder = aspect / 2, 0.48, 0.8
        swing = math.sin(2 * math.pi * phase)
        for side in (1, -1):
            foot = middle + side * stride * swing
            canvas.line([(middle, hip), (middle + 0.6 * side * stride * swing + 0.03, 0.24), (foot, 0.02)], 0.1, legs)
        canvas.line([(middle, shoulder), (middle - stride * swing, 0.5)], 0.07, coat * 0.8)
        canvas.polygon(
            [
                (middle - girth / 2, hip - 0.05),
                (middle - girth / 2, shoulder + 0.04),
                (middle + girth / 2, shoulder + 0.04),
                (middle + girth / 2, hip - 0.05),
            ],
            coat,
        )
        canvas.line([(middle, shoulder), (middle + stride * swing, 0.5)], 0.07, coat * 0.7)
        canvas.disc(middle + 0.01, 0.92, 0.075, head)

    return aspect, draw


def _post(rng: Rng) -> tuple[float, Callable[[Canvas, float], None]]:
    """A sign, a tree or a bus stop: what stands in front of others."""
    kind, tone = rng.integers(3), rng.uniform(0.05, 0.5)
    aspect = (0.3, 0.7, 0.8)[kind]
    leaf = _contrast(rng, tone)
    spots = rng.uniform(0, 1, (12, 3))

    def draw(canvas: Canvas, phase: float) -> None:
        middle = aspect / 2
        if kind == 2:
            canvas.polygon([(0.02, 0), (0.02, 0.95), (aspect - 0.02, 0.95), (aspect - 0.02, 0)], tone)
            canvas.polygon([(0.1, 0.35), (0.1, 0.85), (aspect - 0.1, 0.85), (aspect - 0.1, 0.35)], leaf)
            return
        canvas.line([(middle, 0), (middle, 0.9)], 0.1 if kind else 0.07, tone)
        if kind == 0:
            canvas.disc(middle, 0.85, 0.14, leaf)
            return
        for x, y, shade in spots:
            sway = 0.02 * math.sin(2 * math.pi * (phase + shade))
            radius = 0.12 + 0.08 * shade
            place = radius + x * (aspect - 2 * radius) + sway
            canvas.disc(place, 0.5 + y * (0.48 - radius), radius, tone + (leaf - tone) * shade)

    return aspect, draw


def _litter(rng: Rng) -> tuple[float, Callable[[Canvas, float], None]]:
    """A bird, a bag or a leaf that moves and is nothing to be found."""
    tone, points = rng.uniform(0.05, 0.9), rng.uniform(0.25, 0.5, 7)

    def draw(canvas: Canvas, phase: float) -> None:
        flap = 1 + 0.4 * math.sin(2 * math.pi * phase)
        angles = np.arange(7) * 2 * math.pi / 7
        outline = [
            (0.5 + r * math.cos(a), 0.5 + r * flap * 0.6 * math.sin(a)) for r, a in zip(points, angles, strict=True)
        ]
        canvas.polygon(outline, tone)

    return 1.0, draw


KINDS = {
    "pedestrian": _pedestrian,
    "two-wheeler": _two_wheeler,
    "car": _car,
    "post": _post,
    "litter": _litter,
}


def make_sprite(rng: Rng, kind: str, height: int, *, mirrored: bool = False) -> Sprite:
    """Draw a sprite of that kind, `height` pixels high.

    Args:
        rng: Chooses proportions and brightness.
        kind: A key of `KINDS`.
        height: Rows.
        mirrored: Facing left.
    """
    aspect, draw = KINDS[kind](rng)
    planes = []
    for phase in range(PHASES):
        canvas = Canvas(height, aspect)
        draw(canvas, phase / PHASES)
        planes.append(canvas.planes())
    grey, alpha = (np.stack(part)[..., :: -1 if mirrored else 1] for part in zip(*planes, strict=True))
    return Sprite(np.ascontiguousarray(grey), np.ascontiguousarray(alpha), np.stack([_tight_box(a) for a in alpha]))


def _tight_box(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    inside = alpha >= 0.5
    if not inside.any():
        return np.array([0, 0, *alpha.shape[::-1]], np.float32)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
