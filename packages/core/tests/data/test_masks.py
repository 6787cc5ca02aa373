"""Masks as people have them are read by the one reading that they have, or refused with the values found."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from polyscale.data.decoding.samples import ImageError
from polyscale.data.images import save_png
from polyscale.data.masks import read_mask

SHARED = os.environ.get("POLYSCALE_SHARED") or Path(__file__).parents[4] / ".." / "shared" / "data"
ODD = Path(SHARED) / "odd"
RNG = np.random.default_rng(0)


def ellipse(
    side: int, *, fill: int = 255, scale: int = 1, box: tuple[float, float, float, float] = (0.2, 0.3, 0.8, 0.7)
) -> np.ndarray:
    """An ellipse of one value on black, drawn `scale` times as large."""
    image = Image.new("L", (side * scale, side * scale))
    ImageDraw.Draw(image).ellipse([edge * side * scale for edge in box], fill=fill)
    return np.asarray(image)


OBJECT = ellipse(96) > 0
OTHER = ellipse(96, box=(0.05, 0.05, 0.2, 0.2)) > 0
NEVER = OBJECT | OTHER
PHOTO = RNG.integers(0, 256, (96, 96, 3), dtype=np.uint8)


def stored(image: Image.Image | np.ndarray, fmt: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, fmt, **options)
    return buffer.getvalue()


def palette(*colours: tuple[int, int, int], indices: np.ndarray = OBJECT) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def with_alpha(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    colours = np.repeat(colours[..., None], 3, 2) if colours.ndim == 2 else colours
    return Image.fromarray(np.dstack([colours, alpha]).astype(np.uint8))


FULL = OBJECT * np.uint8(255)
ONES = np.full_like(FULL, 255)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(FULL), Image.fromarray(OBJECT), Image.fromarray(OBJECT.astype(np.uint8)),
        Image.fromarray(OBJECT * np.uint8(3)), Image.fromarray(OBJECT.astype(np.uint16)),
        Image.fromarray(OBJECT * np.uint16(255)), Image.fromarray(OBJECT * np.uint16(65535)),
        Image.fromarray(OBJECT * np.uint16(1000)), Image.fromarray(np.repeat(FULL[..., None], 3, 2)),
        Image.fromarray(OBJECT[..., None] * np.array([255, 0, 0], np.uint8)),
        palette((0, 0, 0), (255, 255, 255)), palette((0, 0, 0), (1, 1, 1)), palette((0, 0, 0), (128, 0, 0)),
        with_alpha(FULL, ONES), with_alpha(ONES, FULL), with_alpha(PHOTO, FULL), with_alpha(FULL, FULL),
        Image.merge("LA", [Image.fromarray(PHOTO[..., 0]), Image.fromarray(FULL)]),
    ],
)  # fmt: skip
def test_what_has_one_reading(image: Image.Image) -> None:
    mask = read_mask(stored(image, "TIFF" if image.mode.startswith("I") else "PNG"))
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, OBJECT)


def test_transparent_palettes_turns_and_arrays() -> None:
    colours = Image.fromarray(np.where(OBJECT, np.uint8(1), np.uint8(0))).convert("P")
    colours.putpalette([9, 9, 9, 40, 50, 60])
    np.testing.assert_array_equal(read_mask(stored(colours, transparency=0)), OBJECT)
    exif = Image.Exif()
    exif[274] = 6
    np.testing.assert_array_equal(read_mask(stored(FULL, exif=exif)), np.rot90(OBJECT, -1))
    for values in (OBJECT, FULL, OBJECT.astype(np.uint8), OBJECT.astype(float), OBJECT * np.uint16(65535)):
        np.testing.assert_array_equal(read_mask(values), OBJECT)
    np.testing.assert_array_equal(read_mask(torch.from_numpy(OBJECT)[None].float()), OBJECT)
    np.testing.assert_array_equal(read_mask(np.dstack([PHOTO, FULL])), OBJECT)


def test_masks_of_one_value() -> None:
    for value, expected in ((0, False), (1, True), (255, True)):
        assert (read_mask(np.full((5, 4), value, np.uint8)) == expected).all()
    with pytest.raises(ImageError, match=r"holds 1 value \(100\); set mask_rule"):
        read_mask(np.full((5, 4), 100, np.uint8))
    assert not read_mask(stored(with_alpha(PHOTO, np.zeros_like(FULL)))).any()  # a cutout without an object


def soft(kind: str, side: int, box: tuple[float, float, float, float]) -> bytes:
    sharp = Image.fromarray(ellipse(side, box=box))
    if kind.startswith("jpeg"):
        return stored(sharp, "JPEG", quality=int(kind[4:]))
    if kind.startswith("smaller"):
        factor = int(kind[7:])
        large = Image.fromarray(ellipse(side, scale=factor, box=box))
        return stored(large.resize((side, side), Image.Resampling.BOX))
    if kind == "larger":
        small = Image.fromarray(ellipse(side // 2, box=box))
        return stored(small.resize((side, side), Image.Resampling.BICUBIC))
    return stored(Image.fromarray((np.asarray(sharp) / 255 * 65535).astype(np.uint16)).resize((side // 2,) * 2))


@pytest.mark.parametrize("kind", ["jpeg95", "jpeg75", "jpeg50", "smaller2", "smaller3", "smaller8", "larger"])
@pytest.mark.parametrize("side", [48, 96, 352, 700])
@pytest.mark.parametrize(
    "box", [(0.2, 0.3, 0.8, 0.7), (0.4, 0.4, 0.55, 0.5), (0.0, 0.0, 1.0, 0.6), (0.1, 0.1, 0.9, 0.15)]
)
def test_soft_edges_are_cut_at_128(kind: str, side: int, box: tuple[float, float, float, float]) -> None:
    data = soft(kind, side, box)
    grey = np.asarray(Image.open(io.BytesIO(data)))
    if grey.max() < 224:
        pytest.skip("so small an object leaves no white pixel")
    np.testing.assert_array_equal(read_mask(data), grey > 128)


def labels(*values: int, ring: int | None = None, box: float = 1.0) -> np.ndarray:
    """Objects of the given values side by side, each with a border of `ring`."""
    result = np.zeros((96, 96), np.uint8)
    for index, value in enumerate(values):
        left = index * 96 // len(values) + 2
        size = max(2, int(box * (96 // len(values) - 8)))
        if ring is not None:
            result[8 : 12 + size, left : left + size + 4] = ring
        result[10 : 10 + size, left + 2 : left + 2 + size] = value
    return result


@pytest.mark.parametrize("box", [1.0, 0.4, 0.1])
@pytest.mark.parametrize(
    ("values", "ring"),
    [
        ((1, 255), None), ((100, 200), None), ((1, 2), None), ((1, 2, 3), None), ((1,), 255), ((1, 5, 15), 255),
        ((128, 255), None), ((255,), 128), (tuple(range(1, 14)), 255), ((10, 20, 250, 255), None), ((38, 75), None),
        ((200, 255), None), ((254, 255), None),
    ],
)  # fmt: skip
def test_label_maps_and_values_to_ignore_are_refused(values: tuple[int, ...], ring: int | None, box: float) -> None:
    array = labels(*values, ring=ring, box=box)
    for data in (stored(array), stored(array.astype(np.uint16), "TIFF"), array):
        with pytest.raises(ImageError, match=r"the mask holds \d+ values \(0, .*\); set mask_rule to nonzero"):
            read_mask(data)
    np.testing.assert_array_equal(read_mask(array, rule="nonzero"), array > 0)
    np.testing.assert_array_equal(read_mask(array, rule="above_128"), array > 128)
    np.testing.assert_array_equal(read_mask(stored(array), rule=f"label={values[0]}"), array == values[0])


@pytest.mark.parametrize("seed", range(4))
def test_photographs_and_noise_are_no_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
    for array in (np.asarray(smooth), rng.integers(0, 256, (96, 96), dtype=np.uint8)):
        with pytest.raises(ImageError, match="the mask holds"):
            read_mask(array)
        np.testing.assert_array_equal(read_mask(array, rule="above_128"), array > 128)


def test_one_colour_per_object_is_refused() -> None:
    colours = OBJECT[..., None] * np.array([255, 0, 0], np.uint8) + OTHER[..., None] * np.array([255, 255, 0], np.uint8)
    indexed = palette((0, 0, 0), (128, 0, 0), (0, 128, 0), indices=OBJECT + 2 * OTHER)
    for image in (Image.fromarray(colours), indexed):
        with pytest.raises(ImageError, match=r"holds 3 colours \(#000000, #.*\); set mask_rule to nonzero if every"):
            read_mask(stored(image))
        np.testing.assert_array_equal(read_mask(stored(image), rule="nonzero"), NEVER)
    np.testing.assert_array_equal(read_mask(stored(indexed), rule="label=2"), OTHER)
    np.testing.assert_array_equal(read_mask(stored(indexed), rule="label=1,2"), NEVER)
    with pytest.raises(ImageError, match="holds colours, mask_rule label=2 needs grey values or a palette"):
        read_mask(stored(Image.fromarray(colours)), rule="label=2")


def test_alpha_against_colours() -> None:
    both = stored(with_alpha(FULL, np.where(NEVER, 255, 0)))
    with pytest.raises(ImageError, match="the alpha channel and the colours give two different masks"):
        read_mask(both)
    np.testing.assert_array_equal(read_mask(both, rule="alpha"), NEVER)
    np.testing.assert_array_equal(read_mask(both, rule="above_128"), OBJECT)
    with pytest.raises(ImageError, match="has no alpha channel"):
        read_mask(stored(FULL), rule="alpha")
    edges = Image.fromarray(ellipse(96, scale=4)).resize((96, 96), Image.Resampling.BOX)
    np.testing.assert_array_equal(read_mask(stored(with_alpha(PHOTO, np.asarray(edges)))), np.asarray(edges) > 128)


@pytest.mark.parametrize("rule", ["", "above128", "label=", "label=x", "label=1;2", "Nonzero"])
def test_unknown_rules_are_usage_errors(rule: str) -> None:
    with pytest.raises(ImageError, match="accepted are auto, nonzero, above_128, alpha or label=N") as caught:
        read_mask(FULL, rule=rule)
    assert caught.value.exit_code == 2


def test_the_error_names_the_file(tmp_path: Path) -> None:
    path = save_png(tmp_path / "labels.png", labels(100, 200))
    with pytest.raises(ImageError, match=r"labels\.png: the mask holds 3 values \(0, 100, 200\)"):
        read_mask(path)


@pytest.mark.skipif(not ODD.is_dir(), reason="shared/data is not here")
def test_the_shared_odd_masks() -> None:
    def masks(folder: str) -> list[Path]:
        return sorted(path for path in (ODD / folder / "masks").iterdir() if path.is_file())

    for folder in ("mask_01_with_ignore_255", "mask_instances_100_200", "mask_rgb_red_and_yellow"):
        refused = 0
        for path in masks(folder):
            try:
                read_mask(path)
            except ImageError as error:
                refused += "the mask holds" in str(error)
        assert refused, folder
    for path in masks("mask_cutout_rgba"):
        np.testing.assert_array_equal(read_mask(path), np.asarray(Image.open(path))[..., 3] > 128)
    for path in masks("mask_miniswhite_16bit"):
        assert 0 < read_mask(path).mean() < 0.5
