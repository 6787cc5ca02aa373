"""Opening an image file with Pillow so that whatever is wrong with it ends in one `ImageError` of one line.

Only raster formats are opened: a PostScript file would start an interpreter. Used through `polyscale.data.images`.
"""

import contextlib
import importlib
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
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from polyscale.data.decoding import tiff
from polyscale.data.decoding.samples import ImageError

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


def name_of(source: ImageSource) -> str:
    """Return what an error calls `source`: its path, else its kind."""
    if isinstance(source, str | os.PathLike):
        return " ".join(os.fsdecode(source).split())
    if isinstance(source, bytes | bytearray | memoryview):
        return f"image of {len(source)} bytes"
    return getattr(source, "filename", "") or type(source).__name__


@contextlib.contextmanager
def opened(source: ImageSource, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image with only its header read; every decoder error inside the block becomes an ImageError.

    A TIFF file that Pillow misreads is decoded at once (`polyscale.data.decoding.tiff`).
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_pillow_quiet)
        try:
            image = source if isinstance(source, Image.Image) else _open(source, name, max_pixels, stack)
            check_size(image.width, image.height, name, max_pixels)
            yield image
        except ImageError:
            raise
        except UnidentifiedImageError as error:
            raise ImageError(f"{name}: not an image, or its first bytes are damaged") from error
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name}: too large to decode safely: {_one_line(error)}") from error
        except _DECODER_ERRORS as error:
            raise ImageError(f"{name}: damaged or cut short: {_one_line(error)}") from error


def check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    """Raise ImageError where an image has more pixels than are accepted."""
    if width * height > max_pixels:
        raise ImageError(f"{name}: {width} x {height} pixels, more than the {max_pixels} accepted")


def _open(source: ImageSource, name: str, max_pixels: int, stack: contextlib.ExitStack) -> Image.Image:
    stream: BinaryIO
    if isinstance(source, str | os.PathLike):
        stream = stack.enter_context(_open_file(Path(source)))
    else:
        if not source:
            raise ImageError("image of 0 bytes: empty")
        stream = io.BytesIO(source)
    layout = tiff.read_layout(stream)
    if layout is not None and layout.is_misread:
        check_size(layout.width, layout.height, name, max_pixels)
        return tiff.decode(stream, layout, name)
    stream.seek(0)
    Image.preinit()
    try:
        return Image.open(stream, formats=_COMMON_FORMATS)
    except UnidentifiedImageError:
        Image.init()
        if HAS_HEIF:
            importlib.import_module("pillow_heif").register_heif_opener()
    try:
        return Image.open(stream, formats=[kind for kind in _RARE_FORMATS if kind in Image.OPEN])
    except UnidentifiedImageError:
        if layout is not None:
            tiff.refuse_unknown(layout, name)
        stream.seek(0)
        kind, hint = _kind_of(stream.read(512))
        if kind:
            raise ImageError(f"{name}: {kind}, which is not read; {hint}") from None
        raise


def _kind_of(head: bytes) -> tuple[str, str]:
    """What a file that is not read is by its first bytes, and what to do; ("", "") where they are not known."""
    if head[4:8] == b"ftyp":
        if b"avif" not in head[8:64] and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"):
            return "a HEIC image", "pip install 'polyscale[heic]' to read it, or save it as JPEG or PNG"
        if b"avif" in head[8:64] or head[8:12] == b"avis":
            return "an AVIF image", "pip install 'pillow>=11.3' to read it, or save it as JPEG or PNG"
        return "a video or a raw photograph", "save it as JPEG or PNG"
    starts = {
        b"\xff\x0a": "a JPEG XL image",
        b"\0\0\0\x0cJXL ": "a JPEG XL image",
        b"8BPS": "a Photoshop file",
        b"\x76\x2f\x31\x01": "an OpenEXR file",
        b"#?RADIANCE": "a Radiance HDR file",
        b"DDS ": "a DDS texture",
        b"\0\0\1\0": "an icon",
        b"gimp xcf": "a GIMP file",
        b"%!PS": "a PostScript file",
        b"%PDF": "a PDF document",
        b"FUJIFILM": "a raw photograph",
        b"IIRO": "a raw photograph",
        b"IIU\0": "a raw photograph",
    }
    found = next((kind for start, kind in starts.items() if head.startswith(start)), "")
    if found:
        return found, "save it as JPEG or PNG"
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith(b"version https://git-lfs"):
        return "a pointer to a file in Git LFS", "fetch the file itself with git lfs pull"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page", "download the image itself"
    if text.startswith(b"<svg") or b"<svg" in text:
        return "an SVG drawing", "save it as PNG"
    return "", ""


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
    """Say what the operating system's refusal means for the user."""
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
    """Return the EXIF orientation 1..8; 5 and above swap height and width."""
    try:
        stream = getattr(image, "fp", None)
        # A PNG may have its EXIF behind its pixels, where Pillow finds it once they are decoded.
        if image.format == "PNG" and stream is not None and _has_metadata_behind_pixels(stream):
            image.load()
        # Not PngImageFile.getexif, which decodes every file without EXIF to look for it.
        return int(Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))
    except _DECODER_ERRORS:
        return 1  # damaged EXIF with sound pixels: viewers show such a file unturned


def _has_metadata_behind_pixels(stream: BinaryIO) -> bool:
    """Whether a PNG stream has a chunk of EXIF or text after its pixels; the position stays."""
    position = stream.tell()
    stream.seek(8)
    pixels = False
    try:
        while len(header := stream.read(8)) == 8:
            length, kind = int.from_bytes(header[:4], "big"), header[4:]
            if kind == b"IEND" or length > 0x7FFFFFFF:
                return False
            if pixels and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            pixels = pixels or kind == b"IDAT"
            stream.seek(length + 4, os.SEEK_CUR)
        return False
    finally:
        stream.seek(position)


def upright(image: Image.Image) -> Image.Image:
    """Decode the image and turn it as its EXIF orientation asks."""
    image.load()  # first: Pillow turns a TIFF here and drops its tag
    return apply_orientation(image, orientation(image))


def apply_orientation(image: Image.Image, orientation: int) -> Image.Image:
    """Turn the image as EXIF orientation 1..8 asks."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def downscale_factor(size: tuple[int, int], min_pixels: int | None) -> int:
    """Return the most of 8, 4, 2 and 1 that divides both sides with `min_pixels` pixels left; 1 for None."""
    if min_pixels is None:
        return 1
    width, height = size
    return next((f for f in (8, 4, 2) if (width // f) * (height // f) >= max(1, min_pixels)), 1)


def decode_smaller(image: Image.Image, factor: int) -> bool:
    """Have libjpeg decode an opened JPEG file at 1 / `factor` of its sides; False for formats without such a way."""
    before = image.size
    image.draft(None, (before[0] // factor, before[1] // factor))
    return image.size != before
