"""What stands in a synthetic scene: outlines with one material each, back to front.

Lengths are in units of the picture's shorter side, x to the right and y down; colours are linear light. Five kinds of
worlds share the same few shapes: a field of leaves, hills under a sky, a street, things on a table, a close view.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .distortions.pixels import LINEAR

Array = NDArray[np.float64]
Field = NDArray[np.float32]
Rng = np.random.Generator

MOST_LEAVES = 700


class World(NamedTuple):
    """Shapes in the order in which they are drawn; number 0 is the background, the others follow `outlines`.

    `materials` [N + 1, 9]: colour, amounts of even and streaky texture, shading as constant, x, y, x^2 + y^2.
    `depths` [N + 1]: 0 far to 1 near; `shaded` [N + 1]: how dark the shadows are that others throw on it.
    """

    outlines: list[Array]
    materials: Field
    depths: Field
    shaded: Field


class Scenery:
    """A world while it is being built."""

    def __init__(self, rng: Rng, height: int, width: int) -> None:
        short = min(height, width)
        self.rng, self.width, self.height = rng, width / short, height / short
        self.finest = 1.2 / short  # radius of about one pixel
        self.hues = (rng.uniform() + np.cumsum([0, rng.choice([0.08, 0.33, 0.5]), rng.uniform(0.1, 0.4)])) % 1
        self.richness = rng.uniform(0.15, 0.6)
        self.light = rng.uniform(0, 2 * math.pi)
        self.outlines: list[Array] = []
        self.materials: list[Array] = []
        self.depths: list[float] = []
        self.shaded: list[float] = []

    def colour(self, low: float = 0.08, high: float = 0.92) -> Array:
        """A plausible surface colour of this world, linear light."""
        rng = self.rng
        hue = self.hues[rng.choice(3, p=[0.5, 0.3, 0.2])] + rng.normal(0, 0.04)
        saturation = min(1.0, self.richness * rng.gamma(2, 0.5))
        ramp = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
        value = rng.uniform(low, high)
        return LINEAR[(255 * value * (1 - saturation * (1 - ramp))).astype(int)].astype(np.float64)

    def put(
        self,
        outline: Array | None,
        colour: Array,
        texture: tuple[float, float] = (0.0, 0.0),
        dome: float = 0.0,
        slope: tuple[float, float] = (0.0, 0.0),
        shaded: float = 0.5,
    ) -> None:
        """Add a shape in front of the others (None: the background); dome 1 is a ball, `slope` a ramp of light."""
        extent = np.array([[0, 0], [self.width, self.height]]) if outline is None else outline
        centre = (extent.max(0) + extent.min(0)) / 2
        radius = max(float((extent.max(0) - extent.min(0)).max()) / 2, 1e-3)
        lean = np.array([math.cos(self.light), math.sin(self.light)]) * 0.5 * dome / radius + np.array(slope) / radius
        bow = -0.6 * dome / radius**2
        constant = 1 + 0.2 * dome - lean @ centre + bow * (centre @ centre)
        across = lean - 2 * bow * centre
        self.materials.append(np.array([*colour, *texture, constant, *across, bow]))
        self.depths.append(len(self.materials))
        self.shaded.append(shaded)
        if outline is not None:
            self.outlines.append(outline)

    def finished(self) -> World:
        depths = np.array(self.depths, np.float32)
        materials = np.array(self.materials, np.float32)
        return World(self.outlines, materials, depths / depths[-1], np.array(self.shaded, np.float32))


def world(rng: Rng, height: int, width: int) -> World:
    """One of WORLDS for a picture of this size."""
    scenery = Scenery(rng, height, width)
    WORLDS[rng.integers(len(WORLDS))](scenery)
    return scenery.finished()


def _blobs(rng: Rng, centres: Array, radii: Array, points: int = 20) -> Array:
    """Closed organic outlines [N, points, 2] around centres [N, 2] with radii [N]: stretched, turned, wavy."""
    count = len(radii)
    t = np.linspace(0, 2 * math.pi, points, endpoint=False)
    waves = np.arange(2, 6)
    size = rng.normal(0, 0.28, (count, 4, 2)) / waves[:, None]
    bend = (size[..., :1] * np.cos(waves[:, None] * t) + size[..., 1:] * np.sin(waves[:, None] * t)).sum(1)
    reach = radii[:, None] * np.exp(bend)
    stretch = np.exp(rng.normal(0, 0.35, count))[:, None]
    turn = rng.uniform(0, math.pi, count)[:, None]
    u, v = reach * np.cos(t) * stretch, reach * np.sin(t) / stretch
    x, y = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
    return np.stack([x, y], -1) + centres[:, None]


def _material(rng: Rng) -> tuple[float, float]:
    """Amounts of even and streaky texture: a third of all surfaces is smooth."""
    kind = rng.random()
    if kind < 0.35:
        return (rng.uniform(0.02, 0.08), 0.0)
    even, streaky = rng.uniform(0.08, 0.45, 2)
    return (even, 0.3 * streaky) if kind < 0.7 else (0.3 * even, streaky)


def _leaves(s: Scenery, box: tuple[float, float, float, float], cover: float, largest: float) -> None:
    """Leaves with radii of density r ** -3 in a box (x0, y0, x1, y1), in random order, `cover` times its area."""
    rng = s.rng
    finest = max(s.finest, largest / 80)
    area = (box[2] - box[0]) * (box[3] - box[1])
    count = int(cover * area / (2 * math.pi * finest**2 * math.log(largest / finest)))
    count = max(4, min(MOST_LEAVES, count))
    radii = 1 / np.sqrt(rng.uniform(largest**-2.0, finest**-2.0, count))
    centres = rng.uniform(box[:2], box[2:], (count, 2))
    family = [s.colour() for _ in range(6)]
    for outline, radius in zip(_blobs(rng, centres, radii), radii, strict=True):
        colour = family[rng.integers(6)] * math.exp(rng.normal(0, 0.35))
        s.put(outline, colour, _material(rng), rng.uniform(0, 0.9) if radius > 3 * finest else 0.2)


def _ridge(s: Scenery, level: float, rough: float) -> Array:
    """A hill line across the picture and everything below it."""
    x = np.linspace(0, s.width, 48)
    octaves = np.arange(1, 14)[:, None]
    phase = s.rng.uniform(0, 2 * math.pi, (13, 1))
    line = level + rough * (np.sin(octaves * 2.2 * x / s.width + phase) / octaves**1.1).sum(0)
    return np.concatenate([np.stack([x, line], 1), [[s.width, s.height + 1], [0, s.height + 1]]])


def _box(x0: float, y0: float, x1: float, y1: float) -> Array:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _branches(s: Scenery, root: Array, length: float, angle: float, width: float, colour: Array, depth: int) -> None:
    """A tree of tapering quadrilaterals that forks."""
    if depth == 0 or width < 0.3 * s.finest:
        return
    tip = root + length * np.array([math.cos(angle), math.sin(angle)])
    across = width * np.array([-math.sin(angle), math.cos(angle)])
    s.put(np.stack([root - across, root + across, tip + 0.65 * across, tip - 0.65 * across]), colour, (0.1, 0.25), 0.3)
    for _ in range(2 if depth < 5 else 3):
        turn = angle + s.rng.normal(0, 0.55)
        _branches(s, tip, length * s.rng.uniform(0.6, 0.85), turn, 0.62 * width, colour, depth - 1)


def _writing(s: Scenery, box: tuple[float, float, float, float], ink: Array) -> None:
    """Rows of strokes of uneven length and height: letters from afar."""
    height = max(4 * s.finest, s.rng.uniform(0.02, 0.05))
    y = box[1] + height
    while y + height < box[3]:
        x = box[0] + height
        while x < box[2] - height:
            stroke = height * s.rng.uniform(0.12, 0.5)
            if s.rng.random() < 0.8:
                top = y - height * s.rng.choice([0.0, 0.0, 0.35])
                s.put(_box(x, top, x + max(stroke, 2 * s.finest), y + 0.55 * height), ink, shaded=0)
            x += 1.35 * stroke + 2 * s.finest
        y += 1.9 * height


def _sky(s: Scenery) -> None:
    blue = LINEAR[
        (255 * np.array([s.rng.uniform(0.4, 0.9), s.rng.uniform(0.6, 0.9), s.rng.uniform(0.75, 0.98)])).astype(int)
    ]
    s.put(None, blue.astype(np.float64), (s.rng.choice([0.02, 0.25]), 0.0), 0, (0, s.rng.uniform(0.1, 0.5)), 0)


def _field_world(s: Scenery) -> None:
    s.put(None, s.colour(), _material(s.rng))
    _leaves(s, (0, 0, s.width, s.height), 3.0, s.rng.uniform(0.25, 0.5))


def _hill_world(s: Scenery) -> None:
    rng = s.rng
    _sky(s)
    horizon = rng.uniform(0.25, 0.6) * s.height
    for step in range(rng.integers(1, 5)):
        haze = 0.6 ** (step + 1)
        colour = s.colour(0.1, 0.5) * (1 - haze) + haze * np.array([0.45, 0.55, 0.7])
        s.put(_ridge(s, horizon, 0.08), colour, _material(rng), shaded=0.1)
        horizon += rng.uniform(0.04, 0.15) * s.height
    _leaves(s, (0, horizon, s.width, s.height + 0.1), 2.0, rng.uniform(0.06, 0.25))
    for _ in range(rng.integers(0, 3)):
        root = np.array([rng.uniform(0, s.width), rng.uniform(min(horizon, 0.9 * s.height), s.height)])
        _branches(s, root, rng.uniform(0.12, 0.3), -math.pi / 2, rng.uniform(0.01, 0.03), s.colour(0.05, 0.3), 6)


def _street_world(s: Scenery) -> None:
    rng = s.rng
    _sky(s)
    x = -rng.uniform(0, 0.2)
    ground = rng.uniform(0.7, 0.95) * s.height
    while x < s.width:
        width, top = rng.uniform(0.15, 0.5), rng.uniform(0.05, 0.5) * s.height
        s.put(_box(x, top, x + width, ground), s.colour(0.2, 0.85), _material(rng), 0, (rng.uniform(-0.4, 0.4), 0))
        glass, pitch = s.colour(0.03, 0.6), max(rng.uniform(0.03, 0.1), 6 * s.finest)
        for row in np.arange(top + 0.4 * pitch, ground - pitch, 1.3 * pitch):
            for column in np.arange(x + 0.3 * pitch, x + width - 0.8 * pitch, pitch):
                pane = glass * math.exp(rng.normal(0, 0.4))
                s.put(_box(column, row, column + 0.55 * pitch, row + 0.8 * pitch), pane, slope=(0, 0.3))
        x += width
    s.put(_box(0, ground, s.width, s.height + 1), s.colour(0.1, 0.5), (0.2, 0.2), slope=(0, 0.2))
    _leaves(s, (0, ground - 0.1, s.width, s.height), 0.7, rng.uniform(0.05, 0.15))


def _table_world(s: Scenery) -> None:
    rng = s.rng
    slope = rng.uniform(-0.5, 0.5, 2)
    s.put(None, s.colour(0.3, 0.95), (rng.uniform(0.01, 0.1), 0.0), 0, (slope[0], slope[1]), 0.3)
    edge = rng.uniform(0.5, 0.8) * s.height
    s.put(_box(0, edge, s.width, s.height + 1), s.colour(0.1, 0.7), (0.05, rng.uniform(0, 0.4)))
    for _ in range(rng.integers(1, 4)):
        x, y, width, height = rng.uniform([0, 0, 0.3, 0.2], [s.width - 0.3, s.height - 0.2, 0.7, 0.6])
        s.put(_box(x, y, x + width, y + height), s.colour(0.6, 0.95), (0.03, 0.0))
        _writing(s, (x, y, x + width, y + height), s.colour(0.02, 0.3))
    count = rng.integers(3, 9)
    centres = rng.uniform([0, 0.3 * s.height], [s.width, s.height], (count, 2))
    for outline in _blobs(rng, centres, rng.uniform(0.08, 0.3, count), 40):
        s.put(outline, s.colour(), _material(rng), rng.uniform(0.5, 1.2))


def _close_world(s: Scenery) -> None:
    rng = s.rng
    s.put(None, s.colour(0.1, 0.8), (rng.uniform(0.1, 0.5), 0.1))
    _leaves(s, (0, 0, s.width, s.height), 1.0, 0.7)
    centre = rng.uniform(0.3, 0.7, (1, 2)) * [s.width, s.height]
    body = _blobs(rng, centre, rng.uniform(0.25, 0.45, 1), 48)[0]
    s.put(body, s.colour(), (0.15, rng.uniform(0.2, 0.6)), 0.9)
    eyes = rng.uniform(-0.12, 0.12, (4, 2)) + centre
    for outline in _blobs(rng, eyes, rng.uniform(0.01, 0.06, 4)):
        s.put(outline, s.colour(0.01, 0.3), (0.05, 0), 1.0)


WORLDS: tuple[Callable[[Scenery], None], ...] = (_field_world, _hill_world, _street_world, _table_world, _close_world)
