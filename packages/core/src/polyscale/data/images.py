"""Reading any image safely into plain uint8 RGB, reading masks by the field's convention, writing PNG atomically.

Pillow decodes (`polyscale.data.decoding`); this file settles what Pillow leaves to the caller: transparency, 16-bit and
float samples, CMYK, palettes, and the same for arrays and tensors. Torch is imported only when a tensor is made.
"""

import contextlib
import io
import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from polyscale.data.decoding import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    ImageError,
    ImageSource,
    decode_smaller,
    name_of,
    opened,
    orientation,
    spare_factor,
    turned,
    upright,
)
from polyscale.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "ImageError",
    "ImageSource",
    "image_size",
    "read_image",
    "read_mask",
    "replace_file",
    "resize_map",
    "save_png",
    "to_tensor",
]

_BAND = 1 << 22  # pixels converted at a time, where a second full-size copy is to be avoided


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, at_least: int | None = None) -> np.ndarray:
    """Read `source` as a writeable uint8 array [H, W, 3], RGB, turned upright.

    source: a path, encoded bytes, a PIL image, an array [H, W], [H, W, 1|3|4] or a tensor [H, W], [1|3|4, H, W].
    Arrays and tensors hold bool, uint8, uint16 or floats in [0, 1]. Of an animation the first frame is read.
    Transparency is laid over white, which is what an image viewer shows. 16-bit samples are scaled to 8 bit, not
    clipped; float files hold [0, 1] or, where any value is above 1, [0, 255]. CMYK is converted without a profile.
    Safe to call from several threads and processes at once.

    at_least: how many pixels are enough, for a caller that shrinks the image anyway: both sides are then divided by
    8, 4 or 2 (the most that leaves so many), and a 100-megapixel JPEG costs the memory of 1/64 of its pixels. JPEG
    files are decoded smaller by libjpeg, from the low frequencies of each 8x8 block: at 1/8 its mean, at 1/4 and 1/2 a
    little sharper than a mean. Everything else is decoded whole and averaged over squares. Where four times the pixels
    are asked for that an anti-aliased resize then makes of them, the outcome differs from that of the full image by
    a third of a grey level of 255 on average; sides that do not divide evenly are stretched by less than one square.
    An image with fewer than four times `at_least` pixels is read exactly as without.

    Raises ImageError for what is missing, damaged, cut short, not an image, or larger than `max_pixels`
    (Pillow's own bound, twice PIL.Image.MAX_IMAGE_PIXELS, holds as well).
    """
    name = name_of(source)
    values = _as_array(source, name)
    if values is not None:
        return _array_to_rgb(values, name, at_least)
    with opened(source, name, max_pixels) as image:
        factor = spare_factor(image.size, at_least)
        # The caller's own image must not change, and a draft changes it.
        if factor == 1 or (image is not source and decode_smaller(image, factor)):
            return np.array(_to_rgb(upright(image), name))
        image.load()
        return np.array(turned(_reduced(image, factor, name), orientation(image)))


def read_mask(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a foreground mask as bool [H, W]: 8-bit grey > 128, the convention of COD and SOD evaluation.

    Departures, each for files that the plain rule reads as empty: a grey mask whose maximum is 1 holds 0/1 and is
    foreground where 1; in a mask with a coloured palette (VOC, DAVIS) every colour but black is foreground;
    transparent pixels are background. A mask that is neither black nor anywhere brighter than 128 is an ImageError
    (label maps, masks of another scale), because reading it as empty would be silently wrong.
    """
    name = name_of(source)
    values = _as_array(source, name)
    if values is not None:
        zero_one = values.dtype.kind == "u" and values.max(initial=0) == 1
        grey = _mask_to_grey(
            Image.fromarray(_array_to_8bit(values.astype(np.uint8) if zero_one else values, name)), name
        )
    else:
        with opened(source, name, max_pixels) as image:
            grey = _mask_to_grey(upright(image), name)
    if grey.max() == 1:
        return grey == 1
    mask: np.ndarray = grey > 128
    if not mask.any() and grey.any():
        raise ImageError(f"{name}: brightest value {grey.max()} of the mask is not above 128; save it as 0/255 or 0/1")
    return mask


def image_size(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) that `read_image` would give, from the header alone (a damaged body is not noticed)."""
    name = name_of(source)
    values = _as_array(source, name)
    if values is not None:
        height, width = _array_to_8bit(values, name).shape[:2]
        return height, width
    with opened(source, name, max_pixels) as image:
        width, height = image.size
        # Pillow reports the size of a TIFF already turned.
        sideways = image.format != "TIFF" and orientation(image) >= 5
    return (width, height) if sideways else (height, width)


def to_tensor(array: np.ndarray) -> "torch.Tensor":
    """uint8 [H, W, 3] to a contiguous float32 tensor [3, H, W] in [0, 1]."""
    import torch

    if array.dtype != np.uint8 or array.ndim != 3:
        raise ValueError(f"array must be uint8 [H, W, C], given {array.dtype} {list(array.shape)}")
    planes = torch.from_numpy(np.require(array, requirements="W")).permute(2, 0, 1)
    # One pass that widens and reorders: 0.7 of the time of reordering first.
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def resize_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of a float map [h, w] to float32 [H, W], size = (H, W).

    Enlarging equals torch's interpolate(mode="bilinear", align_corners=False); shrinking is anti-aliased.
    """
    if values.ndim != 2:
        raise ValueError(f"values must be a map [h, w], given shape {list(values.shape)}")
    height, width = size
    plane = np.ascontiguousarray(values, dtype=np.float32)
    if plane.shape == (height, width):
        return plane.copy()
    resized = np.array(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
    return np.clip(resized, plane.min(), plane.max(), out=resized)  # rounding may step outside by one ulp


def save_png(path: str | Path, array: np.ndarray) -> Path:
    """Write bool, uint8, uint16 or float in [0, 1], shaped [H, W] or (all but uint16) [H, W, 3|4], as PNG.

    bool becomes 0/255, float 8 bit. The file appears whole or not at all; missing parent folders are made.
    """
    if array.ndim == 2 and array.dtype == np.uint16:
        picture = Image.fromarray(array)
    else:
        picture = Image.fromarray(_array_to_8bit(array, "array"))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return replace_file(path, buffer.getvalue())


def replace_file(path: str | Path, content: bytes) -> Path:
    """Write `content` beside `path` and move it into place in one step, so no reader ever sees half a file."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)  # noqa: PTH105 - the step that tests interrupt
    except OSError as error:
        raise UserError(f"{name_of(path)}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode[0] in "IF":
        return Image.fromarray(_samples_to_8bit(np.asarray(image), name)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    return _over(image, "white")


def _reduced(image: Image.Image, factor: int, name: str) -> Image.Image:
    """The mean over squares of `factor` pixels a side as RGB; equals reducing the whole, without a full-size copy."""
    if image.mode[0] in "IF":  # whose scale is decided on the whole image
        image = Image.fromarray(_samples_to_8bit(np.asarray(image), name))
    width, height = image.size
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, _BAND // (width * factor))
    for top in range(0, height, rows):
        band = _to_rgb(image.crop((0, top, width, min(top + rows, height))), name)
        small.paste(band.reduce(factor), (0, top // factor))
    return small


def _over(image: Image.Image, background: str) -> Image.Image:
    rgba = image.convert("RGBA")
    flat = Image.new("RGB", rgba.size, background)
    flat.paste(rgba, mask=rgba.getchannel("A"))
    return flat


def _mask_to_grey(image: Image.Image, name: str) -> np.ndarray:
    if image.mode[0] in "IF":
        samples = np.asarray(image)
        return samples.astype(np.uint8) if samples.max() == 1 and image.mode != "F" else _samples_to_8bit(samples, name)
    if image.has_transparency_data:
        image = _over(image, "black")
    elif image.mode == "P":
        colours = np.asarray(image.convert("RGB"))
        if (colours != colours[..., :1]).any():
            return np.where(colours.any(axis=2), np.uint8(255), np.uint8(0))
    return np.asarray(image.convert("L"))


def _samples_to_8bit(samples: np.ndarray, name: str) -> np.ndarray:
    """Modes I;16, I and F to uint8. Integers are 16 bit, which is how Pillow hands them over."""
    low, high = float(samples.min()), float(samples.max())
    floats = samples.dtype.kind == "f"
    if floats and not (low >= 0 and high <= 255):  # also when NaN
        raise ImageError(f"{name}: float samples from {low:g} to {high:g}; accepted are [0, 1] and [0, 255]")
    if not floats and (low < 0 or high > 65535):
        raise ImageError(f"{name}: 32-bit samples from {low:g} to {high:g}; accepted is 0 to 65535")
    scale = 255 if high <= 1 else 1
    result = np.empty(samples.shape, np.uint8)
    rows = max(1, _BAND * len(samples) // samples.size)
    for top in range(0, len(samples), rows):  # the wider numbers in between never exist for the whole image
        part = samples[top : top + rows]
        result[top : top + rows] = np.rint(part * scale) if floats else (part.astype(np.uint32) + 128) // 257
    return result


def _as_array(source: ImageSource, name: str) -> np.ndarray | None:
    """The array behind `source`, channels last, or None where it is a file, bytes or a PIL image."""
    torch = sys.modules.get("torch")  # nobody can hold a tensor without having imported it
    if torch is not None and isinstance(source, torch.Tensor):
        values = source.detach().cpu()
        if values.dtype in (torch.bfloat16, torch.float16):
            values = values.float()
        if values.ndim == 3:
            if values.shape[0] not in (1, 3, 4):
                raise ImageError(f"{name}: a tensor image is [H, W] or [1|3|4, H, W], given {list(values.shape)}")
            values = values.permute(1, 2, 0)
        return values.numpy()
    if isinstance(source, np.ndarray):
        return source
    if isinstance(source, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return None
    raise ImageError(f"{name}: an image is a path, encoded bytes, a PIL image, an array or a tensor")


def _array_to_rgb(values: np.ndarray, name: str, at_least: int | None) -> np.ndarray:
    pixels = _array_to_8bit(values, name)
    factor = spare_factor((pixels.shape[1], pixels.shape[0]), at_least)
    if factor > 1:
        return np.array(_reduced(Image.fromarray(pixels), factor, name))
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 4:
        return np.array(_over(Image.fromarray(pixels), "white"))
    return np.array(pixels)  # a copy: what the caller changes must not change the source


def _array_to_8bit(values: np.ndarray, name: str) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3|4]."""
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3, 4)) or values.size == 0:
        raise ImageError(f"{name}: an array image is [H, W] or [H, W, 1|3|4], given {list(values.shape)}")
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return _samples_to_8bit(values, name)
    if values.dtype.kind == "f":
        if not (values.min() >= 0 and values.max() <= 1):
            raise ImageError(f"{name}: float pixels must lie in [0, 1], given {values.min():g} to {values.max():g}")
        return np.rint(values * 255).astype(np.uint8)
    raise ImageError(f"{name}: pixels of type {values.dtype}; accepted are bool, uint8, uint16 and float in [0, 1]")
