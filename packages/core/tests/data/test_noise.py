"""Noise for drawn images: seeded, shaped as asked, and smooth."""

import numpy as np
import pytest

from polyscale.data.noise import enlarged, frequencies, streaks, white_spectrum


def drawn(seed: int, gain: np.ndarray, columns: int) -> np.ndarray:
    return np.fft.irfft2(white_spectrum(np.random.default_rng(seed), gain), s=(len(gain), columns))


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (33, 50), (1, 8)])
def test_frequencies_are_cycles_per_pixel(rows: int, columns: int) -> None:
    radius, cosine, sine = frequencies(rows, columns)
    assert radius.shape == cosine.shape == sine.shape == (rows, columns // 2 + 1)
    assert radius[0, 1] == pytest.approx(1 / columns)
    assert (cosine[0, 1], sine[0, 1]) == pytest.approx((1, 0))
    np.testing.assert_allclose(cosine**2 + sine**2, 1, atol=1e-6)


def test_a_spectrum_shapes_the_noise_and_the_seed_decides_it() -> None:
    radius, *_ = frequencies(128, 128)
    band = (np.abs(radius - 0.125) < 0.01).astype(np.float32)  # waves of eight pixels
    field = drawn(3, band, 128)
    np.testing.assert_array_equal(field, drawn(3, band, 128))
    assert not np.array_equal(field, drawn(4, band, 128))
    power = np.abs(np.fft.rfft2(field))
    assert power[band == 0].max() < 1e-3 * power.max()


def test_the_variance_of_a_white_number_is_the_one_that_is_documented() -> None:
    spectrum = white_spectrum(np.random.default_rng(0), np.ones((256, 129), np.float32))
    assert np.var(spectrum.real) == pytest.approx(2**16 / 12, rel=0.02)
    assert abs(spectrum.mean()) < 1  # of a deviation of 74


@pytest.mark.parametrize("angle", [0.0, np.pi / 2])
def test_streaks_run_across_their_angle(angle: float) -> None:
    gain = np.exp(streaks(64, 64, angle, 3.0) - 3)
    gain[0, 0] = 0
    down, along = (np.abs(np.diff(drawn(1, gain, 64), axis=axis)).mean() for axis in (0, 1))
    assert (along > 2 * down) == (angle == 0)
    assert (down > 2 * along) == (angle != 0)


def test_a_grid_is_enlarged_smoothly_and_a_box_of_it_is_its_part() -> None:
    grid = np.random.default_rng(0).standard_normal((6, 6))
    whole = enlarged(grid, 240, 240)
    assert whole.shape == (240, 240)
    assert whole.dtype == np.float32
    assert np.abs(np.diff(whole)).max() < 0.15 * np.ptp(grid)
    np.testing.assert_allclose(enlarged(grid, 80, 120, (1, 2, 4, 4)), whole[80:160, 40:160], atol=1e-4)
    np.testing.assert_allclose(enlarged(np.full((3, 3), 0.7), 10, 20), 0.7, atol=1e-6)
