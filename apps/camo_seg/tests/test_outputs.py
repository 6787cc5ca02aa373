"""Cutouts, crops, run lengths and polygons: what people take from a mask."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from camo_seg.outputs import Cutout, bounding_box, crop, parse_colour, to_polygons, to_rle
from camo_seg.predict import Prediction, output_files
from polyscale.errors import UserError
from polyscale.testing.command import call, one_line


def _masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    smooth = [ndimage.gaussian_filter(rng.normal(size=(h, w)), 3) > 0.02 for h, w in ((40, 60), (61, 33), (1, 9))]
    return [*smooth, np.zeros((4, 5), bool), np.ones((4, 5), bool), rng.random((30, 20)) > 0.5]


def _decode(rle: dict[str, object]) -> np.ndarray:
    """Read run lengths back by the format's description."""
    runs: list[int] = []
    value = shift = 0
    for letter in str(rle["counts"]):
        code = ord(letter) - 48
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    height, width = rle["size"]  # type: ignore[misc]
    pixels = np.repeat(np.arange(len(runs)) % 2, runs)
    return pixels.reshape(width, height).T.astype(bool)


@pytest.mark.parametrize("mask", _masks(), ids=lambda mask: f"{mask.shape}")
def test_run_lengths_hold_the_mask(mask: np.ndarray) -> None:
    assert np.array_equal(_decode(to_rle(mask)), mask)


@pytest.mark.parametrize("mask", _masks(), ids=lambda mask: f"{mask.shape}")
def test_run_lengths_are_those_of_pycocotools(mask: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    assert to_rle(mask)["counts"] == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def test_polygons_outline_every_part_within_a_pixel() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:30, 5:40] = True
    y, x = np.mgrid[:60, :80]
    mask |= np.hypot(y - 40, x - 60) < 12
    mask[15:20, 10:20] = False  # a hole, which polygons do not have
    polygons = sorted(to_polygons(mask), key=len)
    assert len(polygons) == 2
    assert sorted(zip(polygons[0][::2], polygons[0][1::2], strict=True)) == [(5, 10), (5, 30), (40, 10), (40, 30)]
    radii = np.hypot(np.array(polygons[1][::2]) - 60.5, np.array(polygons[1][1::2]) - 40.5)
    assert 8 <= len(radii) <= 30
    assert abs(radii - 12).max() < 1.2
    corner = np.zeros((4, 4), bool)
    corner[0, 0] = corner[1, 1] = True  # pixels that only touch are two parts
    assert len(to_polygons(corner)) == 2
    assert to_polygons(np.zeros((3, 3), bool)) == []


def test_a_cutout_is_opaque_inside_and_clear_outside() -> None:
    image = np.full((4, 6, 3), 100, np.uint8)
    probability = np.repeat(np.array([[0, 0.1, 0.35, 0.5, 0.9, 1]], np.float32), 4, axis=0)
    alpha = Cutout().draw(image, probability, 0.5)
    assert alpha.shape == (4, 6, 4)
    assert alpha[0, :, 3].tolist() == [0, 0, 64, 128, 255, 255]
    on_red = Cutout((255, 0, 0)).draw(image, probability, 0.5)
    assert on_red[0, 0].tolist() == [255, 0, 0]
    assert on_red[0, 5].tolist() == [100, 100, 100]
    cropped = Cutout(crop=True).draw(image, probability, 0.5)
    assert cropped.shape == (4, 4, 4)  # three columns and a margin of one
    assert crop(image, None).shape == image.shape
    assert bounding_box(np.zeros((3, 3), bool)) is None


def test_colours_are_named_or_hexadecimal() -> None:
    assert parse_colour("#ff8800") == (255, 136, 0)
    assert parse_colour("white") == (255, 255, 255)
    with pytest.raises(UserError, match="greenish is no colour"):
        parse_colour("greenish")


def test_a_prediction_writes_its_cutout_and_holds_its_segmentation(tmp_path: Path) -> None:
    probability = np.zeros((6, 8), np.float32)
    probability[2:4, 3:6] = 1
    found = Prediction("a", probability, np.zeros((6, 8, 3), np.uint8), segmentation="rle")
    paths = found.save(tmp_path, overlay=False, cutout=Cutout(crop=True))
    assert paths == output_files(tmp_path, "a", overlay=False, cutout=True)
    assert Image.open(tmp_path / "a_cutout.png").mode == "RGBA"
    assert Image.open(tmp_path / "a_cutout.png").size == (5, 4)
    assert found.to_dict()["segmentation"] == to_rle(probability > 0.5)
    assert "segmentation" not in Prediction("a", probability, found.image).to_dict()


def test_the_command_writes_cutouts_and_segmentations(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    result = call("camo-seg", "predict", tmp_path / "a.png", "--out", out, "--background", "white", "--no-overlay")
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["a_cutout.png", "a_mask.png", "a_probability.png"]
    assert Image.open(out / "a_cutout.png").mode == "RGB"
    line = call("camo-seg", "predict", tmp_path / "a.png", "--json", "--segmentation", "polygons").stdout
    assert isinstance(json.loads(line)["segmentation"], list)
    one_line(call("camo-seg", "predict", tmp_path / "a.png", "--background", "greenish"), 2, "is no colour")
