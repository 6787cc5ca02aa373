"""Files that are damaged, cut short, too large or no images at all; readers side by side in threads and processes."""

import io
import multiprocessing
import os
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyscale.data.images import ImageError, image_size, read_image, save_png
from polyscale.data.masks import read_mask
from polyscale.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
NOISE = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[:48:2, :96:2], 40), -1).astype(np.uint8)


def encode(array: np.ndarray, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, fmt, **options)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """The header of a 1-bit PNG of side x side pixels, and no pixels."""
    chunks = b""
    for kind, content in (
        (b"IHDR", side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])),
        (b"IDAT", zlib.compress(b"")),
    ):
        checksum = zlib.crc32(kind + content).to_bytes(4, "big")
        chunks += len(content).to_bytes(4, "big") + kind + content + checksum
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"", r"empty file \(0 bytes\)"),
        (lambda: b"plain text, not an image", "not an image"),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "a PostScript file, which is not read"),
        (lambda: encode(NOISE, "PNG")[:20], "damaged"),
        (lambda: encode(NOISE, "PNG")[:600], "damaged or cut short"),
        (lambda: encode(NOISE, "JPEG")[:-40], "damaged or cut short"),
        (lambda: encode(NOISE, "JPEG")[:700], "damaged or cut short"),
        (lambda: encode(RGB, "TIFF")[:100], "damaged|not an image|not read"),
        (lambda: bomb(30_000), "too large to decode safely"),
        (lambda: bomb(12_000), "12000 x 12000 pixels, more than the 100000000"),
    ],
)
@pytest.mark.parametrize("reader", [read_image, read_mask])
def test_broken_file_is_one_line_with_its_name(
    tmp_path: Path, make: Callable[[], bytes], message: str, reader: Callable
) -> None:
    path = tmp_path / "odd name\nhere.png"
    path.write_bytes(make())
    with pytest.raises(ImageError, match=message) as caught:
        reader(path, max_pixels=100_000_000)
    assert "odd name here.png: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(str(tmp_path))
    with pytest.raises(ImageError, match="image of 0 bytes: empty"):
        read_image(b"")
    with pytest.raises(ImageError, match="null"):
        read_image("with\0null.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match="not a regular file"):
            read_image(tmp_path / "pipe.png")


def test_flipped_bytes_read_or_raise_image_error() -> None:
    exif = Image.Exif()
    exif[274] = 6
    photo = encode(SMOOTH, "JPEG", exif=exif)
    rng = np.random.default_rng(1)
    refused = []
    for data in (encode(NOISE, "PNG"), photo, encode(SMOOTH, "GIF"), encode(SMOOTH, "TIFF")):
        for _ in range(60):
            damaged = bytearray(data)
            for position in rng.integers(0, min(len(data), 300), 3):
                damaged[position] = rng.integers(256)
            for reader in (read_image, read_mask, image_size):
                try:
                    reader(bytes(damaged))
                except ImageError as error:
                    refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in message for message in refused)


def test_pillow_warns_nobody_and_the_filters_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # 77 pixels: a warning, not yet an error
    data = encode(RGB, "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: read_image(data).sum(), range(64)))
        assert warnings.filters == before
        with pytest.raises(Image.DecompressionBombWarning):
            Image.open(io.BytesIO(data))
    assert set(results) == {RGB.sum()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_reads(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", RGB)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(read_image, (tmp_path / "a.png",)), RGB)
