"""Colour: embedded profiles to sRGB, and the conversions between sRGB, linear light, CIELAB and Oklab."""

import functools
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SAME = 2  # grey levels of 255 by which a profile may differ from sRGB and is taken for it

Floats = NDArray[np.floating]
Bytes = NDArray[np.uint8]

_CODES = np.arange(256) / 255
_SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE_D65 = np.array([0.95047, 1.0, 1.08883])
_OKLAB_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


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


def srgb_to_lab(image: Bytes) -> NDArray[np.float64]:
    """Convert sRGB uint8 [..., 3] to CIE L*a*b* under D65: L in [0, 100], a and b about [-110, 110]."""
    relative = srgb_to_linear(_CODES)[image] @ _SRGB_TO_XYZ.T / _WHITE_D65
    f = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def oklab_to_srgb(lab: Floats) -> Floats:
    """Convert Oklab [..., 3] (Ottosson 2020) to sRGB in [0, 1], clipped to its gamut."""
    return linear_to_srgb(np.clip((lab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0, 1))
