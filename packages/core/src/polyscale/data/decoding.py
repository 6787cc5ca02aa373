"""Opening an image file with Pillow so that whatever is wrong with it ends in one `ImageError` of one line.

Only raster formats are opened: a PostScript file would start an interpreter. Used through `polyscale.data.images`.
"""

import contextlib
import importlib.util
import io
import logging
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from polyscale.errors import UserError

ImageSource = Any  # path, encoded bytes, PIL image, array or tensor: see polyscale.data.images.read_image

MAX_PIXELS = 178_956_970  # what Pillow itself accepts: 2 * PIL.Image.MAX_IMAGE_PIXELS
_COMMON_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM")  # loaded by Pillow at start
_RARE_FORMATS = ("WEBP", "TIFF", "MPO", "AVIF", "JPEG2000", "HEIF")  # HEIF only where the user has registered it
_READ = "avif bmp gif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp"
_HEIF = "heic heif hif"  # read where pillow-heif is installed
_UNREAD = "arw cr2 cr3 dcm dds dng eps exr hdr ico j2k jpf jpx jxl jxr nef orf pef psd raf raw rw2 srw svg tga xcf"


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split(" "))


HEIF_SUFFIXES = _suffixes(_HEIF)
HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
IMAGE_SUFFIXES = _suffixes(_READ) | (HEIF_SUFFIXES if HAS_HEIF else frozenset())
UNREAD_SUFFIXES = (_suffixes(_UNREAD) | HEIF_SUFFIXES) - IMAGE_SUFFIXES  # image files that are passed over

_ORIENTATION_TAG = 274
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders have been seen to raise on damaged files.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
    AssertionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its notes on odd files go to stderr unasked


class ImageError(UserError):
    """An image that cannot be used. The message is one line: the file, then what is wrong with it."""


def name_of(source: ImageSource) -> str:
    """What an error calls `source`: its path, else its kind."""
    if isinstance(source, str | os.PathLike):
        return " ".join(os.fsdecode(source).split())
    if isinstance(source, bytes | bytearray | memoryview):
        return f"image of {len(source)} bytes"
    return getattr(source, "filename", "") or type(source).__name__


@contextlib.contextmanager
def opened(source: ImageSource, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """The image with only its header read; every decoder error inside the block becomes an ImageError."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_pillow_quiet)
        try:
            image = source if isinstance(source, Image.Image) else _open(source, stack)
            _check_size(image, name, max_pixels)
            yield image
        except ImageError:
            raise
        except UnidentifiedImageError as error:
            raise ImageError(f"{name}: not an image, or its first bytes are damaged") from error
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name}: too large to decode safely: {_one_line(error)}") from error
        except _DECODER_ERRORS as error:
            raise ImageError(f"{name}: damaged or cut short: {_one_line(error)}") from error


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ImageError(f"{name}: {image.width} x {image.height} pixels, more than the {max_pixels} accepted")


def _open(source: ImageSource, stack: contextlib.ExitStack) -> Image.Image:
    stream: io.BufferedIOBase
    if isinstance(source, str | os.PathLike):
        stream = stack.enter_context(_open_file(Path(source)))
    else:
        if not source:
            raise ImageError("image of 0 bytes: empty")
        stream = io.BytesIO(source)
    Image.preinit()
    try:
        return Image.open(stream, formats=_COMMON_FORMATS)
    except UnidentifiedImageError:
        Image.init()
        return Image.open(stream, formats=[name for name in _RARE_FORMATS if name in Image.OPEN])


def _open_file(path: Path) -> io.BufferedReader:
    try:
        status = path.stat()  # before open, which would wait for ever on a pipe
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name_of(path)}: not a regular file")
        if status.st_size == 0:
            raise ImageError(f"{name_of(path)}: empty file (0 bytes)")
        return path.open("rb")
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name_of(path)}: {why_not_opened(error)}") from error


def why_not_opened(error: OSError | ValueError) -> str:
    """What the operating system's refusal means for the user."""
    if isinstance(error, FileNotFoundError):
        return "no such file or folder"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not an image file"
    if isinstance(error, NotADirectoryError):
        return "part of this path is a file, not a folder"
    return f"cannot be opened: {_one_line(error)}"


def _one_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


class _PillowQuiet:
    """Context in which Pillow warns nobody. Counted, because catch_warnings of two threads at once undo each other."""

    def __init__(self) -> None:
        self.reset()
        if hasattr(os, "register_at_fork"):  # a thread of the parent may hold the lock
            os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.depth = 0
        self.saved = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.depth == 0:
                self.saved.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self.depth += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.depth -= 1
            if self.depth == 0:
                self.saved.close()


_pillow_quiet = _PillowQuiet()


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 5 and above swap height and width."""
    try:
        # Not PngImageFile.getexif, which decodes the whole file to look for EXIF behind the pixels.
        return int(Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))
    except _DECODER_ERRORS:
        return 1  # damaged EXIF beside sound pixels: viewers show such a file unturned


def upright(image: Image.Image) -> Image.Image:
    """The decoded image, turned as its EXIF orientation asks."""
    image.load()  # first: Pillow turns a TIFF here and drops its tag
    return turned(image, orientation(image))


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned as EXIF orientation 1..8 asks."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def spare_factor(size: tuple[int, int], at_least: int | None) -> int:
    """8, 4, 2 or 1: the most that both sides may be divided by with `at_least` pixels left; None leaves all."""
    if at_least is None:
        return 1
    width, height = size
    return next((f for f in (8, 4, 2) if (width // f) * (height // f) >= max(1, at_least)), 1)


def decode_smaller(image: Image.Image, factor: int) -> bool:
    """Have libjpeg decode an opened JPEG file at 1 / `factor` of its sides; False where the format has no such way."""
    before = image.size
    image.draft(None, (before[0] // factor, before[1] // factor))
    return image.size != before
