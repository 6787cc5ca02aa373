"""Images with the statistics of photographs, drawn by seeded code: what the synthetic distortions are applied to.

The world is a dead leaves model (Matheron 1968; Lee, Mumford and Huang 2001): opaque shapes with power-law sizes that
hide one another (shapes.py, worlds.py). A map of their numbers is drawn at twice the size with Pillow; colour, rounded
shading and shadows are looked up by number and averaged down, 1/f textures are multiplied in at full resolution, and
linear light is exposed for its highlights. Sharp and free of noise, so that distortions matter.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import fft

from iqa.data.distortions.pixels import from_linear, smooth_field
from iqa.data.synthetic.outlines import World
from iqa.data.synthetic.worlds import world
from polyscale.data.noise import Field, Rng, frequencies, streaks, white_spectrum

SUPER = 2  # the map of shapes has this many points per pixel and direction


def scene(rng: Rng, height: int, width: int) -> NDArray[np.uint8]:
    """An image uint8 [height, width, 3]; sides from 1 on."""
    things = world(rng, height, width)
    numbers = _drawn(things, height, width)
    light, coarse, streaky = _looked_up(things, numbers)
    light *= _shadow(rng, things, numbers[::SUPER, ::SUPER])[..., None]
    grain = coarse * texture(rng, height, width, rng.uniform(0.8, 1.3))
    grain += streaky * texture(rng, height, width, rng.uniform(0.6, 1.1), rng.uniform(0, math.pi), rng.uniform(0.5, 4))
    grain *= np.exp(1.2 * smooth_field(rng, height, width, 5) - 0.6)  # rougher here, smoother there
    light *= np.exp(np.clip(grain, -1.5, 1.2)[..., None] * rng.uniform(0.8, 1.2, 3).astype(np.float32))
    return _exposed(rng, light)


def _drawn(things: World, height: int, width: int) -> NDArray[np.int32]:
    """The number of the shape that is seen at every point, int32 [SUPER height, SUPER width]; 0 is the background."""
    image = Image.new("I", (SUPER * width, SUPER * height), 0)
    draw = ImageDraw.Draw(image)
    scale = SUPER * min(height, width)
    for number, outline in enumerate(things.outlines, 1):
        draw.polygon((outline * scale).ravel().tolist(), number)
    return np.asarray(image)


def _looked_up(things: World, numbers: NDArray[np.int32]) -> tuple[Field, Field, Field]:
    """Shaded colours [H, W, 3] and the two amounts of texture [H, W], averaged over the points of a pixel."""
    rows, columns = numbers.shape
    short = min(rows, columns)
    x = ((np.arange(columns, dtype=np.float32) + 0.5) / short)[None]
    y = ((np.arange(rows, dtype=np.float32) + 0.5) / short)[:, None]
    table = things.materials.take(numbers, axis=0)  # one pass over the map: colour 3, texture 2, shading 4
    shading = table[..., 5] + table[..., 6] * x + table[..., 7] * y + table[..., 8] * (x * x + y * y)
    table[..., :3] *= np.clip(shading, 0.04, 4)[..., None]
    planes = table[..., :5]
    total = planes[::2, ::2] + planes[1::2, ::2]
    total += planes[::2, 1::2]
    total += planes[1::2, 1::2]
    total *= 1 / SUPER**2
    return total[..., :3], total[..., 3], total[..., 4]


def _shadow(rng: Rng, things: World, numbers: NDArray[np.int32]) -> Field:
    """Factors [H, W]: what lies behind later shapes is darker near them, more so away from the light."""
    height, width = numbers.shape
    depth = (np.float32(255 / max(len(things.shaded) - 1, 1)) * numbers).astype(np.uint8)
    reach = rng.uniform(0.008, 0.03) * min(height, width)
    around = np.asarray(Image.fromarray(depth).filter(ImageFilter.BoxBlur(reach)), np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    offset = (round(0.7 * reach * math.sin(angle)), round(0.7 * reach * math.cos(angle)))
    around = np.roll(around, offset, (0, 1))
    return 1 - things.shaded[numbers] * np.clip((around - depth) * np.float32(1 / 60), 0, 1)


@lru_cache(maxsize=8)
def _log_radius(rows: int, columns: int) -> Field:
    """Log of the radius in cycles per pixel, on the half plane of rfft2; 0 at the constant."""
    radius = frequencies(rows, columns)[0].copy()
    radius[0, 0] = 1
    return np.log(radius).astype(np.float32)


def texture(rng: Rng, height: int, width: int, slope: float, angle: float = 0.0, stretch: float = 0.0) -> Field:
    """Noise of amplitude 1 / f ** slope, zero mean, unit deviation, [height, width]; some of it folded into ridges.

    `stretch` makes streaks across `angle` (radians): 0 isotropic, 3 fur, 6 grass.
    """
    rows, columns = (fft.next_fast_len(max(n, 8), real=True) for n in (height, width))
    gain = _log_radius(rows, columns) * np.float32(-slope)
    if stretch:
        gain += streaks(rows, columns, angle, stretch)
    np.exp(gain, out=gain)
    gain[0, 0] = 0
    field: Field = fft.irfft2(white_spectrum(rng, gain), (rows, columns))[:height, :width]
    field /= float(field.std()) + 1e-6
    if rng.random() < 0.4:
        field = np.abs(field) * np.float32(-1.66)
        field += np.float32(1.32)
    return field


def _exposed(rng: Rng, light: Field) -> NDArray[np.uint8]:
    """Linear light of any range as sRGB bytes: highlights just kept, middle tones near a photographer's grey."""
    height, width = light.shape[:2]
    slope_x, slope_y = rng.uniform(-0.35, 0.35, 2)
    light *= np.exp(np.linspace(-slope_x, slope_x, width, dtype=np.float32))[:, None]
    light *= np.exp(np.linspace(-slope_y, slope_y, height, dtype=np.float32))[:, None, None]
    grey = light[::3, ::3].mean(-1)
    key = math.exp(float(np.log(grey + 1e-3).mean()))
    gain = min(rng.uniform(0.12, 0.26) / key, rng.uniform(0.75, 1.3) / (float(np.percentile(grey, 98)) + 1e-3))
    light *= (gain * rng.uniform(0.94, 1.06, 3)).astype(np.float32)
    return from_linear(light)
