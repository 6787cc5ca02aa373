"""Reading no more pixels than are needed: the same image, smaller, in bounded memory."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from polyscale.data.images import ImageError, image_size, read_image

HEIGHT, WIDTH = 400, 608
ENOUGH = 4 * 64 * 64


def photo() -> Image.Image:
    """Shapes with sharp edges over noise of every scale: what a resize can get wrong."""
    rng = np.random.default_rng(0)
    array = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for scale in (1, 4, 16, 64):
        noise = rng.normal(0, 20, (HEIGHT // scale + 1, WIDTH // scale + 1, 3)) + 30
        array += np.kron(noise, np.ones((scale, scale, 1)))[:HEIGHT, :WIDTH]
    array[100:250, 200:330] = 230, 40, 60
    return Image.fromarray(array.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7))


PHOTO = photo()
RGB = np.asarray(PHOTO)


def encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def resized(array: np.ndarray, side: int = 64) -> np.ndarray:
    return np.asarray(Image.fromarray(array).resize((side, side), Image.Resampling.BILINEAR)).astype(float)


ALPHA = Image.fromarray(np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1)))
SOURCES = {
    "JPEG 4:2:0": encode(PHOTO, "JPEG", quality=90),
    "JPEG progressive": encode(PHOTO, "JPEG", quality=90, progressive=True),
    "JPEG 4:4:4": encode(PHOTO, "JPEG", quality=90, subsampling=0),
    "JPEG grey": encode(PHOTO.convert("L"), "JPEG", quality=90),
    "JPEG CMYK": encode(PHOTO.convert("CMYK"), "JPEG", quality=90),
    "PNG": encode(PHOTO, "PNG"),
    "PNG palette": encode(PHOTO.quantize(200), "PNG"),
    "PNG alpha": encode(Image.merge("RGBA", [*PHOTO.split(), ALPHA]), "PNG"),
    "PNG 16 bit": encode(Image.fromarray(RGB[..., 0].astype(np.uint16) * 257), "PNG"),
    "TIFF float": encode(Image.fromarray(RGB[..., 0].astype(np.float32) / 255), "TIFF"),
    "WebP": encode(PHOTO, "WEBP", quality=90),
    "GIF": encode(PHOTO.quantize(200), "GIF"),
    "PIL": PHOTO,
    "array": RGB,
    "tensor": torch.from_numpy(RGB.copy()).permute(2, 0, 1).float() / 255,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_smaller_and_all_but_equal_after_the_resize(kind: str) -> None:
    full, small = read_image(SOURCES[kind]), read_image(SOURCES[kind], min_pixels=ENOUGH)
    assert full.shape == (HEIGHT, WIDTH, 3)
    assert small.shape == (HEIGHT // 2, WIDTH // 2, 3)
    assert small.flags.writeable
    difference = np.abs(resized(small) - resized(full))
    assert difference.mean() < 0.6
    assert difference.max() < 8  # beside an edge


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_never_fewer_than_asked_for(factor: int) -> None:
    odd = PHOTO.crop((0, 0, 603, 397))
    for source in (encode(odd, "JPEG"), encode(odd, "PNG")):
        enough = (397 // factor) * (603 // factor)
        assert read_image(source, min_pixels=enough).shape[:2] == (-(-397 // factor), -(-603 // factor))
        more = read_image(source, min_pixels=enough + 1)
        assert more.shape[0] * more.shape[1] > enough or factor == 1


def test_squares_are_averaged_exactly() -> None:
    squares = RGB[: HEIGHT // 8 * 8, : WIDTH // 8 * 8].reshape(HEIGHT // 8, 8, WIDTH // 8, 8, 3).mean((1, 3))
    small = read_image(SOURCES["PNG"], min_pixels=1)[: HEIGHT // 8, : WIDTH // 8]
    assert np.abs(small - squares).max() <= 0.51
    jpeg = read_image(SOURCES["JPEG 4:4:4"], min_pixels=1)[: HEIGHT // 8, : WIDTH // 8]  # each block's mean
    assert np.abs(jpeg - squares).max() <= 12
    assert np.abs(jpeg - squares).mean() <= 2


def test_bands_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = {kind: read_image(SOURCES[kind], min_pixels=ENOUGH) for kind in SOURCES}
    monkeypatch.setattr("polyscale.data.decoding.samples.BAND", 5000)
    for kind, expected in at_once.items():
        np.testing.assert_array_equal(read_image(SOURCES[kind], min_pixels=ENOUGH), expected)


def test_small_images_are_untouched() -> None:
    for kind in ("JPEG 4:2:0", "PNG", "array"):
        np.testing.assert_array_equal(read_image(SOURCES[kind], min_pixels=HEIGHT * WIDTH), read_image(SOURCES[kind]))
    assert read_image(np.zeros((1, 1, 3), np.uint8), min_pixels=0).shape == (1, 1, 3)
    assert read_image(np.zeros((1, 900, 3), np.uint8), min_pixels=1).shape == (1, 900, 3)  # no side falls to nothing


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("turn", [3, 6, 8])
def test_turned_as_the_whole_is(fmt: str, turn: int) -> None:
    exif = Image.Exif()
    exif[274] = turn
    data = encode(PHOTO, fmt, exif=exif)
    assert np.abs(resized(read_image(data, min_pixels=ENOUGH)) - resized(read_image(data))).mean() < 0.6


def test_the_callers_image_does_not_change(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(SOURCES["JPEG 4:2:0"])
    with Image.open(tmp_path / "a.jpg") as image:
        read_image(image, min_pixels=ENOUGH)
        assert image.size == (WIDTH, HEIGHT)
        np.testing.assert_array_equal(read_image(image), read_image(tmp_path / "a.jpg"))


def test_a_cut_file_is_an_error_here_too(tmp_path: Path) -> None:
    for kind in ("JPEG 4:2:0", "JPEG progressive", "PNG"):
        (tmp_path / "cut").write_bytes(SOURCES[kind][:-2000])
        with pytest.raises(ImageError, match="cut: damaged or cut short"):
            read_image(tmp_path / "cut", min_pixels=ENOUGH)


PEAK = """
import sys
from pathlib import Path
from polyscale.data.images import read_image
def peak():  # of this process alone: ru_maxrss begins with that of the process that started it
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM:"))
before = peak()
print(*read_image(sys.argv[1], min_pixels=590_000).shape[:2])
print((peak() - before) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "size", "mode", "megabytes"),
    [
        ("a.jpg", (11_600, 8_700), "RGB", 80),
        ("a.png", (5_000, 4_000), "RGBA", 180),
        ("b.png", (5_000, 4_000), "I;16", 180),
    ],
)
def test_peak_memory(tmp_path: Path, name: str, size: tuple[int, int], mode: str, megabytes: int) -> None:
    Image.new(mode, size).save(tmp_path / name, compress_level=1)
    result = subprocess.run([sys.executable, "-c", PEAK, tmp_path / name], check=True, capture_output=True, text=True)
    shape, peak = result.stdout.splitlines()
    height, width = map(int, shape.split())
    assert 590_000 <= height * width < size[0] * size[1] / 4
    assert image_size(tmp_path / name) == size[::-1]
    assert int(peak) < megabytes
