"""Seamless-looking natural textures made of filtered noise: the materials of the synthetic camouflage scenes.

A material is one uint8 RGB image. Band-pass noise is shaped in the frequency domain, cells are a jittered-grid Voronoi
with an elliptic metric per cell (after Worley 1996), and a scalar pattern is coloured through a five-stop palette, so
that everything cut from one material shares its histogram. All randomness comes from the generator that is passed in.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscale.data.noise import Field, Rng, enlarged, frequencies, streaks, white_spectrum

# Dark to light, sRGB. Names say what they were mixed for.
PALETTES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "forest floor": ((34, 24, 16), (78, 54, 33), (124, 90, 56), (164, 128, 86), (206, 178, 138)),
    "moss": ((20, 28, 14), (48, 62, 26), (84, 98, 42), (128, 138, 70), (182, 186, 118)),
    "sand": ((96, 78, 56), (148, 122, 90), (184, 158, 122), (208, 186, 152), (232, 216, 188)),
    "grey bark": ((32, 30, 28), (74, 70, 64), (116, 110, 100), (158, 152, 140), (202, 198, 186)),
    "reef": ((16, 40, 48), (42, 84, 86), (96, 122, 100), (158, 152, 110), (206, 196, 156)),
    "lichen rock": ((44, 46, 44), (88, 92, 82), (128, 132, 104), (168, 166, 134), (204, 206, 190)),
    "dry grass": ((60, 46, 22), (112, 90, 44), (158, 134, 72), (194, 172, 106), (226, 210, 154)),
    "red litter": ((38, 18, 12), (90, 42, 24), (138, 72, 38), (174, 110, 62), (212, 162, 108)),
    "deep water": ((12, 22, 34), (30, 54, 70), (58, 90, 102), (104, 130, 132), (160, 178, 170)),
    "snow field": ((92, 98, 108), (142, 150, 158), (184, 190, 196), (212, 216, 218), (240, 241, 240)),
}


@lru_cache(maxsize=8)
def _log_radius(size: int) -> Field:
    """log2 of the radius in cycles per image, on the half plane of rfft2."""
    radius = frequencies(size, size)[0] * size
    radius[0, 0] = 1e-6
    return np.log2(radius).astype(np.float32)


def noise(
    rng: Rng, size: int, wavelength: float, octaves: float = 0.6, angle: float = 0.0, stretch: float = 0.0
) -> Field:
    """Band-pass noise, zero mean and unit deviation, [size, size].

    `wavelength` is in pixels, `octaves` the deviation of the log-frequency band, `angle` (radians) the direction
    across the streaks and `stretch` how oriented it is (0 isotropic, 3 fur, 10 grass).
    """
    log_radius = _log_radius(size)
    exponent = (log_radius - math.log2(size / wavelength)) ** 2
    exponent *= -0.5 / octaves**2
    exponent -= log_radius  # equal energy per octave in two dimensions
    if stretch:
        exponent += streaks(size, size, angle, stretch)
        exponent -= stretch
    np.exp(exponent, out=exponent)
    exponent[0, 0] = 0
    field = np.fft.irfft2(white_spectrum(rng, exponent), s=(size, size)).astype(np.float32)
    # Parseval gives the deviation without another pass over the field; a byte's variance is 2^16 / 12
    field *= size**2 / math.sqrt(float(np.vdot(exponent, exponent)) * 2**18 / 12)
    return field


def smooth_noise(rng: Rng, size: int, cells: int) -> Field:
    """Slow noise: a `cells` x `cells` grid of normal numbers and its border, enlarged to [size, size]."""
    edge = size / cells
    side, start = int(size + 2 * edge), int(edge)
    return enlarged(rng.standard_normal((cells + 2, cells + 2)), side, side)[start : start + size, start : start + size]


def cells(rng: Rng, size: int, pitch: int, aspect: float, angle: float, scatter: float) -> tuple[Field, Field, Field]:
    """Elliptic Voronoi cells `pitch` pixels apart: leaves or pebbles.

    Returns, per pixel, a random number of its cell (unit deviation), the squared elliptic distance to its centre
    (about 0 to 1) and the coordinate across the cell's long axis (about -1 to 1).
    """
    n = -(-size // pitch) + 2
    turn = angle + scatter * rng.standard_normal((n, n))
    ratio = np.sqrt(aspect * rng.uniform(0.8, 1.2, (n, n)))
    long, short = 1 / ratio / (0.75 * pitch), ratio / (0.75 * pitch)
    cos, sin = np.cos(turn), np.sin(turn)
    xx, yy = (long * cos) ** 2 + (short * sin) ** 2, (long * sin) ** 2 + (short * cos) ** 2
    xy = 2 * cos * sin * (long**2 - short**2)
    at_x, at_y = rng.uniform(0, pitch, (2, n, n))
    step = np.arange(pitch) + 0.5
    best = np.full((n, pitch, n, pitch), 1e9, np.float32)
    owner = np.zeros((n, pitch, n, pitch), np.int16)
    number = np.arange(n * n).reshape(n, n)
    wide = np.pad(np.stack([xx, xy, yy, at_x, at_y, number]), ((0, 0), (1, 1), (1, 1)), "wrap")
    for shift_y, shift_x in np.ndindex(3, 3):
        # quadratic form of the neighbouring cell: only the mixed term is a full outer product
        a, b, c, px, py, cell = wide[:, shift_y : shift_y + n, shift_x : shift_x + n]
        dx = (step - (px + (shift_x - 1) * pitch)[..., None])[:, None]
        dy = (step[:, None] - (py + (shift_y - 1) * pitch)[:, None])[..., None]
        distance = (b[:, None, :, None] * dx).astype(np.float32) * dy.astype(np.float32)
        distance += (a[:, None, :, None] * dx * dx).astype(np.float32)
        distance += (c[:, None, :, None] * dy * dy).astype(np.float32)
        nearer = distance < best
        np.minimum(best, distance, out=best)
        np.copyto(owner, cell.astype(np.int16)[:, None, :, None], where=nearer)
    crop = slice(pitch, pitch + size)
    flat = owner.reshape(n * pitch, n * pitch)[crop, crop]
    x = np.arange(pitch, pitch + size, dtype=np.float32) + np.float32(0.5)
    # across = short * (-sin (x - centre_x) + cos (y - centre_y)), the centre's part taken once per cell
    across_x, across_y = -sin * short, cos * short
    grid = np.arange(n) * pitch
    offset = across_x * (at_x + grid[None]) + across_y * (at_y + grid[:, None])
    table = np.stack([rng.standard_normal((n, n)), across_x, across_y, offset], -1).reshape(-1, 4).astype(np.float32)
    own = table.take(flat, axis=0)
    across = own[..., 1] * x[None] + own[..., 2] * x[:, None] - own[..., 3]
    return own[..., 0], best.reshape(n * pitch, n * pitch)[crop, crop], across


def _halved(pattern: Callable[[int, int], Field], size: int, pitch: float) -> Field:
    """A pattern of cells drawn at half resolution where they are large enough, and enlarged: four times faster."""
    half = size // 2
    if pitch < 8 or size % 2:
        return pattern(size, max(4, int(pitch)))
    small = Image.fromarray(np.ascontiguousarray(pattern(half, max(4, int(pitch / 2)))))
    return np.array(small.resize((size, size), Image.Resampling.BICUBIC))


def _litter(rng: Rng, size: int, scale: float, angle: float) -> Field:
    aspect, scatter = rng.uniform(2, 3.6), rng.uniform(0.3, 1.5)

    def leaves(side: int, pitch: int) -> Field:
        own, distance, across = cells(rng, side, pitch, aspect, angle, scatter)
        vein = np.maximum(0, 1 - np.abs(across) * 9)
        return 0.75 * own + 0.5 * vein - 1.3 * distance + 0.35 * across

    return _halved(leaves, size, 18 * scale) + 0.4 * noise(rng, size, 6 * scale, 1.0)


def _gravel(rng: Rng, size: int, scale: float, angle: float) -> Field:
    aspect = rng.uniform(1, 1.7)

    def pebbles(side: int, pitch: int) -> Field:
        own, distance, across = cells(rng, side, pitch, aspect, angle, 1.0)
        return 0.8 * own - 2.2 * distance + 0.7 * across

    return _halved(pebbles, size, 11 * scale) + 0.35 * noise(rng, size, 4 * scale, 1.0)


def _bark(rng: Rng, size: int, scale: float, angle: float) -> Field:
    ridges = np.abs(noise(rng, size, 22 * scale, 0.5, angle, 6))
    return 0.9 - 1.7 * np.exp(-6 * ridges) + 0.55 * noise(rng, size, 7 * scale, 1.0, angle, 2.5)


def _grass(rng: Rng, size: int, scale: float, angle: float) -> Field:
    fan = rng.uniform(0.15, 0.45)
    left = noise(rng, size, 9 * scale, 0.7, angle - fan, 14)
    return np.maximum(left, noise(rng, size, 9 * scale, 0.7, angle + fan, 14))


def _lichen(rng: Rng, size: int, scale: float, angle: float) -> Field:
    patches = np.tanh(4 * (noise(rng, size, 34 * scale, 0.8) - rng.uniform(-0.3, 0.8)))
    return 0.8 * patches + 0.8 * noise(rng, size, 7 * scale, 1.1, angle, 0.5)


def _coral(rng: Rng, size: int, scale: float, angle: float) -> Field:
    maze = np.tanh(2 * noise(rng, size, 14 * scale, 0.25, angle, rng.uniform(0, 1.5)))
    return 0.85 * maze + 0.45 * noise(rng, size, 6 * scale, 1.0)


def _mottle(rng: Rng, size: int, scale: float, angle: float) -> Field:
    return noise(rng, size, 26 * scale, 1.6, angle, rng.uniform(0, 0.6)) + 0.4 * noise(rng, size, 5 * scale, 0.7)


def _spots(rng: Rng, size: int, scale: float, angle: float) -> Field:
    dots = np.tanh(5 * (noise(rng, size, 16 * scale, 0.3) - 0.9))
    return 0.8 * dots + 0.6 * noise(rng, size, 9 * scale, 1.2, angle, 0.8)


FAMILIES: dict[str, Callable[[Rng, int, float, float], Field]] = {
    "litter": _litter,
    "gravel": _gravel,
    "bark": _bark,
    "grass": _grass,
    "lichen": _lichen,
    "coral": _coral,
    "mottle": _mottle,
    "spots": _spots,
}


def palette_table(rng: Rng, name: str) -> NDArray[np.uint8]:
    """A palette as a uint8 [256, 3] table, with its tint and brightness moved a little."""
    stops = np.clip(np.asarray(PALETTES[name]) * rng.uniform(0.88, 1.12, 3) * rng.uniform(0.85, 1.15), 0, 255)
    at = np.linspace(0, 255, len(stops))
    return np.stack([np.interp(np.arange(256), at, stops[:, c]) for c in range(3)], 1).astype(np.uint8)


def material(rng: Rng, size: int, family: str, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One texture of a family coloured by a palette table: uint8 [size, size, 3].

    Wavelengths scale with `size` (they are stated for 256 pixels).
    """
    scale = rng.uniform(0.75, 1.5) * size / 256
    pattern = FAMILIES[family](rng, size, scale, rng.uniform(0, math.pi))
    mean, deviation = float(pattern[::4, ::4].mean()), float(pattern[::4, ::4].std())
    contrast = rng.uniform(30, 52) / (deviation + 1e-6)
    pattern *= contrast
    pattern += rng.uniform(100, 150) - contrast * mean
    np.clip(pattern, 0, 255, out=pattern)
    return table.take(pattern.astype(np.uint8), axis=0)
