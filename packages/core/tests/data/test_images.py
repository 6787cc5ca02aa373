"""Every odd file is made here: an image known pixel by pixel, stored in each of the ways that trip a reader."""

import io
import os
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyscale.data.images import (
    ImageError,
    image_size,
    read_image,
    replace_file,
    resize_map,
    save_png,
    to_tensor,
)
from polyscale.errors import UserError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (7, 11, 3), dtype=np.uint8)  # [H, W, 3], odd and not square
GREY = RGB[..., 0]
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[:48:2, :96:2], 40), -1).astype(np.uint8)  # survives JPEG: [24, 48, 3]


def encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def oriented(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = value
    return exif


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_come_back_exactly(fmt: str, options: dict) -> None:
    array = read_image(encode(Image.fromarray(RGB), fmt, **options))
    assert array.dtype == np.uint8
    assert array.flags.writeable
    np.testing.assert_array_equal(array, RGB)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_is_near(options: dict) -> None:
    array = read_image(encode(Image.fromarray(SMOOTH), "JPEG", quality=98, **options))
    assert np.abs(array.astype(int) - SMOOTH).max() <= 6


@pytest.mark.parametrize("kind", ["L", "1", "1x1", "P", "gif", "animated"])
def test_grey_palette_and_frames(kind: str) -> None:
    if kind == "L":
        source, expected = encode(Image.fromarray(GREY), "PNG"), np.repeat(GREY[..., None], 3, 2)
    elif kind == "1":
        source = encode(Image.fromarray(GREY > 99), "PNG")
        expected = np.repeat(np.where(GREY > 99, 255, 0)[..., None], 3, 2)
    elif kind == "1x1":
        source, expected = encode(Image.fromarray(RGB[:1, :1]), "PNG"), RGB[:1, :1]
    else:
        frames_of_two = [Image.fromarray(pil_image).quantize(64) for pil_image in (RGB, 255 - RGB)]
        expected = np.array(frames_of_two[0].convert("RGB"))
        frames = {"save_all": True, "append_images": frames_of_two[1:]} if kind == "animated" else {}
        source = encode(frames_of_two[0], "PNG" if kind == "P" else "GIF", **frames)
    np.testing.assert_array_equal(read_image(source), expected)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_turn(fmt: str, value: int) -> None:
    upright = np.stack([np.add.outer(np.arange(24) * 3, np.arange(40) * 2)] * 3, -1).astype(np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[value]
    lossless = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(fmt, {})
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), fmt, exif=oriented(value), **lossless)
    assert image_size(data) == (24, 40)
    assert np.abs(read_image(data).astype(int) - upright).max() <= (3 if fmt == "JPEG" else 0)


def test_pil_image_is_turned_once() -> None:
    with Image.open(io.BytesIO(encode(Image.fromarray(SMOOTH), "PNG", exif=oriented(6)))) as image:
        turned = read_image(image)
        np.testing.assert_array_equal(turned, np.rot90(SMOOTH, -1))
        np.testing.assert_array_equal(read_image(image), turned)  # the caller's image was not changed


def test_damaged_exif_beside_sound_pixels() -> None:
    data = encode(Image.fromarray(RGB), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff rubbish")
    np.testing.assert_array_equal(read_image(data), RGB)


def test_alpha_is_laid_over_white() -> None:
    alpha = RNG.integers(0, 256, GREY.shape, dtype=np.uint8)
    alpha[0, :3] = 0, 255, 128
    weight = alpha[..., None] / 255
    expected = RGB * weight + 255 * (1 - weight)
    rgba = np.dstack([RGB, alpha])
    for source in (rgba, encode(Image.fromarray(rgba), "PNG"), torch.from_numpy(rgba).permute(2, 0, 1)):
        assert np.abs(read_image(source) - expected).max() <= 1
    assert (read_image(rgba)[0, 0] == 255).all()
    np.testing.assert_array_equal(read_image(rgba)[0, 1], RGB[0, 1])
    la = read_image(encode(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)]), "PNG"))
    assert np.abs(la - (GREY * weight[..., 0] + 255 * (1 - weight[..., 0]))[..., None]).max() <= 1


def test_transparent_palette_and_key_colour() -> None:
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    np.testing.assert_array_equal(read_image(encode(palette, "PNG", transparency=0)), [[[255] * 3, [40, 50, 60]]])
    key = encode(Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)), "PNG", transparency=(1, 2, 3))
    np.testing.assert_array_equal(read_image(key), [[[255] * 3, [4, 5, 6]]])


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(fmt: str) -> None:
    deep = np.array([[0, 128, 129, 257], [32768, 65407, 65408, 65535]], np.uint16)
    expected = np.rint(deep / 257).astype(np.uint8)
    assert expected.max() == 255
    for source in (encode(Image.fromarray(deep), fmt), deep, Image.fromarray(deep.astype(np.int32))):
        np.testing.assert_array_equal(read_image(source)[..., 0], expected)


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand: what Pillow reads but cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_16_bit_rgb_is_scaled_not_clipped() -> None:
    deep = RNG.integers(0, 65536, (5, 4, 3)).astype(np.uint16)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in deep)
    assert np.abs(read_image(raw_png(4, 5, 16, 2, rows)) - deep / 257).max() <= 1  # Pillow keeps the high byte


def test_float_files() -> None:
    unit = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    for scale in (1, 255):
        data = encode(Image.fromarray(unit * np.float32(scale)), "TIFF")
        np.testing.assert_array_equal(read_image(data)[..., 0], np.rint(unit * 255))
    for bad in (unit * 1000, unit - 1, unit * np.nan):
        with pytest.raises(ImageError, match=r"float samples from .* accepted are \[0, 1\]"):
            read_image(encode(Image.fromarray(bad.astype(np.float32)), "TIFF"))
    with pytest.raises(ImageError, match="32-bit samples"):
        read_image(Image.fromarray(np.array([[70000]], np.int32)))


def test_cmyk_and_adobe_inverted() -> None:
    pil_image = Image.fromarray(SMOOTH).convert("CMYK")
    plain = read_image(encode(pil_image, "TIFF"))
    np.testing.assert_array_equal(plain, SMOOTH)  # full key and no under-colour removal: exact
    assert np.abs(read_image(encode(pil_image, "JPEG", quality=98)).astype(int) - SMOOTH).max() <= 8  # Adobe marker


def test_arrays_and_tensors() -> None:
    chw = torch.from_numpy(RGB).permute(2, 0, 1)
    for source in (RGB, RGB / 255, (RGB / 255).astype(np.float32), chw, chw / 255, chw.double() / 255):
        np.testing.assert_array_equal(read_image(source), RGB)
    for grey in (GREY, GREY[..., None], GREY / 255, torch.from_numpy(GREY), torch.from_numpy(GREY)[None] / 255):
        np.testing.assert_array_equal(read_image(grey), np.repeat(GREY[..., None], 3, 2))
    assert (read_image(np.array([[True, False]]))[0, :, 0] == [255, 0]).all()
    assert not np.shares_memory(read_image(RGB), RGB)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((3, 5, 7)), r"\[H, W\] or \[H, W, 1\|3\|4\], given \[3, 5, 7\]"),
        (np.zeros((0, 5, 3)), r"given \[0, 5, 3\]"),
        (torch.zeros(5, 7, 3), r"\[1\|3\|4, H, W\], given \[5, 7, 3\]"),
        (torch.zeros(1, 3, 5, 7), r"given \[1, 3, 5, 7\]"),
        (np.full((2, 2), 2.0), r"must lie in \[0, 1\], given 2 to 2"),
        (np.full((2, 2), np.nan), r"must lie in \[0, 1\]"),
        (np.zeros((2, 2), np.int64), "int64; accepted are"),
        (3, "int: an image is a path"),
        (None, "NoneType: an image is a path"),
    ],
)
def test_bad_arrays(source: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(source)


def test_size_needs_only_the_header() -> None:
    data = encode(Image.fromarray(RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)), "PNG")
    assert image_size(data[:200]) == (40, 30)
    assert image_size(RGB) == (7, 11)
    assert image_size(torch.zeros(3, 5, 6)) == (5, 6)


MASK = GREY > 128
FULL = MASK * np.uint8(255)


def test_to_tensor() -> None:
    tensor = to_tensor(RGB)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert torch.equal(tensor, torch.from_numpy(RGB).permute(2, 0, 1).float() / 255)
    frozen = RGB.copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(to_tensor(frozen), tensor)
    with pytest.raises(ValueError, match=r"array must be uint8 \[H, W, C\], given float64"):
        to_tensor(RGB / 255)


def test_resize_map_equals_torch_when_enlarging() -> None:
    values = RNG.random((5, 9))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None].float(), size=(13, 30), mode="bilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(resize_map(values, (13, 30)), expected, atol=1e-6)
    small = resize_map(np.indices((64, 64)).sum(0) % 2, (8, 8))
    np.testing.assert_allclose(small[2:-2, 2:-2], 0.5, atol=0.02)  # a checkerboard averages out: anti-aliased
    np.testing.assert_array_equal(resize_map(values.astype(np.float32), (5, 9)), values.astype(np.float32))
    with pytest.raises(ValueError, match="map"):
        resize_map(np.zeros((1, 2, 3)), (4, 4))


@pytest.mark.parametrize(
    ("array", "stored"),
    [
        (RGB, RGB),
        (GREY, GREY),
        (MASK, FULL),
        (GREY / 255, GREY),
        (GREY.astype(np.uint16) * 250, GREY.astype(np.uint16) * 250),
        (np.dstack([RGB, GREY]), np.dstack([RGB, GREY])),
        (GREY[..., None], GREY),
    ],
)
def test_save_png(tmp_path: Path, array: np.ndarray, stored: np.ndarray) -> None:
    path = save_png(tmp_path / "new" / "folder" / "a.png", array)
    np.testing.assert_array_equal(np.array(Image.open(path)), stored)
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_png(tmp_path / "a.png", RGB)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(UserError, match=r"a\.png: cannot be written: No space left on device"):
        save_png(path, 255 - RGB)
    np.testing.assert_array_equal(read_image(path), RGB)
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UserError, match="cannot be written"):
        replace_file(path / "below-a-file.bin", b"x")


def test_reading_does_not_import_torch(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", RGB)
    code = (
        "import sys, polyscale.data.images as i; assert i.read_image(sys.argv[1]).sum(); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=True)
