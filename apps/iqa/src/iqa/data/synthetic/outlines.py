"""Shapes of the synthetic scenes: outlines with one material each, back to front, seen through a tilted camera.

Lengths are in units of the image's shorter side, x to the right and y down; colours are linear light.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iqa.data.distortions.pixels import LINEAR
from polyscale.data.noise import Field, Rng

Array = NDArray[np.float64]

# Families of surface colours as ranges of hue, saturation and value, and how often a world has them
FAMILIES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float], float]] = {
    "foliage": ((0.15, 0.34), (0.2, 0.7), (0.06, 0.6), 3),
    "earth": ((0.03, 0.12), (0.2, 0.65), (0.1, 0.8), 3),
    "stone": ((0.05, 0.65), (0.0, 0.14), (0.1, 0.9), 3),
    "water": ((0.5, 0.62), (0.1, 0.5), (0.15, 0.75), 1),
    "pale": ((0.06, 0.16), (0.02, 0.2), (0.7, 0.98), 1),
    "dark": ((0.0, 1.0), (0.05, 0.5), (0.02, 0.15), 1),
    "paint": ((-0.06, 0.14), (0.5, 0.9), (0.35, 0.9), 0.3),
    "petal": ((0.5, 1.0), (0.3, 0.7), (0.3, 0.9), 0.2),
}


class World(NamedTuple):
    """Shapes in the order in which they are drawn; number 0 is the background, the others follow `outlines`.

    `materials` [N + 1, 9]: colour, amounts of even and streaky texture, shading as constant, x, y, x^2 + y^2.
    `shaded` [N + 1]: how dark the shadows are that nearer shapes throw on it.
    """

    outlines: list[Array]
    materials: Field
    shaded: Field


class Scenery:
    """A world while it is being built: what is put later stands nearer."""

    def __init__(self, rng: Rng, height: int, width: int) -> None:
        short = min(height, width)
        self.rng, self.width, self.height = rng, width / short, height / short
        self.pixel = 1 / short
        odds = np.array([odds for *_, odds in FAMILIES.values()])
        chosen = rng.choice(len(FAMILIES), 4, replace=False, p=odds / odds.sum())
        self.families = [list(FAMILIES.values())[i] for i in chosen]
        self.shares = rng.dirichlet((1.5, 1.0, 0.6, 0.3))
        angle = rng.uniform(-math.pi, 0) + math.pi / 2  # light comes from above
        self.light = np.array([math.sin(angle), -math.cos(angle)])
        self.outlines: list[Array] = []
        self.materials: list[Array] = []
        self.shaded: list[Array] = []

    def colours(self, count: int, low: float = 0.0, high: float = 1.0) -> Array:
        """Plausible surface colours [count, 3] of this world; `low` and `high` narrow the range of values."""
        family = np.array(self.families, dtype=object)[self.rng.choice(4, count, p=self.shares)]
        ranges = np.array([list(row[:3]) for row in family], float)  # [count, 3, 2]
        hue, saturation, value = self.rng.uniform(ranges[..., 0], ranges[..., 1]).T[..., None]
        saturation = saturation * (1.1 - 0.6 * value)  # light surfaces are pale
        ramp = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
        bytes_ = 255 * (0.08 + 0.84 * (low + (high - low) * value)) * (1 - saturation * (1 - ramp))
        return LINEAR[np.clip(bytes_, 0, 255).astype(int)].astype(float)

    def colour(self, low: float = 0.0, high: float = 1.0) -> Array:
        """Return one of `colours`."""
        return self.colours(1, low, high)[0]

    def materials_of(self, count: int) -> Array:
        """Amounts of even and streaky texture [count, 2]: a third of all surfaces is smooth."""
        kind = self.rng.random(count)[:, None]
        amount = self.rng.uniform(0.05, 0.35, (count, 2))
        mixed = amount * np.where(kind < 0.7, [1, 0.3], [0.3, 1])
        return np.where(kind < 0.35, [0.12, 0] * amount + [0.02, 0], mixed)

    def put(
        self,
        outlines: Array | None,
        colours: Array,
        textures: Array | tuple[float, float] = (0.02, 0.0),
        domes: Array | float = 0.0,
        slope: tuple[float, float] = (0.0, 0.0),
        shaded: float = 0.5,
    ) -> None:
        """Add shapes [N, P, 2] (None: the background) before the others; dome 1 is a ball, slope a ramp of light."""
        whole = np.array([[[0, 0], [self.width, self.height]]])
        extent = whole if outlines is None else outlines
        low, high = extent.min(1), extent.max(1)
        centre = (high + low) / 2
        radius = np.maximum((high - low).max(1, keepdims=True) / 2, 1e-3)
        dome = np.broadcast_to(np.reshape(domes, (-1, 1)), radius.shape)
        lean = (self.light * 0.6 * dome + np.asarray(slope)) / radius
        bow = -0.5 * dome / radius**2
        constant = 1 + 0.15 * dome - (lean * centre).sum(1, keepdims=True) + bow * (centre**2).sum(1, keepdims=True)
        colours, textures = (np.broadcast_to(v, (len(extent), np.shape(v)[-1])) for v in (colours, textures))
        self.materials.append(np.concatenate([colours, textures, constant, lean - 2 * bow * centre, bow], 1))
        self.shaded.append(np.full(len(extent), shaded))
        if outlines is not None:
            self.outlines.extend(outlines)

    def finished(self) -> World:
        """The world as its tables, its outlines turned and tilted a little as by a hand-held camera."""
        rng = self.rng
        turn, lean_x, lean_y = rng.normal(0, (0.04, 0.12, 0.12))
        matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        middle = np.array([self.width, self.height]) / 2
        lengths = [len(outline) for outline in self.outlines]
        points = np.concatenate([*self.outlines, np.zeros((1, 2))]) - middle
        depth = np.maximum(1 + points @ np.array([lean_x, lean_y]), 0.3)
        points = points @ matrix.T / depth[:, None] + middle
        outlines = np.split(points[:-1], np.cumsum(lengths)[:-1]) if lengths else []
        materials = np.concatenate(self.materials).astype(np.float32)
        return World(outlines, materials, np.concatenate(self.shaded).astype(np.float32))


def blobs(rng: Rng, centres: Array, radii: Array, points: int = 20, wavy: float = 0.28) -> Array:
    """Closed organic outlines [N, points, 2] around centres [N, 2] with radii [N]: stretched, turned, wavy."""
    count = len(radii)
    t = np.linspace(0, 2 * math.pi, points, endpoint=False)
    waves = np.arange(2, 6)
    size = rng.normal(0, wavy, (count, 4, 2)) / waves[:, None]
    bend = (size[..., :1] * np.cos(waves[:, None] * t) + size[..., 1:] * np.sin(waves[:, None] * t)).sum(1)
    reach = np.reshape(radii, (-1, 1)) * np.exp(bend)
    stretch = np.exp(rng.normal(0, 0.35, (count, 1)))
    turn = rng.uniform(0, math.pi, (count, 1))
    u, v = reach * np.cos(t) * stretch, reach * np.sin(t) / stretch
    x, y = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
    return np.stack([x, y], -1) + centres[:, None]


def boxes(x0: Array | float, y0: Array | float, x1: Array | float, y1: Array | float) -> Array:
    """Upright rectangles [N, 4, 2]."""
    x0, y0, x1, y1 = np.broadcast_arrays(*(np.atleast_1d(v).astype(float) for v in (x0, y0, x1, y1)))
    return np.stack([np.stack([x0, y0], -1), np.stack([x1, y0], -1), np.stack([x1, y1], -1), np.stack([x0, y1], -1)], 1)


def ridge(s: Scenery, level: float, rough: float) -> Array:
    """A hill line across the image and everything below it, [1, P, 2]."""
    x = np.linspace(-0.5, s.width + 0.5, 96)
    octaves = np.arange(1, 24)[:, None]
    phase = s.rng.uniform(0, 2 * math.pi, (23, 1))
    line = level + rough * (np.sin(octaves * 2.2 * x / s.width + phase) / octaves**1.2).sum(0)
    return np.concatenate([np.stack([x, line], 1), [[s.width + 0.5, s.height + 1], [-0.5, s.height + 1]]])[None]


def branches(s: Scenery, root: Array, length: float, angle: float, width: float, depth: int = 6) -> list[Array]:
    """A tree of tapering quadrilaterals [4, 2] that forks."""
    if depth == 0 or width < 0.3 * s.pixel:
        return []
    tip = root + length * np.array([math.cos(angle), math.sin(angle)])
    across = width * np.array([-math.sin(angle), math.cos(angle)])
    parts = [np.stack([root - across, root + across, tip + 0.65 * across, tip - 0.65 * across])]
    for _ in range(2 if depth < 5 else 3):
        turn = angle + s.rng.normal(0, 0.5)
        parts += branches(s, tip, length * s.rng.uniform(0.6, 0.85), turn, 0.62 * width, depth - 1)
    return parts


def writing(s: Scenery, x0: float, y0: float, x1: float, y1: float) -> Array:
    """Rows of strokes of uneven length and height in a box: letters from afar, [N, 4, 2]."""
    height = max(5 * s.pixel, s.rng.uniform(0.02, 0.06))
    rows = np.arange(y0 + height, y1 - height, 1.9 * height)
    count = max(1, int((x1 - x0) / (0.5 * height)))
    stroke = height * s.rng.uniform(0.1, 0.45, (len(rows), count))
    gap = np.maximum(0.12 * height, 1.5 * s.pixel) + height * 0.5 * (s.rng.random(stroke.shape) < 0.2)
    start = x0 + 0.7 * height + np.cumsum(stroke + gap, 1) - stroke
    tall = height * s.rng.choice([0.35, 0.35, 0.6], stroke.shape)
    strokes = boxes(start.ravel(), (rows[:, None] - tall).ravel(), (start + stroke).ravel(), np.repeat(rows, count))
    return strokes[(start + stroke).ravel() < x1 - 0.7 * height]
