"""Input scales: exact sizes, no aliasing; and how maps come to one grid."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from polyscale.blocks.scales.transforms import MultiScaleInputGenerator, match_size
from polyscale.testing.contract import ModuleContract


class TestMultiScaleInputGenerator(ModuleContract):
    channels = 3
    bad_arguments = (
        (lambda: MultiScaleInputGenerator([]), "scales must be a non-empty list"),
        (lambda: MultiScaleInputGenerator([0.5, 0.0]), r"scales\[1\] must be a number above 0, got 0.0"),
        (lambda: MultiScaleInputGenerator([1.0, 1]), "scales must differ"),
        (
            lambda: MultiScaleInputGenerator(mode="area"),
            "mode must be one of 'nearest', 'bilinear', 'bicubic', got 'area'",
        ),
    )
    bad_inputs = ((lambda block: block(torch.zeros(3, 8, 8)), r"x must be \[B, C, H, W\], got \[3, 8, 8\]"),)

    def make(self) -> nn.Module:
        return MultiScaleInputGenerator((0.5, 1.0, 1.75))

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        sizes = {
            (16, 16): [(8, 8), (16, 16), (28, 28)],
            (17, 23): [(9, 12), (17, 23), (30, 40)],
            (1, 1): [(1, 1), (1, 1), (2, 2)],
        }
        return [(batch, 3, *s) for s in sizes[size]]


def test_sizes_of_camoxpert_are_exact() -> None:
    # camoXpert's own code gives 160 and 512 here
    images = MultiScaleInputGenerator()(torch.zeros(1, 3, 352, 352))
    assert [tuple(image.shape) for image in images] == [(1, 3, 176, 176), (1, 3, 352, 352), (1, 3, 528, 528)]


def test_scale_one_is_the_image_itself() -> None:
    image = torch.rand(1, 3, 9, 7)
    assert MultiScaleInputGenerator([0.5, 1.0])(image)[1] is image


def test_a_side_that_would_vanish_is_an_error_as_in_every_transform() -> None:
    # it was clamped to one pixel here and refused by MultiScaleTransform
    generator = MultiScaleInputGenerator([0.25, 1.0])
    with pytest.raises(ValueError, match=r"x must be at least 2 x 2 pixels for scale 0\.25, got 1 x 8"):
        generator(torch.zeros(1, 3, 1, 8))
    with pytest.raises(ValueError, match="at least 2 x 2 pixels"):
        generator.sizes(1, 8)


def test_shrinking_does_not_alias() -> None:
    # stripes of two pixels' period vanish at 0.4x; sampled without a filter they come back as slow waves
    stripes = torch.zeros(1, 1, 40, 40)
    stripes[..., ::2] = 1
    (small,) = MultiScaleInputGenerator([0.4])(stripes)
    assert small[..., 2:-2].std() < 0.03
    assert F.interpolate(stripes, small.shape[-2:], mode="bilinear")[..., 2:-2].std() > 0.2


def test_every_scale_shows_the_same_place() -> None:
    # a blob's centre of mass, in units of the image, is the same at every scale
    yx = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij"))
    image = torch.exp(-((yx - torch.tensor([13.0, 37.0]).view(2, 1, 1)) ** 2).sum(0) / 18)[None, None]
    for scaled in MultiScaleInputGenerator([0.25, 0.5, 1.0, 1.5, 2.0])(image):
        h, w = scaled.shape[-2:]
        mass = scaled[0, 0] / scaled.sum()
        y = (mass.sum(1) * (torch.arange(h) + 0.5) / h).sum()
        x = (mass.sum(0) * (torch.arange(w) + 0.5) / w).sum()
        assert y.item() == pytest.approx(13.5 / 40, abs=2e-3)
        assert x.item() == pytest.approx(37.5 / 60, abs=2e-3)


def test_match_size_pools_where_it_shrinks() -> None:
    x = torch.zeros(1, 1, 6, 6)
    x[0, 0, 2, 3] = 8.0
    small = match_size(x, (3, 3))
    assert small[0, 0, 1, 1] == 0.5 * (8 + 2)  # mean of the maximum and the average of its 2x2 cells
    assert small.count_nonzero() == 1


def test_match_size_keeps_constants_and_interpolates_where_it_grows() -> None:
    x = torch.full((2, 3, 5, 4), 0.7)
    for size in ((5, 4), (7, 9), (2, 3), (3, 9), (1, 1)):
        torch.testing.assert_close(match_size(x, size), torch.full((2, 3, *size), 0.7))
    x = torch.rand(2, 3, 5, 4)
    assert match_size(x, (5, 4)) is x
    torch.testing.assert_close(match_size(x, (10, 8)), F.interpolate(x, (10, 8), mode="bilinear"))
