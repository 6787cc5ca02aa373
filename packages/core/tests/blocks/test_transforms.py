"""MultiScaleTransform, Rescale and PyramidDownsample: sizes, values, inverses, and no aliasing."""

import copy
import gc
import pickle
import weakref
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks.scales.transforms import MODES, MultiScaleTransform, PyramidDownsample, Rescale, resize
from polyscale.testing.contract import ModuleContract


class TestMultiScaleTransform(ModuleContract):
    channels = 3
    sizes: ClassVar = [(16, 16), (17, 23), (2, 2)]
    bad_arguments: ClassVar = [
        (lambda: MultiScaleTransform([]), r"scales must be a non-empty list .* got \[\]"),
        (lambda: MultiScaleTransform([1.0, 0.0]), r"scales\[1\] must be a number above 0, got 0.0"),
        (lambda: MultiScaleTransform([-0.5]), r"scales\[0\] must be a number above 0, got -0.5"),
        (lambda: MultiScaleTransform([float("nan")]), r"scales\[0\] .* got nan"),
        (lambda: MultiScaleTransform([0.5, 0.5]), r"differ from each other"),
        (
            lambda: MultiScaleTransform(mode="linear"),
            "mode must be one of 'nearest', 'bilinear', 'bicubic', got 'linear'",
        ),
    ]
    bad_inputs: ClassVar = [
        (lambda block: block(torch.zeros(3, 8, 8)), r"x must be \[B, C, H, W\], got \[3, 8, 8\]"),
        (lambda block: block(torch.zeros(1, 3, 1, 8)), r"at least 2 x 2 pixels for scale 0.25, got 1 x 8"),
        (lambda block: block.inverse(torch.zeros(1, 3, 4, 4), (8,)), r"original_size must be .* got \(8,\)"),
        (lambda block: block.inverse(torch.zeros(1, 3, 4, 4), (8, 0)), r"original_size must be .* got \(8, 0\)"),
    ]

    def make(self) -> nn.Module:
        return MultiScaleTransform([1.0, 0.5, 1.5, 0.25])

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> list[tuple[int, ...]]:
        return [(batch, 3, *(int(side * scale + 0.5) for side in size)) for scale in (1.0, 0.5, 1.5, 0.25)]


class TestRescale(ModuleContract):
    channels = 3
    bad_arguments: ClassVar = [
        (lambda: Rescale(0), "scale_factor must be a number above 0, got 0"),
        (lambda: Rescale(float("inf")), "scale_factor must be a number above 0, got inf"),
        (lambda: Rescale(0.5, "area"), "mode must be one of .* got 'area'"),
    ]
    bad_inputs: ClassVar = [(lambda block: block(torch.zeros(8, 8)), r"x must be \[B, C, H, W\], got \[8, 8\]")]

    def make(self) -> nn.Module:
        return Rescale(0.5, "bicubic")

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 3, (size[0] + 1) // 2, (size[1] + 1) // 2)


class TestPyramidDownsample(ModuleContract):
    channels = 3
    sizes: ClassVar = [(16, 16), (17, 23), (4, 4)]
    bad_arguments: ClassVar = [
        (lambda: PyramidDownsample(0), "num_levels must be an integer of at least 1, got 0"),
        (lambda: PyramidDownsample(2.0), "num_levels must be an integer of at least 1, got 2.0"),
        (lambda: PyramidDownsample(2, "conv"), "mode must be one of .* got 'conv'"),
    ]
    bad_inputs: ClassVar = [
        (lambda block: block(torch.zeros(1, 3, 3, 8)), "x must be at least 4 x 4 pixels here, got 3 x 8"),
        (lambda block: block.get_level(3), "level must be an integer from 0 to 2, got 3"),
        (lambda block: block.get_level(-1), "level must be an integer from 0 to 2, got -1"),
        (lambda block: block.get_level(1), r"x is missing.*get_level\(level, x\)"),
    ]

    def make(self) -> nn.Module:
        return PyramidDownsample(3)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> list[tuple[int, ...]]:
        sizes = [size]
        for _ in range(2):
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        return [(batch, 3, *level) for level in sizes]


def stripes(period: int) -> Tensor:
    """Vertical stripes of `period` pixels, one of them white: [1, 1, 96, 96]."""
    return (torch.arange(96) % period == 0).float().expand(1, 1, 96, 96)


def test_stripes_finer_than_a_quarter_do_not_alias() -> None:
    aliased = F.interpolate(stripes(3), scale_factor=0.25, mode="bilinear", align_corners=False)
    assert aliased.std() > 0.2
    assert Rescale(0.25)(stripes(3)).std() < 0.02
    assert MultiScaleTransform([0.25])(stripes(3))[0].std() < 0.02
    assert PyramidDownsample(3)(stripes(3))[2].std() < 0.06


@pytest.mark.parametrize("mode", MODES)
def test_enlarging_is_the_interpolation_of_torch(mode: str) -> None:
    x = torch.randn(2, 3, 5, 7)
    torch_mode, corners = ("nearest-exact", None) if mode == "nearest" else (mode, False)
    torch.testing.assert_close(
        Rescale(2, mode)(x), F.interpolate(x, scale_factor=2, mode=torch_mode, align_corners=corners)
    )


def test_nearest_takes_the_pixel_in_the_middle() -> None:
    x = torch.arange(9.0).reshape(1, 1, 1, 9).expand(1, 1, 3, 9)
    assert Rescale(1 / 3, "nearest")(x).tolist() == [[[[1.0, 4.0, 7.0]]]]


@pytest.mark.parametrize("mode", MODES)
def test_shrinking_keeps_a_constant_and_a_ramp_centred(mode: str) -> None:
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    half = Rescale(0.5, mode)(ramp)
    offset = 0.5 if mode == "nearest" else 0.0  # an even factor has no middle pixel
    torch.testing.assert_close(half[..., 3:-3], (ramp[..., ::2] + 0.5 + offset)[..., :16, 3:-3], atol=1e-4, rtol=0)
    torch.testing.assert_close(Rescale(0.3, mode)(torch.ones(1, 2, 21, 33)), torch.ones(1, 2, 6, 10))


def test_scale_one_copies_nothing() -> None:
    x = torch.randn(1, 3, 7, 9)
    assert MultiScaleTransform([0.5, 1.0])(x)[1] is x
    assert Rescale(1.0)(x) is x


@pytest.mark.parametrize("size", [(64, 48), (65, 47), (9, 8)])
def test_inverse_gives_the_original_size(size: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *size)
    block = MultiScaleTransform([1.0, 0.5, 0.3, 1.7])
    maps = block(x)
    back = block.inverse(maps, size)
    assert [tuple(item.shape[-2:]) for item in back] == [size] * 4
    assert torch.equal(back[0], x)
    torch.testing.assert_close(block.inverse(maps[1], size), back[1])
    for factor in (0.5, 0.3, 1.7):
        rescale = Rescale(factor)
        assert rescale.inverse(rescale(x), x.shape[-2:]).shape == x.shape


def test_inverse_recovers_a_smooth_image() -> None:
    ramp = torch.linspace(0, 1, 65)[:, None] + torch.linspace(0, 1, 47)
    rescale = Rescale(0.5)
    back = rescale.inverse(rescale(ramp[None, None]), (65, 47))[0, 0]
    assert (back - ramp)[3:-3, 3:-3].abs().max() < 0.005  # the border has nothing to lean on
    assert (back - ramp).abs().max() < 0.03


def test_inverse_without_size_divides_by_the_factor() -> None:
    rescale = Rescale(0.5)
    assert rescale.inverse(rescale(torch.zeros(1, 1, 64, 48))).shape[-2:] == (64, 48)
    assert rescale.inverse(rescale(torch.zeros(1, 1, 65, 47))).shape[-2:] == (66, 48)
    double = Rescale(2)  # nothing is lost by enlarging
    assert double.inverse(double(torch.zeros(1, 1, 65, 47))).shape[-2:] == (65, 47)


def test_half_precision_shrinks_on_cpu() -> None:
    x = torch.rand(1, 3, 16, 16)
    for dtype in (torch.bfloat16, torch.float16):
        small = resize(x.to(dtype), (5, 7))
        assert small.dtype is dtype
        torch.testing.assert_close(small.float(), resize(x, (5, 7)), atol=0.01, rtol=0)


def test_levels_are_made_from_each_other() -> None:
    x = torch.rand(1, 2, 40, 28)
    levels = PyramidDownsample(3)(x)
    assert levels[0] is x
    half = F.interpolate(x, (20, 14), mode="bilinear", antialias=True)
    torch.testing.assert_close(levels[1], half)
    torch.testing.assert_close(levels[2], F.interpolate(half, (10, 7), mode="bilinear", antialias=True))


def test_get_level_with_and_without_the_image() -> None:
    pyramid = PyramidDownsample(3)
    x = torch.rand(1, 2, 16, 16)
    levels = pyramid(x)
    for i in range(3):
        assert pyramid.get_level(i) is levels[i]
        torch.testing.assert_close(pyramid.get_level(i, x), levels[i])


def test_a_pyramid_keeps_no_image_alive() -> None:
    pyramid = PyramidDownsample(3)
    x = torch.rand(1, 2, 16, 16)
    levels = pyramid(x)
    dead = weakref.ref(levels[1])
    for clone in (copy.deepcopy(pyramid), pickle.loads(pickle.dumps(pyramid))):
        with pytest.raises(ValueError, match="x is missing"):
            clone.get_level(0)
    del levels
    gc.collect()
    assert dead() is None
    with pytest.raises(ValueError, match="x is missing"):
        pyramid.get_level(0)


def test_a_newer_pass_is_not_forgotten_with_the_older() -> None:
    pyramid = PyramidDownsample(2)
    first = pyramid(torch.zeros(1, 1, 4, 4))
    second = pyramid(torch.ones(1, 1, 4, 4))
    del first
    assert pyramid.get_level(1) is second[1]
