"""Procedural traffic: a street seen from its side, with road users that move, stop, go on and hide each other.

Sizes follow the distance: who stands higher in the image is farther away and smaller, down to 8 pixels. The camera is
still in some scenes and pans, shakes and stops in others; where it is still, a stopped object gives no events, and only
memory can find it. Litter moves too and is nothing to be found, posts and trees stand in front of others.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.simulation.sprites import PHASES, Sprite, make_sprite
from polyscale.data.noise import Rng, enlarged

CLASSES = ("pedestrian", "two-wheeler", "car")
HEIGHTS = {"pedestrian": 36, "two-wheeler": 30, "car": 26, "post": 46, "litter": 12}
"""Rows at scale 1, about the nearer third of the street."""
SPEEDS = {"pedestrian": (8, 20), "two-wheeler": (25, 60), "car": (40, 110), "litter": (20, 80)}
"""Pixels per second at scale 1."""
NEAREST, FARTHEST = 1.35, 0.3
MARGIN = 64
"""Pixels of background around what the camera sees at first: how far it may pan."""
FRAME = 5_000
"""Microseconds between two images of a scene."""


@dataclass(frozen=True, eq=False)
class Actor:
    """Something that is drawn over the background.

    Attributes:
        label: Class, an index into `CLASSES`; -1 for what is not to be found.
        sprite: Its looks.
        x: Middle by image, in pixels of the background, [T].
        foot: Lower edge by image, [T].
        scale: Size against its sprite, [T].
        phase: Stage of its step or turn, [T].
        speed: Pixels per second by image, 0 while it stands, [T].
    """

    label: int
    sprite: Sprite
    x: NDArray[np.float64]
    foot: NDArray[np.float64]
    scale: NDArray[np.float64]
    phase: NDArray[np.int64]
    speed: NDArray[np.float64]

    def corner(self, index: int) -> tuple[float, float]:
        """Return left and top of the sprite in image `index`."""
        height, width = self.sprite.grey.shape[1:]
        return self.x[index] - width * self.scale[index] / 2, self.foot[index] - height * self.scale[index]


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene of some seconds.

    Attributes:
        size: Rows and columns that the camera sees.
        background: Brightness in [0, 1], float32, larger than `size` by twice `MARGIN`.
        view: Left and top of what is seen, by image, [T, 2].
        actors: From the farthest to the nearest.
    """

    size: tuple[int, int]
    background: NDArray[np.float32]
    view: NDArray[np.float64]
    actors: list[Actor]


def make_scene(seed: int, size: tuple[int, int] = (128, 160), duration: int = 4_000_000) -> Scene:
    """Draw up a scene.

    Args:
        seed: Equal seeds give equal scenes.
        size: Rows and columns.
        duration: Microseconds.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(0, duration + 1, FRAME) / 1e6
    street = Street(size, rng.uniform(0.2, 0.35) * size[0])
    kinds = list(rng.choice(CLASSES, rng.integers(4, 9), p=(0.4, 0.25, 0.35)))
    kinds += ["litter"] * int(rng.integers(0, 4))
    actors = [_mover(rng, kind, street, time) for kind in kinds]
    actors += [_post(rng, street, time) for _ in range(rng.integers(0, 4))]
    actors.sort(key=lambda actor: float(actor.foot.mean()))
    return Scene(size, _background(rng, street), _view(rng, time), actors)


@dataclass(frozen=True)
class Street:
    """Where things stand: `horizon` is the row at which the street ends."""

    size: tuple[int, int]
    horizon: float

    def place(self, nearness: Any) -> tuple[Any, Any]:
        """Return the row of the foot and the scale for a nearness from 0 (far) to 1 (near)."""
        foot = self.horizon + 4 + nearness * (self.size[0] - 6 - self.horizon)
        return foot + MARGIN, FARTHEST + nearness * (NEAREST - FARTHEST)


def _mover(rng: Rng, kind: str, street: Street, time: NDArray[Any]) -> Actor:
    """Make an actor that crosses the image, and stops for a while more often than not."""
    direction = 1 if rng.random() < 0.5 else -1
    pace = _pace(rng, time) if kind != "litter" and rng.random() < 0.65 else np.ones_like(time)
    standing = np.flatnonzero(pace == 0)
    met = int(standing[0]) if len(standing) else int(rng.integers(len(time)))  # where in time it is surely in view
    nearness = np.full_like(time, rng.random() ** 1.3)
    gone = np.concatenate([[0], np.cumsum(pace[1:] * np.diff(time))])  # seconds of motion
    if kind == "car" and rng.random() < 0.3:  # comes nearer or goes away
        nearness = np.clip(nearness + rng.uniform(-0.2, 0.2) * (gone - gone[met]), 0, 1)
    foot, scale = street.place(nearness)
    if kind == "litter":
        foot = foot - rng.uniform(0, 0.5) * street.size[0] * np.abs(np.sin(rng.uniform(0.5, 2) * time))
    speed = rng.uniform(*SPEEDS[kind]) * float(scale[met])
    x = MARGIN + rng.uniform(0.05, 0.95) * street.size[1] + direction * speed * (gone - gone[met])
    height = max(round(HEIGHTS[kind] * float(scale.max())), 4)
    sprite = make_sprite(rng, kind, height, mirrored=direction < 0)
    stride = HEIGHTS[kind] * scale * (0.3 if kind == "litter" else 0.9)
    turns = np.concatenate([[0], np.cumsum(speed * np.diff(gone) / stride[1:])])
    label = CLASSES.index(kind) if kind in CLASSES else -1
    phase = (turns * PHASES).astype(np.int64) % PHASES
    return Actor(label, sprite, x, foot, scale * HEIGHTS[kind] / height, phase, speed * pace)


def _pace(rng: Rng, time: NDArray[Any]) -> NDArray[Any]:
    """Return the share of its speed by image, [T]: slow down within 0.25 s, stand for 0.5 to 2.5 s, start again."""
    stop = rng.uniform(0.15, 0.7) * time[-1]
    start = stop + rng.uniform(0.5, 2.5)
    return np.clip(np.maximum((stop - time) / 0.25, (time - start) / 0.25), 0, 1)


def _post(rng: Rng, street: Street, time: NDArray[Any]) -> Actor:
    """Make a post or tree that stands; the leaves of half of them move."""
    foot, scale = street.place(rng.uniform(0.3, 1))
    height = max(round(HEIGHTS["post"] * scale), 8)
    still = np.zeros_like(time)
    phase = still if rng.random() < 0.5 else rng.uniform(1, 3) * time * PHASES
    x = MARGIN + rng.uniform(0, 1) * street.size[1]
    sprite = make_sprite(rng, "post", height)
    return Actor(-1, sprite, still + x, still + foot, still + 1, phase.astype(np.int64) % PHASES, still)


def _view(rng: Rng, time: NDArray[Any]) -> NDArray[np.float64]:
    """Let the camera stand (4 of 10 scenes) or pan, shake, stop and go on, within the margin."""
    view = np.full((len(time), 2), float(MARGIN))
    if rng.random() < 0.4:
        return view
    pace = _pace(rng, time) if rng.random() < 0.6 else np.ones_like(time)
    gone = np.concatenate([[0], np.cumsum(pace[1:] * np.diff(time))])
    swing, beat = rng.uniform(4, 30), rng.uniform(0.2, 0.6)
    view[:, 0] += swing * np.sin(2 * math.pi * (beat * gone + rng.random()))
    shake = rng.uniform(0, 0.7)
    view[:, 1] += shake * np.sin(2 * math.pi * rng.uniform(2, 6) * gone) * pace
    return view


def _background(rng: Rng, street: Street) -> NDArray[np.float32]:
    """Draw sky, houses, trees, pavement and road, all with a texture."""
    rows, columns = (side + 2 * MARGIN + 2 for side in street.size)
    horizon = round(street.horizon) + MARGIN
    image = np.empty((rows, columns), np.float32)
    image[:horizon] = rng.uniform(0.55, 0.95) + 0.1 * np.linspace(-1, 1, horizon)[:, None]
    image[horizon:] = rng.uniform(0.15, 0.4)
    left = 0
    while left < columns:
        width, height = int(rng.integers(18, 60)), int(rng.integers(8, max(int(street.horizon), 12)))
        if rng.random() < 0.75:
            _house(rng, image[horizon - height : horizon, left : left + width])
        left += width + int(rng.integers(0, 12))
    kerb = horizon + int(rng.integers(3, 10))
    image[horizon:kerb] = rng.uniform(0.35, 0.6)
    for _ in range(rng.integers(1, 4)):  # lane markings
        row, dash = int(rng.integers(kerb, rows - 3)), int(rng.integers(8, 30))
        painted = (np.arange(columns) // dash) % 2 == 0 if rng.random() < 0.7 else np.ones(columns, bool)
        image[row : row + int(rng.integers(1, 3)), painted] = rng.uniform(0.6, 0.9)
    for cells, depth in ((12, 0.25), (60, 0.15), (rows // 2, 0.1)):
        image *= 1 + depth * rng.uniform(0.3, 1) * _noise(rng, (rows, columns), cells)
    return np.clip(image, 0.01, 1)


def _house(rng: Rng, wall: NDArray[np.float32]) -> None:
    wall[:] = rng.uniform(0.15, 0.7)
    step, tone = int(rng.integers(5, 10)), rng.uniform(0.05, 0.9)
    for row in range(3, wall.shape[0] - 3, step):
        for column in range(3, wall.shape[1] - 3, step):
            wall[row : row + step // 2, column : column + step // 2] = tone


def _noise(rng: Rng, shape: tuple[int, int], cells: int) -> NDArray[np.float32]:
    """Return smooth noise in [-1, 1] with about `cells` bumps along the rows."""
    return enlarged(rng.uniform(-1, 1, (cells, max(cells * shape[1] // shape[0], 2))), *shape)
