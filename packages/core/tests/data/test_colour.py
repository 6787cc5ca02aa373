"""Conversions of colour against published values."""

import numpy as np

from polyscale.data.colour import linear_to_srgb, oklab_to_srgb, srgb_to_lab, srgb_to_linear


def test_the_transfer_curve_of_srgb_and_back() -> None:
    values = np.linspace(0, 1, 256)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-7)
    np.testing.assert_allclose(
        srgb_to_linear(np.array([0.0, 0.04045, 0.5, 1.0])), [0, 0.0031308, 0.214041, 1], atol=1e-6
    )


def test_lab_and_oklab_of_known_colours() -> None:
    red, grey = srgb_to_lab(np.array([[255, 0, 0], [119, 119, 119]], np.uint8))
    np.testing.assert_allclose(red, [53.24, 80.09, 67.20], atol=0.03)
    np.testing.assert_allclose(grey, [50.03, 0, 0], atol=0.03)
    lab = np.array([[1.0, 0, 0], [0.627955, 0.224863, 0.125846], [0.452014, -0.032457, -0.311528]])
    np.testing.assert_allclose(oklab_to_srgb(lab), [[1, 1, 1], [1, 0, 0], [0, 0, 1]], atol=2e-3)
