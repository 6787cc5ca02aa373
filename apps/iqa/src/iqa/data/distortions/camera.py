"""Compression, and the chains of a camera: depth of field, shaken exposures, blown highlights, images sent on."""

import io
import math
from typing import Any

import numpy as np
from PIL import Image

from iqa.data.distortions.pixels import (
    LINEAR,
    Bytes,
    convolved,
    curve,
    disc,
    from_linear,
    path_kernel,
    smooth_field,
)
from polyscale.data.noise import Rng

LONGEST = 16000  # pixels a side that every codec takes (WebP ends at 16383)
LAYERS = 3  # of blur between sharp and fully out of focus


def _coded(image: Bytes, **options: Any) -> Bytes:
    """The image through a codec of Pillow and back; sides beyond LONGEST go in pieces."""
    for axis in (0, 1):
        if image.shape[axis] > LONGEST:
            pieces = np.array_split(image, math.ceil(image.shape[axis] / LONGEST), axis)
            return np.concatenate([_coded(piece, **options) for piece in pieces], axis)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, **options)
    return np.asarray(Image.open(stream).convert("RGB"))


def jpeg(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Quality 100 - `strength` of libjpeg, chroma at half resolution."""
    return _coded(image, format="JPEG", quality=max(1, round(100 - strength)), subsampling=2)


def jpeg2000(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Compression ratio `strength`, irreversible wavelets."""
    resolutions = min(6, 1 + int(math.log2(min(image.shape[:2]))))
    return _coded(
        image,
        format="JPEG2000",
        irreversible=True,
        quality_mode="rates",
        quality_layers=[strength],
        num_resolutions=resolutions,
    )


def webp(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Quality 100 - `strength` of libwebp."""
    return _coded(image, format="WEBP", quality=max(0, round(100 - strength)), method=1)


def recompression(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Shrunk by 1 + strength, JPEG, enlarged, JPEG again: an image that was sent on."""
    height, width = image.shape[:2]
    small = (max(1, round(width / (1 + strength))), max(1, round(height / (1 + strength))))
    reduced = np.asarray(Image.fromarray(image).resize(small, Image.Resampling.BICUBIC))
    first = _coded(reduced, format="JPEG", quality=round(90 / (1 + strength)))
    enlarged = np.asarray(Image.fromarray(first).resize((width, height), Image.Resampling.BILINEAR))
    return _coded(enlarged, format="JPEG", quality=round(95 / (1 + strength)))


def depth_defocus(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """Discs in linear light whose radius follows a smooth random depth, up to `strength` pixels; a part stays sharp."""
    height, width = image.shape[:2]
    depth = np.abs(smooth_field(rng, height, width, 2) - np.float32(rng.choice([0.0, 1.0])))
    place = depth * LAYERS
    light = LINEAR.take(image)
    blurred = convolved(light, [disc(strength * (i + 1) / LAYERS) for i in range(LAYERS)])
    result = light * np.clip(1 - place, 0, 1)[..., None]
    for i, layer in enumerate(blurred):
        result += layer * np.clip(1 - np.abs(place - (i + 1)), 0, 1)[..., None]
    return from_linear(result)


def camera_shake(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """A hand's path during the exposure, in linear light; `strength` is its root mean square reach in pixels."""
    turns = rng.standard_normal((2, 4, 2))
    t = np.linspace(0, 1, 96)[:, None, None]
    octaves = np.arange(1, 5)[:, None]
    path = (turns[0] * np.sin(math.pi * octaves * t) + turns[1] * np.cos(math.pi * octaves * t)) / octaves**1.5
    path = path.sum(1)
    path -= path.mean(0)
    path *= strength / max(math.sqrt(float((path**2).sum(1).mean())), 1e-6)
    return from_linear(convolved(LINEAR.take(image), [path_kernel(path)])[0])


def exposure_clip(image: Bytes, strength: float, rng: Rng) -> Bytes:
    """`strength` stops too much light with hard clipping, or, as often, shadows crushed by an offset."""
    if rng.random() < 0.5:
        return from_linear(LINEAR * np.float32(2**strength)).take(image)
    floor = 255 * (1 - 2 ** (-0.5 * strength))
    return curve(image, (np.arange(256.0) - floor) * (255 / (255 - floor / 2)))
