"""Images as people have them are read as a viewer shows them, or refused by their true reason."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from polyscale.data.colour import linear_to_srgb, srgb_to_linear
from polyscale.data.decoding.opening import HAS_HEIF
from polyscale.data.images import MAX_ASPECT, ImageError, image_header, image_size, read_image

SHARED = os.environ.get("POLYSCALE_SHARED") or Path(__file__).parents[4] / ".." / "shared" / "data"
ODD = Path(SHARED) / "odd" / "images"
RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (37, 23, 3)).astype(np.uint16)
GREY = DEEP[..., 0]


def tiff(samples: np.ndarray, *, planar: bool = False, order: str = "<", strips: int = 3, **tags: int) -> bytes:
    """A TIFF written by hand [H, W] or [H, W, C]; compression 8 is deflate."""
    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, count = samples.shape
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    samples = samples.astype(samples.dtype.newbyteorder(order))
    rows = -(-height // strips)
    planes = [samples[..., i : i + 1] for i in range(count)] if planar else [samples]
    if tags.get("predictor", 1) == 2:
        planes = [np.concatenate([p[:, :1], np.diff(p, axis=1)], 1).astype(samples.dtype) for p in planes]
    parts = [p[top : top + rows].tobytes() for p in planes for top in range(0, height, rows)]
    if tags.get("compression", 1) == 8:
        parts = [zlib.compress(part) for part in parts]
    body, offsets = b"", []
    for part in parts:
        offsets.append(8 + len(body))
        body += part + b"\0" * (len(part) % 2)
    photometric = tags.get("photometric", 2 if count >= 3 else 1)
    entries: list[tuple[int, int, list[int]]] = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [8 * samples.itemsize] * count),
        (259, 3, [tags.get("compression", 1)]), (262, 3, [photometric]), (273, 4, offsets),
        (274, 3, [tags.get("turn", 1)]),
        (277, 3, [count]), (278, 4, [rows]), (279, 4, [len(part) for part in parts]), (284, 3, [1 + planar]),
        (317, 3, [tags.get("predictor", 1)]), (339, 3, [kind] * count),
    ]  # fmt: skip
    if "extra" in tags:
        entries.insert(-1, (338, 3, [tags["extra"]]))
        entries.sort()
    directory = b""
    for tag, form, values in entries:
        packed = struct.pack(f"{order}{len(values)}{'H' if form == 3 else 'I'}", *values)
        if len(packed) > 4:
            place = 8 + len(body)
            body += packed + b"\0" * (len(packed) % 2)
            packed = struct.pack(f"{order}I", place)
        directory += struct.pack(f"{order}HHI", tag, form, len(values)) + packed.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(entries)) + directory + b"\0" * 4
    return mark + struct.pack(f"{order}I", 8 + len(body)) + body + directory


def scaled(values: np.ndarray) -> np.ndarray:
    return np.rint(values / 257)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tags", [{}, {"compression": 8}, {"compression": 8, "predictor": 2}])
def test_16_bit_min_is_white_is_inverted(order: str, tags: dict[str, int]) -> None:
    data = tiff(65535 - GREY, photometric=0, order=order, **tags)
    np.testing.assert_array_equal(read_image(data)[..., 0], scaled(GREY))
    eight = tiff((255 - (GREY >> 8)).astype(np.uint8), photometric=0)
    np.testing.assert_array_equal(read_image(eight)[..., 0], GREY >> 8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tags", [{}, {"compression": 8}, {"compression": 8, "predictor": 2}])
def test_16_bit_planes_and_interleaved_samples(order: str, tags: dict[str, int]) -> None:
    for planar in (True, False):
        data = tiff(DEEP, planar=planar, order=order, **tags)
        assert image_size(data) == DEEP.shape[:2]
        assert np.abs(read_image(data) - DEEP / 257).max() <= 1


@pytest.mark.parametrize("planar", [True, False])
@pytest.mark.parametrize("tags", [{}, {"compression": 8}])
@pytest.mark.parametrize("scale", [1, 255])
def test_float_colour_has_a_stated_range(planar: bool, tags: dict[str, int], scale: int) -> None:
    unit = (DEEP / 65535).astype(np.float32)
    unit[0, 0] = 1
    data = tiff(unit * scale, planar=planar, **tags)
    np.testing.assert_array_equal(read_image(data), np.rint(unit * scale * (255 / scale)))
    for bad in (unit * 1.5, unit - 0.5, unit * 1000):
        with pytest.raises(ImageError, match=r"float samples from .* accepted are \[0, 1\] and \[0, 255\]"):
            read_image(tiff(bad.astype(np.float32), planar=planar, **tags))


@pytest.mark.parametrize("kind", ["i1", "i2", "i4"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_signed_samples_are_refused_by_their_reason(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"signed \d+-bit samples, whose black and white are unknown; save it as"):
        read_image(tiff(np.ones(shape, kind)))


def test_other_kinds_of_tiff() -> None:
    wide = tiff(DEEP.astype(np.uint32) << 16)
    np.testing.assert_array_equal(read_image(wide), scaled(DEEP))
    alpha = np.dstack([DEEP, np.where(np.arange(23) < 9, 0, 65535)[None].repeat(37, 0).astype(np.uint16)])
    shown = read_image(tiff(alpha, planar=True, extra=2))
    assert (shown[:, :9] == 255).all()
    np.testing.assert_array_equal(shown[:, 9:], scaled(DEEP[:, 9:]))
    with pytest.raises(ImageError, match="a TIFF of a kind that is not read"):
        read_image(tiff(RNG.random((5, 7, 3)).astype(np.float16)))
    with pytest.raises(ImageError, match=r"a TIFF of a kind that is not read \(3 x 64-bit float samples"):
        read_image(tiff(RNG.random((5, 7, 3))))
    turned = tiff(DEEP, planar=True, turn=6)
    assert image_header(turned) == (23, 37, 6)
    np.testing.assert_array_equal(read_image(turned), np.rot90(scaled(DEEP), -1))
    with pytest.raises(ImageError, match="more than the 100 accepted"):
        read_image(turned, max_pixels=100)
    with pytest.raises(ImageError, match="damaged"):
        read_image(tiff(DEEP, planar=True)[:200])


def adobe_rgb() -> bytes:
    """A matrix profile with the primaries of Display P3, made from sRGB's by exchanging its colorants."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    colorants = {
        b"rXYZ": (0.51512, 0.2412, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.1571, 0.06657, 0.78407),
    }
    for index in range(int.from_bytes(profile[128:132], "big")):
        entry = 132 + 12 * index
        if (tag := bytes(profile[entry : entry + 4])) in colorants:
            place = int.from_bytes(profile[entry + 4 : entry + 8], "big") + 8
            profile[place : place + 12] = struct.pack(">3i", *(round(65536 * v) for v in colorants[tag]))
    return bytes(profile)


def with_profile(fmt: str, profile: bytes, pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, fmt, icc_profile=profile, **options)
    return buffer.getvalue()


RGB = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(("fmt", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_wide_gamut_profiles_are_converted(fmt: str, options: dict[str, object]) -> None:
    profile = adobe_rgb()
    expected = np.asarray(
        ImageCms.profileToProfile(
            Image.fromarray(RGB), ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        )
    )
    assert np.abs(expected.astype(int) - RGB).max() > 20
    data = with_profile(fmt, profile, RGB, **options)
    np.testing.assert_array_equal(read_image(data), expected)
    small = read_image(data, min_pixels=48 * 64 // 4)
    assert np.abs(small - expected.reshape(24, 2, 32, 2, 3).mean((1, 3))).max() <= 1


def test_profiles_of_srgb_and_damaged_ones_change_nothing() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile", srgb[:300]):
        np.testing.assert_array_equal(read_image(with_profile("PNG", profile, RGB)), RGB)
    grey = read_image(with_profile("PNG", srgb, RGB[..., 0]))  # a profile of colours in a grey image
    np.testing.assert_array_equal(grey[..., 0], RGB[..., 0])


def test_alpha_and_profile_together() -> None:
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    rgba[:9, :, 3] = 0
    shown, opaque = (read_image(with_profile("PNG", adobe_rgb(), pixels)) for pixels in (rgba, RGB))
    assert (shown[:9] == 255).all()
    np.testing.assert_array_equal(shown[9:], opaque[9:])


def test_lab_tiff_is_shown_in_its_colours() -> None:
    lab = ImageCms.applyTransform(
        Image.fromarray(RGB),
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    buffer = io.BytesIO()
    lab.save(buffer, "TIFF")
    assert np.abs(read_image(buffer.getvalue()).astype(int) - RGB).mean() < 3


def test_exif_behind_the_pixels_of_a_png_turns_it() -> None:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB).save(buffer, "PNG", exif=exif)
    data = buffer.getvalue()
    place = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[place : place + 4], "big")
    end = data.index(b"IEND") - 4
    behind = data[:place] + data[place + length : end] + data[place : place + length] + data[end:]
    assert image_header(behind) == (64, 48, 6)
    np.testing.assert_array_equal(read_image(behind), np.rot90(RGB, -1))
    np.testing.assert_array_equal(read_image(behind, min_pixels=700), read_image(data, min_pixels=700))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r"a HEIC image, which is not read; pip install 'polyscale\[heic\]'"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1heix", "a HEIC image"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "a video or a raw photograph"),
        (b"\xff\x0a" + bytes(30), "a JPEG XL image"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\x76\x2f\x31\x01" + bytes(20), "an OpenEXR file"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer to a file in Git LFS"),
    ],
)
def test_other_kinds_are_named_and_never_called_damaged(tmp_path: Path, head: bytes, message: str) -> None:
    if HAS_HEIF and "HEIC" in message:
        pytest.skip("pillow-heif is installed")
    path = tmp_path / "photo.jpg"
    path.write_bytes(head + bytes(200))
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert "damaged" not in str(caught.value)


def test_a_strip_of_pixels_is_refused_where_the_caller_asks() -> None:
    strip = np.zeros((4, 7000, 3), np.uint8)
    assert read_image(strip).shape == strip.shape
    buffer = io.BytesIO()
    Image.fromarray(strip).save(buffer, "PNG")
    for source in (strip, buffer.getvalue()):
        with pytest.raises(ImageError, match="7000 x 4 pixels, one side more than 500 times the other; crop"):
            read_image(source, max_aspect=MAX_ASPECT)


def test_the_size_of_an_array_needs_no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyscale.data.images.to_8bit", lambda *_: pytest.fail("converted"))
    assert image_size(np.zeros((40, 50), np.uint16)) == (40, 50)
    assert image_size(np.zeros((40, 50, 3))) == (40, 50)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA"])
def test_the_memory_of_reading_is_a_small_multiple_of_the_pixels(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (6000, 6000)).save(tmp_path / "flat.png")
    code = (
        "import sys, resource, numpy as np; from polyscale.data.images import read_image\n"
        "read_image(np.zeros((8, 8, 4), np.uint8)); peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); pixels = read_image(sys.argv[1]); print((peak() - before) * 1024 / pixels.nbytes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "flat.png"], check=True, capture_output=True, text=True, env=os.environ
    )
    assert float(done.stdout) < 3.3


def test_linear_light_and_back() -> None:
    codes = np.linspace(0, 1, 256)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(codes)), codes, atol=1e-6)
    assert srgb_to_linear(np.array(0.5)) == pytest.approx(0.21404, abs=1e-5)


@pytest.mark.skipif(not ODD.is_dir(), reason="shared/data is not here")
def test_the_shared_odd_images() -> None:
    pixels = {path.name: read_image(path) for path in sorted(ODD.iterdir())}
    for white in ("grey16_miniswhite.tif", "grey8_miniswhite.tif"):
        np.testing.assert_array_equal(pixels[white], pixels["grey16_minisblack.tif"])
    seen = np.abs(pixels["flower_p3.png"].astype(int) - pixels["flower_p3_viewer.png"])
    assert seen.max() <= 1
    assert pixels["exif_behind_pixels.png"].shape[:2] == image_size(ODD / "exif_behind_pixels.png")
    assert pixels["exif_behind_pixels.png"].shape == pixels["flower_srgb.png"].shape
    assert pixels["rgb_float32.tif"].std() > 20
