"""Baselines: what each map says, Lab values against published ones, and the bootstrap's coverage."""

from typing import Any

import numpy as np
import pytest

from camo_seg.evaluation.baselines import (
    BASELINES,
    bootstrap_difference,
    centre_prior,
    colour_contrast,
    empty_map,
)
from polyscale.data.colour import srgb_to_lab


def scene(mask_value: tuple[int, ...] = (200, 40, 40), size: tuple[int, ...] = (60, 80)) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal((60, 120, 60), 6, (*size, 3)), 0, 255).astype(np.uint8)
    mask = np.zeros(size, bool)
    mask[20:40, 45:70] = True
    image[mask] = mask_value
    return image, mask


def test_lab_of_known_colours() -> None:
    colours = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255], [119, 119, 119]]], np.uint8)
    lab = srgb_to_lab(colours)[0]
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [50.03, 0, 0]]
    np.testing.assert_allclose(lab, expected, atol=0.03)


def test_contrast_finds_what_differs_from_the_border() -> None:
    image, mask = scene()
    values = colour_contrast(image)
    assert values.shape == mask.shape
    assert values[mask].mean() > 0.8
    assert values[~mask].mean() < 0.15


def test_contrast_is_blind_to_what_matches_the_border() -> None:
    image, mask = scene(mask_value=(60, 120, 60))
    values = colour_contrast(image)
    assert values[mask].mean() < values[~mask].mean() + 0.05


def test_contrast_of_a_large_image_is_that_of_its_small_copy() -> None:
    image, _ = scene()
    large = image.repeat(8, axis=0).repeat(8, axis=1)
    values = colour_contrast(large, longest=80)
    assert values.shape == (60, 80)
    np.testing.assert_allclose(values, colour_contrast(image, longest=80), atol=1e-6)


def test_centre_prior_is_a_gaussian_of_relative_width() -> None:
    values = centre_prior(np.zeros((100, 200, 3), np.uint8), width=0.25)
    assert values.argmax() in (49 * 200 + 99, 49 * 200 + 100, 50 * 200 + 99, 50 * 200 + 100)
    assert values[50, 150] == pytest.approx(np.exp(-0.5), abs=0.01)
    assert values[75, 100] == pytest.approx(np.exp(-0.5), abs=0.02)
    np.testing.assert_array_equal(values, values[::-1, ::-1])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (33, 20)])
@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_is_a_probability_map(name: str, size: tuple[int, ...]) -> None:
    image = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    values = BASELINES[name](image)
    assert values.shape == size
    assert values.dtype == np.float32
    assert 0 <= values.min() <= values.max() <= 1
    assert empty_map(image).max() == 0


def test_bootstrap_matches_the_normal_interval() -> None:
    rng = np.random.default_rng(4)
    b = rng.normal(size=400)
    a = b + 0.1 + 0.5 * rng.normal(size=400)
    result = bootstrap_difference(a, b)
    half = 1.96 * np.std(a - b, ddof=1) / 20
    assert result.mean == pytest.approx(np.mean(a - b), abs=1e-12)
    assert result.low == pytest.approx(result.mean - half, abs=0.005)
    assert result.high == pytest.approx(result.mean + half, abs=0.005)


def test_bootstrap_is_paired_and_seeded() -> None:
    rng = np.random.default_rng(5)
    b = 100 * rng.normal(size=50)
    assert bootstrap_difference(b + 1, b)[:] == pytest.approx((1, 1, 1))
    noise = rng.normal(size=50)
    assert bootstrap_difference(noise, b, seed=1) == bootstrap_difference(noise, b, seed=1)
    assert bootstrap_difference(noise, b, seed=1) != bootstrap_difference(noise, b, seed=2)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [([1.0], [1.0, 2.0], "two vectors"), ([], [], "two vectors"), ([np.nan], [1.0], "not finite")],
)
def test_bootstrap_refuses(a: list[Any], b: list[Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bootstrap_difference(np.array(a), np.array(b))
