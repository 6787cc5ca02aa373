"""The embedded default data set: camouflage scenes drawn by seeded code, no download.

A scene is a natural texture (textures.py) under uneven light, with shadows, leaves and twigs that are not foreground,
and one to three animals (shapes.py). An animal is filled with the very material that surrounds it, taken from another
place, turned and rescaled, and its channels get the mean and deviation of the ring around it: its colour histogram
and spectrum say little, its outline breaks the pattern, and its body is faintly shaded. Sample i of a split is a
function of (seed, split, i, size) alone.
"""

import numpy as np
from numpy.typing import NDArray

from polyscale.errors import UserError

from .dataset import Sample
from .shapes import ANIMALS, silhouette
from .textures import FAMILIES, PALETTES, material, palette_table, smooth_noise

Picture = NDArray[np.float32]
Rng = np.random.Generator

SPLITS = {"train": 0, "val": 1, "test": 2}
SMALLEST, LARGEST = 0.003, 0.30  # share of the picture's area, log-uniform between


class SyntheticSource:
    """`count` scenes of a split at `size` pixels, drawn anew whenever they are read."""

    def __init__(self, split: str, count: int, seed: int = 0, size: int = 256) -> None:
        if count < 1:
            raise UserError(f"the synthetic {split} split needs at least one picture, given {count}")
        self.names = [f"synthetic_{split}_{index:05d}" for index in range(count)]
        self.split, self.seed, self.size = split, seed, size

    def read(self, index: int) -> Sample:
        return synthetic_sample(index, self.split, self.seed, self.size)


def synthetic_sample(index: int, split: str = "train", seed: int = 0, size: int = 256) -> Sample:
    """Scene `index` of a split; the three splits never share a seed. About 10 ms at 256 pixels on one core."""
    rng = np.random.default_rng([seed, SPLITS[split], index])
    grounds, picture, side = _ground(rng, size)
    picture = _distractors(rng, picture)
    mask = np.zeros((size, size), bool)
    count = int(rng.choice([1, 2, 3], p=[0.84, 0.12, 0.04]))
    area = float(np.exp(rng.uniform(np.log(SMALLEST * count), np.log(LARGEST)))) / count
    for _ in range(count):
        kind = str(rng.choice(list(ANIMALS)))
        _animal(rng, picture, mask, grounds, side, kind, area)
    picture *= _light(rng, size)
    grain = rng.random((size, size), np.float32) - np.float32(0.5)
    picture += grain[..., None] * np.float32(rng.uniform(0.01, 0.05))
    return Sample((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8), mask)


def _ground(rng: Rng, size: int) -> tuple[list[Picture], Picture, NDArray[np.bool_]]:
    """One or two materials, the scene made of them, and where the second one is."""
    families, palettes = list(FAMILIES), list(PALETTES)
    name = str(rng.choice(palettes))
    grounds = [material(rng, size, str(rng.choice(families)), palette_table(rng, name))]
    if rng.random() > 0.3:
        return grounds, grounds[0].copy(), np.zeros((size, size), bool)
    if rng.random() < 0.5:
        name = str(rng.choice(palettes))
    grounds.append(material(rng, size, str(rng.choice(families)), palette_table(rng, name)))
    angle = rng.uniform(0, 2 * np.pi)
    line = np.linspace(-1, 1, size, dtype=np.float32)
    border = np.cos(angle) * line[None] + np.sin(angle) * line[:, None] + rng.uniform(-0.5, 0.5)
    border = (border * size / 2 + smooth_noise(rng, size, 4) * 0.06 * size).astype(np.float32)
    blend = np.clip(border / 3 + 0.5, 0, 1)[..., None]
    return grounds, grounds[0] + (grounds[1] - grounds[0]) * blend, border > 0


def _place(rng: Rng, shape: tuple[int, int], size: int, margin: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """A random place where the box without its margin lies inside: slices into the picture and into the box."""
    outer, inner = [], []
    for length in shape:
        free = max(size - (length - 2 * margin), 0)
        start = int(rng.integers(0, free + 1)) - margin
        stop = min(start + length, size)
        outer.append(slice(max(start, 0), stop))
        inner.append(slice(max(start, 0) - start, stop - start))
    return (outer[0], outer[1]), (inner[0], inner[1])


def _distractors(rng: Rng, picture: Picture) -> Picture:
    """Shadows and light patches in the shape of animals, flat leaves, twigs: contrast without an object."""
    size = len(picture)
    for _ in range(rng.integers(0, 4)):
        area = float(np.exp(rng.uniform(np.log(0.004), np.log(0.15))))
        distance = silhouette(rng, str(rng.choice(list(ANIMALS))), area, size, 6)
        at, part = _place(rng, distance.shape, size, 6)
        alpha = np.clip(0.5 - distance[part] / rng.uniform(1.5, 8), 0, 1)[..., None]
        picture[at] *= 1 + alpha * np.float32(rng.choice([rng.uniform(-0.4, -0.15), rng.uniform(0.12, 0.3)]))
    for _ in range(rng.integers(0, 5)):
        distance = silhouette(rng, "lobed", float(np.exp(rng.uniform(np.log(0.0008), np.log(0.01)))), size, 2)
        at, part = _place(rng, distance.shape, size, 2)
        alpha = np.clip(0.5 - distance[part] / 1.5, 0, 1)[..., None]
        tone = picture[rng.integers(size), rng.integers(size)] * np.float32(rng.uniform(0.7, 1.4))
        vein = 1 + 0.02 * np.clip(-distance[part], 0, 8)[..., None]
        picture[at] += alpha * (tone * vein * 0.85 + 0.15 * picture[at] - picture[at])
    for _ in range(rng.integers(0, 3)):
        _twig(rng, picture)
    return picture


def _twig(rng: Rng, picture: Picture) -> None:
    """A bent stroke from edge to edge, dark or light."""
    size = len(picture)
    line = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    slope, bend, offset = rng.uniform(-1, 1), rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.5)
    width = rng.uniform(0.004, 0.014) * size
    across = (line[:, None] - (slope * line + bend * line**2 + offset)[None]) * size / np.hypot(1, slope)
    alpha = np.clip(width / 2 + 0.5 - np.abs(across), 0, 1)[..., None]
    target = picture.transpose(1, 0, 2) if rng.random() < 0.5 else picture
    target *= 1 + alpha * np.float32(rng.choice([rng.uniform(-0.5, -0.2), rng.uniform(0.15, 0.4)]))


def _resampled(rng: Rng, ground: Picture, shape: tuple[int, int], turn: float, zoom: float) -> Picture:
    """A patch of the material from elsewhere, turned by `turn`, zoomed, mirrored at the material's edges."""
    size = len(ground)
    y, x = (np.arange(n, dtype=np.float32) for n in shape)
    cos, sin = np.float32(np.cos(turn) / zoom), np.float32(np.sin(turn) / zoom)
    start_x, start_y = rng.uniform(0, 2 * size, 2).astype(np.float32)
    flip = np.float32(rng.choice([-1, 1]))

    def mirrored(at: Picture) -> tuple[NDArray[np.intp], NDArray[np.intp], Picture]:
        at = np.abs((at % (2 * size - 2)) - (size - 1))
        floor = np.minimum(at.astype(np.intp), size - 2)
        return floor, floor + 1, at - floor

    left, right, part_x = mirrored(start_x + cos * x[None] - flip * sin * y[:, None])
    top, bottom, part_y = mirrored(start_y + sin * x[None] + flip * cos * y[:, None])
    flat = ground.reshape(-1, 3)
    part_x, part_y = part_x[..., None], part_y[..., None]
    upper = flat.take(top * size + left, 0) * (1 - part_x) + flat.take(top * size + right, 0) * part_x
    lower = flat.take(bottom * size + left, 0) * (1 - part_x) + flat.take(bottom * size + right, 0) * part_x
    return upper * (1 - part_y) + lower * part_y


def _animal(
    rng: Rng,
    picture: Picture,
    mask: NDArray[np.bool_],
    grounds: list[Picture],
    side: NDArray[np.bool_],
    kind: str,
    area: float,
) -> None:
    """Draw one animal into picture and mask, in place."""
    size = len(picture)
    margin = max(6, int(0.06 * size))
    distance = silhouette(rng, kind, area, size, margin)
    at, part = _place(rng, distance.shape, size, margin)
    distance = distance[part]
    deepest = max(1.0, float(-distance.min()))
    inside = distance < 0
    ground = grounds[int(side[at][inside].mean() > 0.5)] if len(grounds) > 1 else grounds[0]

    turn = rng.choice([-1, 1]) * rng.uniform(0.35, 1.57)
    zoom = float(rng.choice([rng.uniform(0.65, 0.9), rng.uniform(1.1, 1.4)]))
    skin = _resampled(rng, ground, distance.shape, turn, zoom)
    around = picture[at]
    skin = _matched(rng, skin, inside, around, (distance > 1) & (distance < margin))
    tone = skin.mean(2)
    fringe = min(1.6, 0.25 * deepest) * rng.uniform(0.2, 1) / (tone.std() + 1e-3)
    distance = distance + np.clip(tone - tone.mean(), -0.4, 0.4) * np.float32(fringe)

    skin *= (1 + np.float32(rng.uniform(0.1, 0.3)) * _relief(rng, distance, deepest))[..., None]
    shadow = np.float32(rng.uniform(0.05, 0.3)) * np.clip(1 - np.abs(distance) / max(2.5, 0.15 * deepest), 0, 1)
    around *= 1 - (shadow * (distance > -1))[..., None]
    alpha = np.clip(0.5 - distance / np.float32(rng.uniform(1.2, 2.5)), 0, 1)[..., None]
    around += alpha * (skin - around)
    mask[at] |= distance < 0


def _matched(rng: Rng, skin: Picture, inside: NDArray[np.bool_], around: Picture, ring: NDArray[np.bool_]) -> Picture:
    """The skin with, per channel, about the mean and deviation of the ring around the animal."""
    own, other = skin[inside], around[ring]
    gain = other.std(0) / (own.std(0) + 1e-3) * rng.uniform(0.85, 1.15)
    return (skin - own.mean(0)) * np.clip(gain, 0.5, 1.6) + other.mean(0) * np.float32(rng.uniform(0.95, 1.05))


def _relief(rng: Rng, distance: Picture, deepest: float) -> Picture:
    """Shading in about [-1, 1] of a dome over the silhouette, lit from above."""
    depth = np.clip(-distance / deepest, 0, 1)
    height = np.sqrt(depth * (2 - depth))
    down, right = np.gradient(height * min(deepest, 12))
    lean = rng.uniform(-0.8, 0.8)
    return np.clip(down + lean * right, -1, 1) * (distance < 0)


def _light(rng: Rng, size: int) -> Picture:
    """Uneven light [S, S, 1]: a slope, and sometimes dappled shade with soft edges, over ground and animal alike."""
    line = np.linspace(-1, 1, size, dtype=np.float32)
    slope_x, slope_y = rng.uniform(-0.18, 0.18, 2).astype(np.float32)
    light = 1 + slope_x * line[None] + slope_y * line[:, None]
    if rng.random() < 0.5:
        shade = smooth_noise(rng, size, int(rng.integers(3, 9)))
        edge = np.float32(rng.uniform(2, 12))
        light *= 1 - np.float32(rng.uniform(0.1, 0.4)) / (1 + np.exp(-edge * (shade - 0.4)))
    return light[..., None]
