"""Colour: embedded profiles to sRGB, and the conversions between sRGB, linear light, CIELAB and Oklab."""

import functools
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SAME = 2  # grey levels of 255 by which a profile may differ from sRGB and is taken for it

Floats = NDArray[np.floating]


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image of mode L, RGB, CMYK or LAB by its embedded ICC profile to RGB in sRGB.

    An image without profile, with one of sRGB, with a damaged one or one for another colour space comes back as it
    is, as viewers show it. LAB needs no profile.
    """
    profile = image.info.get("icc_profile") if image.mode != "LAB" else b""
    transform = None if profile is None else _transform(bytes(profile), image.mode)
    if transform is None:
        return image
    from PIL import ImageCms

    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # only inPlace gives None
    return converted


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """The transform of a profile to sRGB, None where the image is to stay as it is."""
    from PIL import ImageCms

    try:
        if mode == "LAB":
            return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), mode, "RGB")
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != {"L": "GRAY"}.get(mode, mode):
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode == "CMYK":
            return transform
        steps = np.arange(0, 256, 15, dtype=np.uint8)
        if mode == "L":
            colours = np.stack([steps] * 3, 1)[None]
            probe = Image.fromarray(steps[None])
        else:
            colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
            probe = Image.fromarray(colours)
        shown = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform if np.abs(shown - colours).max() > _SAME else None


def srgb_to_linear(values: Floats) -> Floats:
    """Undo the transfer curve of sRGB (IEC 61966-2-1), both in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: Floats) -> Floats:
    """Apply the transfer curve of sRGB, both in [0, 1]."""
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * np.maximum(values, 0.0031308) ** (1 / 2.4) - 0.055)
