"""The embedded default data set: camouflage scenes drawn by seeded code, no download.

A scene is a natural texture (textures.py) under uneven light, with shadows, leaves and twigs that are not foreground,
and one to three animals (shapes.py). An animal is filled with the very material that surrounds it, taken from another
place, turned and drawn finer, and its channels get the mean and deviation of the ring around it: its colour histogram
says little; its outline breaks the pattern, its body is shaded by light from above, and it is in focus where the
ground may be a little less so. Sample i of a split is a function of (seed, split, i, size) alone.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from camo_seg.data.dataset import Sample
from camo_seg.data.synthetic.animals import ANIMALS, silhouette
from camo_seg.data.synthetic.materials import FAMILIES, PALETTES, material, palette_table, smooth_noise
from polyscale.data.noise import Field, Rng
from polyscale.errors import UserError

SPLITS = {"train": 0, "val": 1, "test": 2}
SMALLEST, LARGEST = 0.003, 0.30  # share of the image's area that its animals cover
LIGHT_STEPS = 128  # light is an 8-bit image while it is enlarged
KINDS = tuple(ANIMALS)


class SyntheticSource:
    """`count` scenes of a split at `size` pixels, drawn anew whenever they are read."""

    def __init__(self, split: str, count: int, seed: int = 0, size: int = 256) -> None:
        if count < 1:
            raise UserError(f"the synthetic {split} split needs at least one image, given {count}")
        if size < 32:
            raise UserError(f"synthetic images need at least 32 pixels, given {size}")
        self.names = [f"synthetic_{split}_{index:05d}" for index in range(count)]
        self.split, self.seed, self.size = split, seed, size

    def read(self, index: int) -> Sample:
        """Draw sample `index`."""
        return synthetic_sample(index, self.split, self.seed, self.size)


def synthetic_sample(index: int, split: str = "train", seed: int = 0, size: int = 256) -> Sample:
    """Scene `index` of a split, image uint8 [size, size, 3] and mask bool; the three splits never share a seed."""
    rng = np.random.default_rng([seed, SPLITS[split], index])
    grounds, canvas, second = _ground(rng, size)
    shade = _shade(rng, size)
    for channel in range(3):  # twice as fast as one product with shade[..., None]
        canvas[..., channel] *= shade
    _leaves(rng, canvas)
    mask = np.zeros((size, size), bool)
    count = int(rng.choice([1, 2, 3], p=[0.84, 0.12, 0.04]))
    area = SMALLEST * (LARGEST / SMALLEST) ** (rng.random() ** 0.6)
    for _ in range(count):
        _animal(rng, canvas, mask, grounds, second, max(area / count, SMALLEST))
    canvas *= _light(rng, size)
    canvas *= 1 / LIGHT_STEPS
    grain = np.frombuffer(rng.bytes(canvas.size), np.uint8).astype(np.float32).reshape(canvas.shape)
    grain *= rng.uniform(0.01, 0.05)
    canvas += grain
    return Sample(np.clip(canvas, 0, 255, out=canvas).astype(np.uint8), mask)


def _ground(rng: Rng, size: int) -> tuple[list[Image.Image], Field, Field]:
    """The materials, in focus; the ground made of them [S, S, 3]; how far it is the second one."""
    families, palettes = list(FAMILIES), list(PALETTES)
    name = palettes[rng.integers(len(palettes))]
    textures = [material(rng, size, families[rng.integers(len(families))], palette_table(rng, name))]
    second = np.zeros((size, size), np.float32)
    if rng.random() < 0.2:
        name = palettes[rng.integers(len(palettes))] if rng.random() < 0.7 else name
        textures.append(material(rng, size, families[rng.integers(len(families))], palette_table(rng, name)))
        angle = rng.uniform(0, 2 * math.pi)
        line = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        edge = math.cos(angle) * line[None] + math.sin(angle) * line[:, None] + rng.uniform(-0.25, 0.25)
        second = np.clip((edge + 0.06 * smooth_noise(rng, size, 4)) * (size / 3) + 0.5, 0, 1)
    focus = rng.uniform(0.6, 2.2) * size / 256 if rng.random() < 0.9 else 0.0
    sharp = [Image.fromarray(texture) for texture in textures]
    soft = [np.asarray(image.filter(ImageFilter.BoxBlur(focus)) if focus else image, np.float32) for image in sharp]
    canvas = soft[0]
    if len(soft) > 1:
        canvas = canvas + (soft[1] - canvas) * second[..., None]
    return sharp, canvas, second


def _place(rng: Rng, shape: tuple[int, ...], size: int, margin: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """A random place where the box without its margin lies inside: slices into the image and into the box."""
    outer, inner = [], []
    for length in shape:
        start = int(rng.integers(0, max(size - length + 2 * margin, 0) + 1)) - margin
        stop = min(start + length, size)
        outer.append(slice(max(start, 0), stop))
        inner.append(slice(max(start, 0) - start, stop - start))
    return tuple(outer), tuple(inner)


def _log_uniform(rng: Rng, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _shade(rng: Rng, size: int) -> Field:
    """Factors [S, S] on the ground: shadows and light patches in the shape of animals, and twigs; never foreground."""
    shade = np.ones((size, size), np.float32)
    for _ in range(rng.integers(0, 3)):
        distance = silhouette(rng, KINDS[rng.integers(len(KINDS))], _log_uniform(rng, 0.004, 0.12), size, 6, grid=32)
        at, part = _place(rng, distance.shape, size, 6)
        depth = rng.uniform(-0.4, -0.15) if rng.random() < 0.5 else rng.uniform(0.12, 0.3)
        shade[at] *= 1 + depth * np.clip(0.5 - distance[part] / rng.uniform(2, 9), 0, 1)
    line = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    for _ in range(rng.integers(0, 3)):
        slope, bend, offset = rng.uniform(-1, 1), rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.5)
        across = line[:, None] - (slope * line + bend * line**2 + offset)[None]
        across *= size / math.hypot(1, slope)
        alpha = np.clip(rng.uniform(0.002, 0.007) * size + 0.5 - np.abs(across), 0, 1)
        depth = rng.uniform(-0.5, -0.2) if rng.random() < 0.5 else rng.uniform(0.15, 0.4)
        target = shade.T if rng.random() < 0.5 else shade
        target *= 1 + depth * alpha
    return shade


def _leaves(rng: Rng, canvas: Field) -> None:
    """Flat leaves of one shape in colours that occur in the image, drawn into it."""
    size = len(canvas)
    count = rng.integers(0, 4)
    if count == 0:
        return
    leaf = np.clip(0.5 - silhouette(rng, "lobed", _log_uniform(rng, 0.0008, 0.01), size, 2, grid=32) / 1.5, 0, 1)
    for turn in rng.integers(0, 4, count):
        alpha = np.rot90(leaf, turn)
        at, part = _place(rng, alpha.shape, size, 2)
        tone = canvas[rng.integers(size), rng.integers(size)] * np.float32(rng.uniform(0.7, 1.3))
        canvas[at] += 0.85 * alpha[part][..., None] * (tone - canvas[at])


def _animal(
    rng: Rng, canvas: Field, mask: NDArray[np.bool_], grounds: list[Image.Image], second: Field, area: float
) -> None:
    """Draw one animal into image and mask, in place."""
    size = len(canvas)
    margin = max(6, int(0.06 * size))
    distance = silhouette(rng, KINDS[rng.integers(len(KINDS))], area, size, margin)
    at, part = _place(rng, distance.shape, size, margin)
    distance = distance[part]
    deepest = max(1.0, -float(distance.min()))
    own = int(second[at][distance < 0].mean() > 0.5)
    skin = _patch(rng, grounds[own], size, distance.shape)
    around = canvas[at]
    _match(rng, skin, around, distance, margin)
    tone = skin[..., 1]
    spread = min(1.6, 0.25 * deepest) * rng.uniform(0.2, 1) / (float(tone[::4, ::4].std()) + 1)
    distance = distance + np.clip((tone - float(tone[::4, ::4].mean())) * spread, -2, 2)  # a fringe along its pattern

    skin *= _relief(rng, distance, deepest)[..., None]
    contact = 1 - np.abs(distance) / max(3.0, 0.2 * deepest)
    around *= (1 - rng.uniform(0.25, 0.55) * np.clip(contact, 0, 1))[..., None]
    skin -= around
    skin *= np.clip(0.5 - distance / rng.uniform(1.2, 2.5), 0, 1)[..., None]
    around += skin
    mask[at] |= distance < 0


def _patch(rng: Rng, ground: Image.Image, size: int, shape: tuple[int, ...]) -> Field:
    """A piece of the material [h, w, 3] from elsewhere in it, turned and drawn finer."""
    height, width = shape
    turn, diagonal = rng.uniform(0.35, 2.8), math.hypot(height, width)
    zoom = max(rng.uniform(0.45, 0.8), diagonal / (2 * size))
    reach, extent = diagonal / zoom / 2, size
    if 2 * reach > size:
        ground, extent = _mirrored(ground), 2 * size
    cos, sin = math.cos(turn) / zoom, math.sin(turn) / zoom
    centre_x, centre_y = rng.uniform(reach, max(extent - reach, reach), 2)
    matrix = (
        cos, -sin, centre_x - cos * width / 2 + sin * height / 2,
        sin, cos, centre_y - sin * width / 2 - cos * height / 2,
    )  # fmt: skip
    patch = ground.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(patch).astype(np.float32)


def _mirrored(ground: Image.Image) -> Image.Image:
    """The material and its mirror images, two by two: room for large patches of any direction."""
    texture = np.asarray(ground)
    row = np.concatenate([texture, texture[:, ::-1]], 1)
    return Image.fromarray(np.concatenate([row, row[::-1]]))


def _match(rng: Rng, skin: Field, around: Field, distance: Field, margin: int) -> None:
    """Give the skin, per channel, about the mean and deviation of the ring around it, in place."""
    sparse = (slice(None, None, 2), slice(None, None, 2)) if distance.size > 4000 else (slice(None), slice(None))
    far = distance[sparse]
    own, other = skin[sparse][far < 0], around[sparse][(far > 1) & (far < margin)]
    gain = np.clip(other.std(0) / (own.std(0) + 1) * rng.uniform(0.85, 1.15), 0.5, 1.6).astype(np.float32)
    skin -= own.mean(0)
    skin *= gain
    skin += other.mean(0) * np.float32(rng.uniform(0.9, 1.1))


def _relief(rng: Rng, distance: Field, deepest: float) -> Field:
    """Brightness factors of a dome over the silhouette, lit from above; 1 outside."""
    depth = np.clip(distance * (-1 / deepest), 0, 1)
    height = np.sqrt(depth * (2 - depth))
    height *= rng.uniform(0.35, 0.7) * min(deepest, 12.0) / 2
    lean = rng.uniform(-0.4, 0.4)
    light = np.ones_like(height)
    light[1:-1, 1:-1] += np.clip(
        height[2:, 1:-1] - height[:-2, 1:-1] + lean * (height[1:-1, 2:] - height[1:-1, :-2]), -0.5, 0.5
    )
    return light


def _light(rng: Rng, size: int) -> NDArray[np.uint8]:
    """Uneven coloured light [S, S, 3] in units of 1 / LIGHT_STEPS: a slope, sometimes dappled shade; on everything."""
    side = max(8, size // 4)  # all of it is slow: a quarter of the points is enough
    line = np.linspace(-1, 1, side, dtype=np.float32)
    slope_x, slope_y = rng.uniform(-0.18, 0.18, 2)
    light = 1 + slope_x * line[None] + slope_y * line[:, None]
    if rng.random() < 0.5:
        shade = smooth_noise(rng, side, int(rng.integers(3, 9)))
        shade = np.clip(0.5 + rng.uniform(0.5, 4) * (shade - 0.4), 0, 1)
        light *= 1 - rng.uniform(0.1, 0.4) * shade
    tint = smooth_noise(rng, side, 5)
    colours = light[..., None] * (1 + tint[..., None] * rng.uniform(-0.04, 0.04, 3))
    steps = Image.fromarray(np.clip(colours * LIGHT_STEPS, 0, 255).astype(np.uint8))
    return np.asarray(steps.resize((size, size), Image.Resampling.BILINEAR))
