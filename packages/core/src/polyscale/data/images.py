"""Reading any image safely into plain uint8 sRGB as a viewer shows it, and writing PNG atomically.

Pillow decodes (`polyscale.data.decoding`); this file settles what Pillow leaves to the caller: transparency, 16-bit and
float samples, colour profiles, CMYK, palettes, and the same for arrays and tensors. Torch is imported only when a
tensor is made. Masks are read by `polyscale.data.masks`.
"""

import contextlib
import io
import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from polyscale.data.colour import to_srgb
from polyscale.data.decoding.opening import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    ImageSource,
    apply_orientation,
    decode_smaller,
    downscale_factor,
    name_of,
    opened,
    orientation,
    upright,
)
from polyscale.data.decoding.samples import ImageError, bands, to_8bit
from polyscale.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_ASPECT",
    "MAX_PIXELS",
    "PREDICTION_PIXELS",
    "ImageError",
    "ImageHeader",
    "ImageSource",
    "image_header",
    "image_size",
    "read_image",
    "replace_file",
    "resize_map",
    "save_png",
    "to_tensor",
]

PREDICTION_PIXELS = 100_000_000  # of an image that a command predicts: 300 MB of RGB, as much again to decode it
MAX_ASPECT = 500  # of the longer side to the shorter: beyond it resizing leaves nothing of the image


class ImageHeader(NamedTuple):
    """Height and width as `read_image` gives them, and the EXIF orientation (1..8) that was applied to the pixels."""

    height: int
    width: int
    orientation: int


def read_image(
    source: ImageSource,
    *,
    max_pixels: int = MAX_PIXELS,
    max_aspect: float | None = None,
    min_pixels: int | None = None,
) -> np.ndarray:
    """Read `source` as a writeable uint8 array [H, W, 3] in sRGB, turned upright.

    Of an animation the first frame is read. Transparency is laid over white, as viewers do. Colours with an ICC
    profile other than sRGB (Display P3, Adobe RGB, CMYK) are converted by it; CMYK without one is converted plainly.
    16-bit samples are scaled to 8 bit, not clipped. Float files hold [0, 1] or, where their maximum is 2 or more,
    [0, 255]. Safe to call from several threads and processes at once.

    With `min_pixels` both sides are divided by 8, 4 or 2 (the most that leaves so many pixels). JPEG files are decoded
    smaller by libjpeg, from the low frequencies of each 8x8 block: at 1/8 its mean, at 1/4 and 1/2 a little sharper
    than a mean. Everything else is decoded whole and averaged over squares. Where four times the pixels are asked for
    that an anti-aliased resize then makes of them, the outcome differs from that of the full image by a third of a
    grey level of 255 on average; sides that do not divide evenly are stretched by less than one square.

    Args:
        source: A path, encoded bytes, a PIL image, an array [H, W], [H, W, 1|3|4] or a tensor [H, W], [1|3|4, H, W].
            Arrays and tensors hold bool, uint8, uint16 or floats in [0, 1].
        max_pixels: The most pixels that are decoded.
        max_aspect: The largest ratio of the sides; None accepts any.
        min_pixels: How many pixels are enough for a caller that shrinks the image anyway; None reads all.

    Raises:
        ImageError: The image is missing, damaged, cut short, not an image, of a kind that has no sure reading, or
            larger than `max_pixels` (Pillow's own bound, twice PIL.Image.MAX_IMAGE_PIXELS, holds as well).
    """
    name = name_of(source)
    values = as_array(source, name)
    if values is not None:
        check_array(values, name)
        _check_aspect(values.shape[1], values.shape[0], name, max_aspect)
        return _array_to_rgb(values, name, min_pixels)
    with opened(source, name, max_pixels) as image:
        _check_aspect(image.width, image.height, name, max_aspect)
        factor = downscale_factor(image.size, min_pixels)
        # The caller's own image must not change, and a draft changes it.
        if factor == 1 or (image is not source and decode_smaller(image, factor)):
            return _to_pixels(upright(image), name)
        image.load()
        return np.array(apply_orientation(_reduced(image, factor, name), orientation(image)))


def image_header(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Return size and orientation from the header alone (a damaged body is not noticed). Raises ImageError."""
    name = name_of(source)
    values = as_array(source, name)
    if values is not None:
        check_array(values, name)
        return ImageHeader(values.shape[0], values.shape[1], 1)
    with opened(source, name, max_pixels) as image:
        width, height = image.size
        turn = orientation(image)
        # Pillow reports the size of a TIFF already turned.
        if turn >= 5 and image.format != "TIFF":
            width, height = height, width
    return ImageHeader(height, width, turn)


def image_size(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the (height, width) that `read_image` would give, from the header alone; see `image_header`."""
    return image_header(source, max_pixels=max_pixels)[:2]


def _check_aspect(width: int, height: int, name: str, most: float | None) -> None:
    if most is not None and max(width, height) > most * min(width, height):
        wrong = f"{width} x {height} pixels, one side more than {most:g} times the other"
        raise ImageError(f"{name}: {wrong}; crop the image to the part that matters")


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
        pil_image = Image.fromarray(array)
    else:
        pil_image = Image.fromarray(_array_to_8bit(array, "array"))
    buffer = io.BytesIO()
    pil_image.save(buffer, format="PNG")
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


def _to_pixels(image: Image.Image, name: str) -> np.ndarray:
    """uint8 [H, W, 3] of a decoded image, in bands of rows: whole copies would cost several times the pixels."""
    image = _to_8bit_image(image, name)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows in bands(image.height, image.width):
        pixels[rows] = np.asarray(_to_rgb(image.crop((0, rows.start, image.width, rows.stop))))
    return pixels


def _to_8bit_image(image: Image.Image, name: str) -> Image.Image:
    """The image with modes I and F, whose scale is decided on the whole, made 8-bit grey."""
    if image.mode[0] not in "IF":
        return image
    grey = Image.fromarray(to_8bit(np.asarray(image), name))
    grey.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return grey


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB in sRGB of an 8-bit image, transparency over white."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        colours = Image.merge("RGB", rgba.split()[:3])
        colours.info = image.info
        flat = Image.new("RGB", rgba.size, "white")
        flat.paste(to_srgb(colours), mask=rgba.getchannel("A"))
        return flat
    if image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")  # keeps the profile
    converted = to_srgb(image)
    return converted if converted.mode == "RGB" else converted.convert("RGB")


def _reduced(image: Image.Image, factor: int, name: str) -> Image.Image:
    """The mean over squares of `factor` pixels a side as RGB; equals reducing the whole, without a full-size copy."""
    image = _to_8bit_image(image, name)
    width, height = image.size
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for rows in bands(-(-height // factor), width * factor):
        top, bottom = rows.start * factor, min(rows.stop * factor, height)
        small.paste(_to_rgb(image.crop((0, top, width, bottom))).reduce(factor), (0, rows.start))
    return small


def as_array(source: ImageSource, name: str) -> np.ndarray | None:
    """Return the array behind `source`, channels last, or None where it is a file, bytes or a PIL image."""
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


def check_array(values: np.ndarray, name: str) -> None:
    """Raise ImageError where an array has not the shape or the type of an image."""
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3, 4)) or values.size == 0:
        raise ImageError(f"{name}: an array image is [H, W] or [H, W, 1|3|4], given {list(values.shape)}")
    if values.dtype not in (np.bool_, np.uint8, np.uint16) and values.dtype.kind != "f":
        raise ImageError(f"{name}: pixels of type {values.dtype}; accepted are bool, uint8, uint16 and float in [0, 1]")


def _array_to_rgb(values: np.ndarray, name: str, min_pixels: int | None) -> np.ndarray:
    pixels = _array_to_8bit(values, name)
    factor = downscale_factor((pixels.shape[1], pixels.shape[0]), min_pixels)
    if factor > 1:
        return np.array(_reduced(Image.fromarray(pixels), factor, name))
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 4:
        return _to_pixels(Image.fromarray(pixels), name)
    return np.array(pixels)  # a copy: what the caller changes must not change the source


def _array_to_8bit(values: np.ndarray, name: str) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3|4]."""
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return to_8bit(values, name)
    if not (values.min() >= 0 and values.max() <= 1):
        raise ImageError(f"{name}: float pixels must lie in [0, 1], given {values.min():g} to {values.max():g}")
    scaled = values * 255
    return np.rint(scaled, out=scaled).astype(np.uint8)
