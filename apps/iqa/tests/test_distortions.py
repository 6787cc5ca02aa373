"""Distortions: every kind at every level, any size, from one seed; each level stronger than the one before."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from iqa.data.distortions import DISTORTIONS, LEVELS, distort
from iqa.data.distortions.pixels import LINEAR, convolved, disc, from_linear, path_kernel
from iqa.data.synthetic.scenes import scene
from polyscale.errors import UserError


@pytest.fixture(scope="module")
def scenes() -> list[np.ndarray]:
    return [scene(np.random.default_rng([11, i]), 160, 192) for i in range(4)]


def change(one: Any, other: Any) -> Any:
    """Mean absolute difference, and that of slightly blurred images, which noise and dither do not hide."""
    smooth = [ndimage.uniform_filter(p.astype(np.float32), (5, 5, 1)) for p in (one, other)]
    return np.abs(one.astype(np.float32) - other).mean() + np.abs(smooth[0] - smooth[1]).mean()


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_every_level_is_stronger_than_the_one_before(kind: str, scenes: list[np.ndarray]) -> None:
    """On each scene by itself for kinds that change every pixel, on the mean for those that draw places."""
    changes = []
    for i, image in enumerate(scenes):
        before = image.copy()
        levels = [distort(image, kind, level, np.random.default_rng([3, i])) for level in range(1, 6)]
        assert np.array_equal(image, before)
        changes.append([change(image, level) for level in levels])
    mean = np.mean(changes, 0)
    assert mean[0] > 0
    assert (np.diff(mean) > 0).all(), mean
    assert (np.diff(changes, axis=1) > 0).mean() >= 0.9, changes
    assert mean[4] > 1.5 * mean[0]


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_any_size_keeps_its_shape_and_the_seed_decides(kind: str) -> None:
    for shape in ((1, 1), (2, 3), (7, 300), (300, 7), (33, 65)):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        for level in (1, 5):
            first, again = (distort(image, kind, level, np.random.default_rng(5)) for _ in range(2))
            assert first.shape == image.shape
            assert first.dtype == np.uint8
            assert np.array_equal(first, again)


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_grey_black_and_white_images_and_views_are_taken(kind: str) -> None:
    ramp = np.repeat(np.linspace(0, 255, 48).astype(np.uint8)[None, :, None], 40, 0)
    for image in (np.repeat(ramp, 3, 2), np.zeros((40, 48, 3), np.uint8), np.full((40, 48, 3), 255, np.uint8)):
        image.flags.writeable = False
        assert distort(image[::-1, ::2], kind, 3, np.random.default_rng(0)).shape == (40, 24, 3)


def test_levels_differ_in_strength_alone() -> None:
    """The noise of level 5 is that of level 1 scaled: one seed, one realisation."""
    grey = np.full((64, 64, 3), 128, np.uint8)
    weak, strong = (
        distort(grey, "white_noise", level, np.random.default_rng(9)).astype(float) - 128 for level in (2, 5)
    )
    assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.98
    few, many = (distort(grey, "impulse_noise", level, np.random.default_rng(9)) != 128 for level in (2, 5))
    assert not (few & ~many).any()
    less, more = (distort(grey, "colour_blocks", level, np.random.default_rng(9)) != 128 for level in (2, 5))
    assert not (less & ~more).any()


def test_there_are_the_25_kinds_of_kadid_and_the_chains_of_a_camera() -> None:
    assert len(DISTORTIONS) >= 30
    assert all(len(strengths) == 5 and list(strengths) == sorted(strengths) for strengths in LEVELS.values())


def test_wrong_arguments_are_named() -> None:
    image, rng = np.zeros((8, 8, 3), np.uint8), np.random.default_rng(0)
    with pytest.raises(UserError, match=r"no distortion 'haze'.*gaussian_blur"):
        distort(image, "haze", 1, rng)
    for level in (0, 6):
        with pytest.raises(UserError, match="levels 1 to 5"):
            distort(image, "jpeg", level, rng)
    for wrong in (image[..., :1], image[..., 0], image.astype(np.float32)):
        with pytest.raises(ValueError, match="expected uint8"):
            distort(wrong, "jpeg", 1, rng)


def test_blurs_keep_the_mean_and_match_scipy() -> None:
    image = np.random.default_rng(1).random((40, 56, 3)).astype(np.float32)
    kernel = disc(3.4)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    expected = ndimage.convolve(image, kernel[..., None], mode="reflect")
    assert np.abs(convolved(image, [kernel])[0] - expected).max() < 1e-5
    path = path_kernel(np.stack([np.zeros(50), np.linspace(0, 6, 50)], 1))
    assert path.sum() == pytest.approx(1, abs=1e-5)
    assert np.count_nonzero(path > 1e-3) in range(6, 10)
    small = ndimage.convolve(image, path[..., None], mode="reflect")
    both = convolved(image, [kernel, path])
    assert np.abs(both[0] - expected).max() < 1e-5
    assert np.abs(both[1] - small).max() < 1e-5


def test_linear_light_and_back_changes_nothing() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(from_linear(LINEAR.take(every)), every)


def test_a_side_beyond_the_codecs_goes_in_pieces() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 17000, 3), np.uint8)
    assert distort(image, "webp", 1, np.random.default_rng(0)).shape == image.shape
