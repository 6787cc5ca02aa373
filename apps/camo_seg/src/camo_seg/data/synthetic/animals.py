"""Organic silhouettes as signed distances: soft unions of tapered capsules along a bent spine, with limbs.

The smooth minimum is the exponential one (Quilez); a slow noise bends the outline. The synthetic scenes use them for
animals and, with other fillings, for the distractors.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscale.data.noise import Field, Rng

Array = NDArray[np.float64]

SOFTNESS = 0.03  # of the union, in body lengths


def _spine(rng: Rng, points: int, bend: float) -> Array:
    """A bent line from x = -0.5 to 0.5, [points, 2]."""
    t = np.linspace(0, 1, points)
    turn = bend * np.sin(2 * np.pi * (rng.uniform(0.4, 1.0) * t + rng.uniform()))
    step = np.stack([np.cos(turn), np.sin(turn)], 1)
    line = np.cumsum(step, 0) / points
    return line - line.mean(0)


def _chain(points: Array, radii: Array) -> list[Array]:
    """Capsules (x1, y1, x2, y2, r1, r2) along a line of points with a radius at each."""
    return [np.array([*p, *q, r, s]) for p, q, r, s in zip(points, points[1:], radii, radii[1:], strict=False)]


def _limb(rng: Rng, root: Array, direction: float, length: float, radius: float) -> list[Array]:
    knee = root + length * np.array([np.cos(direction), np.sin(direction)])
    bend = direction + rng.choice([-1, 1]) * rng.uniform(0.4, 1.3)
    foot = knee + length * np.array([np.cos(bend), np.sin(bend)])
    return _chain(np.stack([root, knee, foot]), np.array([radius, 0.75 * radius, 0.55 * radius]))


def _lizard(rng: Rng) -> list[Array]:
    line = _spine(rng, 9, rng.uniform(0.2, 0.9))
    fat = rng.uniform(0.05, 0.1)
    radii = fat * np.array([0.75, 0.85, 0.7, 1.0, 1.1, 1.0, 0.6, 0.35, 0.12])
    parts = _chain(line, radii)
    for at in (2, 5):
        for side in (-1, 1):
            direction = side * rng.uniform(0.9, 2.2)
            parts += _limb(rng, line[at], direction, rng.uniform(0.07, 0.13), 0.45 * fat)
    return parts


def _fish(rng: Rng) -> list[Array]:
    line = _spine(rng, 7, rng.uniform(0.1, 0.5))
    fat = rng.uniform(0.11, 0.2)
    parts = _chain(line, fat * np.array([0.35, 0.85, 1.0, 0.9, 0.6, 0.3, 0.18]))
    for side in (-1, 1):
        parts += _chain(line[-1] + np.array([[0, 0], [0.14, side * rng.uniform(0.07, 0.14)]]), np.array([0.03, 0.02]))
        root = line[3] + np.array([0, side * 0.7 * fat])
        parts += _chain(root + np.array([[0, 0], [0.1, side * rng.uniform(0.03, 0.1)]]), np.array([0.04, 0.015]))
    return parts


def _snake(rng: Rng) -> list[Array]:
    t = np.linspace(0, 1, 18)
    turn = rng.uniform(0.8, 1.6) * np.sin(2 * np.pi * (rng.uniform(0.9, 1.9) * t + rng.uniform()))
    line = np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1), 0) / 18
    radii = rng.uniform(0.025, 0.05) * np.minimum(1, 3.2 * (1.05 - t))
    radii[0] *= 1.2
    return _chain(line - line.mean(0), radii)


def _moth(rng: Rng) -> list[Array]:
    parts = _chain(np.array([[-0.2, 0], [0.2, 0]]), np.array([0.06, 0.045]))
    for spread, length, fat in ((rng.uniform(1.0, 1.7), rng.uniform(0.24, 0.36), 0.13), (2.2, 0.22, 0.11)):
        for side in (-1, 1):
            tip = length * np.array([-np.cos(spread), side * np.sin(spread)])
            parts += _chain(
                np.stack([np.array([-0.05, side * 0.04]), tip]), np.array([0.05, fat * rng.uniform(0.8, 1)])
            )
    return parts


def _toad(rng: Rng) -> list[Array]:
    parts = _chain(np.array([[-0.24, 0], [0, 0], [0.2, 0]]), np.array([0.13, 0.2, 0.17]))
    for x, direction in ((-0.1, 1.9), (0.18, 0.9)):
        for side in (-1, 1):
            root = np.array([x, side * 0.14])
            parts += _limb(rng, root, side * direction * rng.uniform(0.7, 1.2), rng.uniform(0.1, 0.17), 0.05)
    return parts


def _bird(rng: Rng) -> list[Array]:
    parts = _chain(np.array([[-0.1, 0.0], [0.14, 0.03]]), np.array([0.17, 0.13]))
    head = np.array([-0.27, -rng.uniform(0.02, 0.16)])
    parts += _chain(np.stack([head, [head[0] - 0.12, head[1] + 0.02]]), np.array([0.09, 0.012]))
    parts += _chain(np.array([[0.14, 0.03], [0.48, rng.uniform(0, 0.14)]]), np.array([0.1, 0.045]))
    return parts


def _lobed(rng: Rng) -> list[Array]:
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 8)))
    reach = rng.uniform(0.14, 0.34, len(angles))
    tips = reach[:, None] * np.stack([np.cos(angles), rng.uniform(0.5, 1) * np.sin(angles)], 1)
    return [
        part for tip in tips for part in _chain(np.stack([0 * tip, tip]), np.array([0.15, rng.uniform(0.06, 0.15)]))
    ]


ANIMALS = {
    "lizard": _lizard,
    "fish": _fish,
    "snake": _snake,
    "moth": _moth,
    "toad": _toad,
    "bird": _bird,
    "lobed": _lobed,
}


def _distance(parts: Field, x: Field, y: Field) -> Field:
    """Signed distance (negative inside) to the soft union of capsules [N, 6] at the grid x [w], y [h]: [h, w]."""
    x1, y1, x2, y2, r1, r2 = (parts[:, i, None, None] for i in range(6))
    px, py, bx, by = x[None, None] - x1, y[None, :, None] - y1, x2 - x1, y2 - y1
    squared = bx * bx + by * by + np.float32(1e-9)
    along = px * (bx / squared) + py * (by / squared)
    np.clip(along, 0, 1, out=along)
    away_x, away_y = px - along * bx, py - along * by
    away_x *= away_x
    away_y *= away_y
    away_x += away_y
    each = np.sqrt(away_x, out=away_x)
    each -= r1 + along * (r2 - r1)
    each *= -1 / SOFTNESS
    total: Field = np.log(np.exp(each, out=each).sum(0) + np.float32(1e-30))
    total *= -SOFTNESS
    return total


def silhouette(rng: Rng, kind: str, area: float, size: int, margin: int = 0, grid: int = 64) -> Field:
    """Signed distance in pixels (negative inside) of one animal, [h, w]: its box and `margin` pixels around it.

    `area` is the wanted share of a `size` x `size` image; a shape that would not fit is made smaller. Boxes of more
    than `grid` pixels a side are evaluated on that many points and enlarged: the distance is smooth.
    """
    parts = np.stack(ANIMALS[kind](rng))
    angle, mirror = rng.uniform(0, 2 * math.pi), rng.choice([-1, 1])
    turn = np.array([[math.cos(angle), -math.sin(angle) * mirror], [math.sin(angle), math.cos(angle) * mirror]])
    parts[:, :2], parts[:, 2:4] = parts[:, :2] @ turn.T, parts[:, 2:4] @ turn.T
    reach = parts[:, 4:].max() + 0.02
    low = np.minimum(parts[:, :2], parts[:, 2:4]).min(0) - reach
    side = np.maximum(parts[:, :2], parts[:, 2:4]).max(0) + reach - low
    capsules = parts.astype(np.float32)
    phase, wave = rng.uniform(0, 2 * math.pi, 2), rng.uniform(9, 22, 2)
    amount = rng.uniform(0.004, 0.014)

    def field(columns: int, rows: int) -> Field:
        x, y = (((np.arange(n) + 0.5) / n * s + o) for n, s, o in zip((columns, rows), side, low, strict=True))
        bend = (amount * np.sin(wave[0] * x + phase[0]))[None] * np.sin(wave[1] * y + phase[1])[:, None]
        return _distance(capsules, x.astype(np.float32), y.astype(np.float32)) + bend.astype(np.float32)

    share = float((field(28, 28) < 0).mean()) * side[0] * side[1]
    scale = min(math.sqrt(area / share) * size, 0.96 * size / side.max())
    low, side = low - margin / scale, side + 2 * margin / scale
    width, height = (max(4, math.ceil(s * scale)) for s in side)
    coarse = field(min(grid, width), min(grid, height)) * np.float32(scale)
    if max(width, height) <= grid:
        return coarse
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
