"""Scenes of one or two groups of equal objects on a textured ground: what is in them, then how they look.

Some pairs of colour and shape are held out: no training or validation scene has them, every second test scene does.
Whoever describes those scenes rightly has learnt colours and shapes, and not their pairs.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from caption_det.data.synthetic.shapes import SHAPES, coverage
from polyscale.data.noise import Rng

Placed = list[list[tuple[int, int, NDArray[np.float32]]]]
"""Left, top and coverage of each object of each group."""
Size = Literal["small", "large"]
Relation = Literal["left of", "right of", "above", "below"]

COLOURS = {
    "red": (214, 40, 40),
    "orange": (243, 140, 20),
    "yellow": (246, 222, 40),
    "green": (36, 160, 60),
    "blue": (40, 80, 220),
    "purple": (130, 50, 180),
    "white": (248, 248, 248),
    "black": (14, 14, 14),
}
GROUNDS = ("plain", "striped", "checked", "dotted")
RADII: dict[Size, tuple[float, float]] = {"small": (0.055, 0.08), "large": (0.13, 0.19)}  # shares of the image's side
HELD_OUT = frozenset((colour, SHAPES[i]) for i, colour in enumerate(COLOURS))
GAP = 2.0  # pixels between two boxes, at least
TRIES = 60


@dataclass(frozen=True)
class Group:
    """`count` equal objects."""

    count: int
    size: Size
    colour: str
    shape: str

    @property
    def is_held_out(self) -> bool:
        """Whether no training scene has this pair of colour and shape."""
        return (self.colour, self.shape) in HELD_OUT


@dataclass(frozen=True)
class Scene:
    """What is in an image.

    Attributes:
        groups: one or two.
        boxes: of each group, float64 [count, 4], (x1, y1, x2, y2) in pixels: the pixels covered by half or more.
        ground: one of GROUNDS.
        side: of the image in pixels.
    """

    groups: tuple[Group, ...]
    boxes: tuple[NDArray[np.float64], ...]
    ground: str
    side: int

    @property
    def relation(self) -> Relation | None:
        """How the first of two single objects lies to the second; None for other scenes."""
        if len(self.groups) < 2 or any(group.count > 1 for group in self.groups):
            return None
        dx, dy = _centre(self.boxes[0][0]) - _centre(self.boxes[1][0])
        if abs(dx) > abs(dy):
            return "left of" if dx < 0 else "right of"
        return "above" if dy < 0 else "below"


def plan_scene(rng: Rng, side: int, held_out: bool) -> tuple[Scene, Placed]:
    """Return a scene and where its objects go, before anything is painted.

    Args:
        rng: what it is drawn from; `paint_scene` goes on with it.
        side: of the image in pixels.
        held_out: whether it has a pair of colour and shape that is held out.
    """
    while True:
        groups = _choose(rng, held_out)
        placed = _place(rng, groups, side)
        if placed is not None:
            break
    ground = GROUNDS[rng.integers(len(GROUNDS))]
    boxes = [
        np.array([(x, y, x + alpha.shape[1], y + alpha.shape[0]) for x, y, alpha in spots], np.float64)
        for spots in placed
    ]
    return Scene(tuple(groups), tuple(boxes), ground, side), placed


def paint_scene(rng: Rng, scene: Scene, placed: Placed) -> NDArray[np.uint8]:
    """Return the image of a planned scene, uint8 [side, side, 3]."""
    image = _ground(rng, scene.ground, scene.side)
    for group, spots in zip(scene.groups, placed, strict=True):
        tone = np.array(COLOURS[group.colour], np.float32) + rng.uniform(-10, 10, 3).astype(np.float32)
        for x, y, alpha in spots:
            height, width = alpha.shape
            part = image[y : y + height, x : x + width]
            part += alpha[..., None] * (tone - part)
    image *= np.float32(rng.uniform(0.85, 1.1))
    image += rng.normal(0, rng.uniform(1, 5), image.shape).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def _choose(rng: Rng, held_out: bool) -> list[Group]:
    """One object, two, several equal ones, or two or three equal ones and another."""
    kind = rng.choice(4, p=[0.2, 0.4, 0.2, 0.2])
    counts = [[1], [1, 1], [int(rng.integers(2, 5))], [int(rng.integers(2, 4)), 1]][kind]
    sizes: tuple[Size, Size] = ("small", "large")
    groups: list[Group] = []
    for number, count in enumerate(counts):
        while True:
            colour, shape = list(COLOURS)[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))]
            size = sizes[0] if count > 2 else sizes[rng.integers(2)]
            group = Group(count, size, colour, shape)
            wanted = held_out and number == 0
            other = all((g.colour, g.shape) != (colour, shape) for g in groups)
            if other and (group.is_held_out if wanted else not group.is_held_out):
                break
        groups.append(group)
    if rng.random() < 0.5:
        groups.reverse()
    return groups


def _place(rng: Rng, groups: list[Group], side: int) -> Placed | None:
    """Corner and coverage of every object, none near another; None where there is no room."""
    taken: list[tuple[int, int, int, int]] = []
    placed = []
    for group in groups:
        spots = []
        for _ in range(group.count):
            radius = rng.uniform(*RADII[group.size]) * side
            alpha = coverage(group.shape, radius, rng.uniform(-0.25, 0.25))
            height, width = alpha.shape
            for _ in range(TRIES):
                x, y = int(rng.integers(1, side - width)), int(rng.integers(1, side - height))
                box = (x, y, x + width, y + height)
                if all(_apart(box, other) for other in taken):
                    break
            else:
                return None
            taken.append(box)
            spots.append((x, y, alpha))
        placed.append(spots)
    if [group.count for group in groups] == [1, 1]:  # a relation that nobody would dispute
        dx, dy = np.abs(_centre(np.array(taken[0])) - _centre(np.array(taken[1])))
        if max(dx, dy) < 1.5 * min(dx, dy):
            return None
    return placed


def _apart(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[2] + GAP <= b[0] or b[2] + GAP <= a[0] or a[3] + GAP <= b[1] or b[3] + GAP <= a[1]


def _centre(box: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.array([box[0] + box[2], box[1] + box[3]]) / 2.0


def _ground(rng: Rng, kind: str, side: int) -> NDArray[np.float32]:
    """A texture float32 [side, side, 3] of two muted tones of middle lightness, under uneven light."""
    light = rng.uniform(95, 165)
    tone = light + rng.uniform(-16, 16, 3)
    other = tone + rng.choice([-1, 1]) * rng.uniform(18, 34)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    angle, period = rng.uniform(0, math.pi), rng.uniform(0.08, 0.16) * side
    u = (x * math.cos(angle) + y * math.sin(angle)) / period
    v = (y * math.cos(angle) - x * math.sin(angle)) / period
    if kind == "striped":
        share = (u % 1 < 0.5).astype(np.float32)
    elif kind == "checked":
        share = ((u % 1 < 0.5) ^ (v % 1 < 0.5)).astype(np.float32)
    elif kind == "dotted":
        share = (((u % 1) - 0.5) ** 2 + ((v % 1) - 0.5) ** 2 < 0.06).astype(np.float32)
    else:
        share = np.zeros((side, side), np.float32)
    image = tone.astype(np.float32) + share[..., None] * (other - tone).astype(np.float32)
    slope = rng.uniform(-0.1, 0.1, 2)
    image *= (1 + slope[0] * (x / side - 0.5) + slope[1] * (y / side - 0.5))[..., None].astype(np.float32)
    return image
