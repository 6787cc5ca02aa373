"""TIFF files that Pillow reads wrongly or not at all: 16-bit MinIsWhite and planes, float colour, signed samples.

Pillow decodes single-band TIFFs of every compression. A file of several samples a pixel is therefore rewritten in
memory as one band: the planes one by one, interleaved samples as an image that is so many times as wide.
"""

import io
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from polyscale.data.decoding.samples import ImageError, to_8bit

_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # SampleFormat
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _CMYK = 0, 1, 2, 5  # PhotometricInterpretation
_MODES = {_MIN_IS_WHITE: "L", _MIN_IS_BLACK: "L", _RGB: "RGB", _CMYK: "CMYK"}
_HINT = "save it as a TIFF or PNG of 8 or 16 unsigned bits"


class Layout(NamedTuple):
    """How the first image of a TIFF file stores its samples; `tags` are all of its tags."""

    width: int
    height: int
    samples: int
    bits: tuple[int, ...]
    sample_format: int
    photometric: int
    planar: bool
    tags: Any

    @property
    def is_misread(self) -> bool:
        """Whether Pillow gives other values than the file holds, or none."""
        wide = max(self.bits) > 8
        inverted = self.photometric == _MIN_IS_WHITE and wide
        several = self.samples > 1 and wide and (self.planar or self.sample_format != _UNSIGNED or max(self.bits) > 16)
        return inverted or several or self.sample_format == _SIGNED


def read_layout(stream: BinaryIO) -> Layout | None:
    """Return the layout of a TIFF file, None where the stream is none or cut short."""
    stream.seek(0)
    header = stream.read(8)
    if header[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    if 43 in (header[2], header[3]):  # BigTIFF
        header += stream.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(header)
    stream.seek(tags.next)
    tags.load(stream)
    if not tags.get(256) or not tags.get(257):
        return None
    samples = int(tags.get(277, 1))
    bits = tuple(int(bit) for bit in tags.get(258, (1,)))[:samples]
    formats = set(tags.get(339, (_UNSIGNED,)))
    return Layout(
        int(tags[256]),
        int(tags[257]),
        samples,
        bits,
        int(formats.pop()) if len(formats) == 1 else 0,
        int(tags.get(262, _MIN_IS_WHITE)),
        int(tags.get(284, 1)) == 2 and samples > 1,
        tags,
    )


def decode(stream: BinaryIO, layout: Layout, name: str) -> Image.Image:
    """Decode a file that Pillow misreads, as a Pillow image of mode I;16, F, L, RGB or CMYK, or those with alpha.

    Raises:
        ImageError: A kind that has no sure reading, such as signed samples; it says which.
    """
    _refuse(layout, name)
    tags = layout.tags
    tiled = 324 in tags
    offsets, counts = (tuple(tags.get(tag, ())) for tag in ((324, 325) if tiled else (273, 279)))
    planes = layout.samples if layout.planar else 1
    if not offsets or len(offsets) != len(counts) or len(offsets) % planes:
        raise ImageError(f"{name}: damaged or cut short: {len(offsets)} strips, {len(counts)} lengths")
    each = len(offsets) // planes
    factor = 1 if layout.planar else layout.samples
    bands = []
    for plane in range(planes):
        part = slice(plane * each, (plane + 1) * each)
        band = _single_band(stream, layout, offsets[part], counts[part], factor, tiled)
        with Image.open(io.BytesIO(band), formats=["TIFF"]) as image:
            bands.append(np.asarray(image))
    pixels = np.stack(bands, 2) if layout.planar else bands[0].reshape(layout.height, layout.width, layout.samples)
    if pixels.dtype == np.int32:
        pixels = pixels.view(np.uint32)
    if tags.get(317, 1) == 2 and factor > 1:
        pixels = np.cumsum(pixels, axis=1, dtype=pixels.dtype)
    return _with_exif(_as_image(pixels, layout, name), tags)


def refuse_unknown(layout: Layout, name: str) -> None:
    """Raise the ImageError that describes a TIFF file which neither Pillow nor `decode` reads."""
    kinds = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "float"}
    kind = f"{layout.samples} x {max(layout.bits)}-bit {kinds.get(layout.sample_format, 'mixed')} samples"
    raise ImageError(f"{name}: a TIFF of a kind that is not read ({kind}, photometric {layout.photometric}); {_HINT}")


def _refuse(layout: Layout, name: str) -> None:
    if layout.sample_format == _SIGNED:
        raise ImageError(f"{name}: signed {max(layout.bits)}-bit samples, whose black and white are unknown; {_HINT}")
    known = {_UNSIGNED: (16, 32), _FLOAT: (32,)}.get(layout.sample_format, ())
    if layout.photometric not in _MODES or len(set(layout.bits)) > 1 or layout.bits[0] not in known:
        refuse_unknown(layout, name)
    predictor, interleaved = layout.tags.get(317, 1), layout.samples > 1 and not layout.planar
    if interleaved and (predictor == 3 or (predictor == 2 and 324 in layout.tags)):
        raise ImageError(f"{name}: a TIFF with a predictor over {layout.samples} samples, which is not read; {_HINT}")


def _single_band(
    stream: BinaryIO, layout: Layout, offsets: tuple[int, ...], counts: tuple[int, ...], factor: int, tiled: bool
) -> bytes:
    """A TIFF file of one band, with the given strips or tiles of another."""
    tags, order = layout.tags, "<" if layout.tags.prefix == b"II" else ">"
    data = io.BytesIO(struct.pack(f"{order}2sHI", layout.tags.prefix, 42, 0))
    data.seek(8)
    starts = []
    for offset, count in zip(offsets, counts, strict=True):
        stream.seek(offset)
        starts.append(data.tell())
        data.write(stream.read(count))
    data.write(b"\0" * (data.tell() % 2))
    tables = data.tell()
    data.write(struct.pack(f"{order}{2 * len(starts)}I", *starts, *counts))
    predictor = tags.get(317, 1) if factor == 1 else 1
    short, long = 3, 4
    entries = [(256, long, layout.width * factor), (257, long, layout.height), (258, short, layout.bits[0])]
    entries += [(259, short, tags.get(259, 1)), (262, short, _MIN_IS_BLACK), (266, short, tags.get(266, 1))]
    entries += [(277, short, 1), (317, short, predictor), (339, short, layout.sample_format)]
    if tiled:
        entries += [(322, long, tags[322] * factor), (323, long, tags[323])]
    else:
        entries += [(278, long, min(tags.get(278, layout.height), layout.height))]
    lists = [(324 if tiled else 273, tables), (325 if tiled else 279, tables + 4 * len(starts))]
    fields = {
        tag: struct.pack(f"{order}HHI", tag, kind, 1) + _value(order, kind, value) for tag, kind, value in entries
    }
    for tag, place in lists:
        inline = struct.pack(f"{order}I", (starts[0], counts[0])[place != tables] if len(starts) == 1 else place)
        fields[tag] = struct.pack(f"{order}HHI", tag, long, len(starts)) + inline
    directory = data.tell()
    data.write(struct.pack(f"{order}H", len(fields)) + b"".join(fields[tag] for tag in sorted(fields)) + b"\0" * 4)
    data.seek(4)
    data.write(struct.pack(f"{order}I", directory))
    return data.getvalue()


def _value(order: str, kind: int, value: int) -> bytes:
    return struct.pack(f"{order}I" if kind == 4 else f"{order}Hxx", value)


def _as_image(pixels: np.ndarray, layout: Layout, name: str) -> Image.Image:
    mode = _MODES[layout.photometric]
    extra = tuple(layout.tags.get(338, ()))
    if layout.samples == 1 and pixels.dtype.itemsize == 2:  # stays 16 bit: a mask may hold 0 and 1
        return Image.fromarray((65535 - pixels[..., 0]).astype(np.uint16))
    if pixels.dtype == np.uint32:
        pixels = (pixels >> 16).astype(np.uint16)
    small = to_8bit(pixels, name)
    if layout.photometric == _MIN_IS_WHITE:
        small[..., 0] = 255 - small[..., 0]
    colours = len(mode)
    if layout.samples > colours and extra[:1] in ((1,), (2,)) and mode != "CMYK":
        with_alpha = {"L": "LA", "RGB": "RGBA"}[mode]
        premultiplied = extra[0] == 1
        image = _from_bytes(f"{mode}a" if premultiplied else with_alpha, small[..., : colours + 1])
        return image.convert(with_alpha) if premultiplied else image
    return _from_bytes(mode, small[..., :colours])


def _from_bytes(mode: str, pixels: np.ndarray) -> Image.Image:
    return Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels).tobytes())


def _with_exif(image: Image.Image, tags: Any) -> Image.Image:
    """The image with the orientation and the colour profile of the file."""
    exif = Image.Exif()
    exif[274] = tags.get(274, 1)
    image.info["exif"] = exif.tobytes()
    if 34675 in tags:
        image.info["icc_profile"] = tags[34675]
    return image
