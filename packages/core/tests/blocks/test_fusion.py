"""FeatureFusion, ScaleFusion and AttentionFusion: equal to the textbook order of resize, concatenate, convolve."""

from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks.scales.fusion import AttentionFusion, FeatureFusion, ScaleFusion
from polyscale.testing.contract import ModuleContract

CHANNELS = [4, 6, 8]


def pyramid(batch: int, size: tuple[int, int], channels: list[int], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Random maps at strides 1, 2, 4 of `size`, sides rounded up."""
    return [
        torch.randn(batch, c, -(-size[0] // 2**i), -(-size[1] // 2**i), dtype=dtype) for i, c in enumerate(channels)
    ]


class FusionContract(ModuleContract):
    gradcheck_size = (3, 4)

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        return (pyramid(batch, size, CHANNELS, dtype),)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 6, *size)


class TestConcat(FusionContract):
    bad_arguments: ClassVar = [
        (
            lambda: FeatureFusion([4], 6, "mean"),
            "fusion_method must be one of 'concat', 'sum', 'attention', got 'mean'",
        ),
        (lambda: FeatureFusion([], 6), r"in_channels must be a non-empty list of integers, got \[\]"),
        (lambda: FeatureFusion([4, 0], 6), r"in_channels\[1\] must be an integer of at least 1, got 0"),
        (lambda: FeatureFusion(4, 6), "in_channels must be a non-empty list of integers, got 4"),
        (lambda: FeatureFusion([4], 0), "out_channels must be an integer of at least 1, got 0"),
    ]
    bad_inputs: ClassVar = [
        (lambda block: block(pyramid(1, (8, 8), [4, 6])), "features must be a list of 3 maps, got a list of 2"),
        (lambda block: block(torch.zeros(1, 4, 8, 8)), "features must be a list of 3 maps, got Tensor"),
        (
            lambda block: block(pyramid(1, (8, 8), [4, 8, 6])),
            r"features\[1\] must be \[B, 6, H, W\], got \[1, 8, 4, 4\]",
        ),
        (
            lambda block: block([*pyramid(2, (8, 8), [4, 6]), torch.zeros(1, 8, 2, 2)]),
            r"features\[2\] must have the batch size 2, got 1",
        ),
    ]

    def make(self) -> nn.Module:
        return FeatureFusion(CHANNELS, 6, "concat")


class TestSum(FusionContract):
    bad_inputs: ClassVar = [(lambda block: block([]), "features must be a list of 3 maps, got a list of 0")]

    def make(self) -> nn.Module:
        return FeatureFusion(CHANNELS, 6, "sum")


class TestAttention(FusionContract):
    bad_inputs: ClassVar = [(lambda block: block([]), "features must be a list of 3 maps, got a list of 0")]

    def make(self) -> nn.Module:
        return FeatureFusion(CHANNELS, 6, "attention")


class TestAttentionFusion(FusionContract):
    bad_arguments: ClassVar = [
        (lambda: AttentionFusion([], 6), "in_channels must be a non-empty list"),
        (lambda: AttentionFusion([4], 0), "out_channels must be an integer of at least 1, got 0"),
    ]

    def make(self) -> nn.Module:
        return AttentionFusion(CHANNELS, 6)


class TestScaleFusion(ModuleContract):
    sizes: ClassVar = [(16, 16), (17, 23), (2, 2)]
    gradcheck_size = (2, 4)
    bad_arguments: ClassVar = [
        (lambda: ScaleFusion([], 8, 6), r"scales must be a non-empty list of numbers above 0, got \[\]"),
        (lambda: ScaleFusion([1.0, 0], 8, 6), r"scales\[1\] must be a number above 0, got 0"),
        (lambda: ScaleFusion([1.0], 8, 6, "max"), "fusion_method must be one of .* got 'max'"),
        (lambda: ScaleFusion([1.0], 0, 6), "in_channels must be an integer of at least 1, got 0"),
    ]
    bad_inputs: ClassVar = [
        (lambda block: block([torch.zeros(1, 8, 4, 4)]), "features must be a list of 3 maps, got a list of 1"),
        (lambda block: block([torch.zeros(1, 7, 4, 4)] * 3), r"features\[0\] must be \[B, 8, H, W\]"),
    ]

    def make(self) -> nn.Module:
        return ScaleFusion([0.5, 1.0, 1.5], 8, 6, "attention")

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        sizes = [[int(side * scale + 0.5) for side in size] for scale in (0.5, 1.0, 1.5)]
        return ([torch.randn(batch, 8, *item, dtype=dtype) for item in sizes],)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 6, *size)


def enlarged(maps: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
    return [F.interpolate(item, size, mode="bilinear", align_corners=False, antialias=True) for item in maps]


@pytest.mark.parametrize("size", [(16, 12), (9, 7)])
def test_concat_is_one_convolution_of_the_concatenation(size: tuple[int, int]) -> None:
    fusion = FeatureFusion(CHANNELS, 5).double()
    maps = pyramid(2, size, CHANNELS, torch.float64)
    want = fusion.fuse.project(torch.cat(enlarged(maps, size), 1))
    torch.testing.assert_close(fusion(maps), want)
    parameters = list(fusion.parameters())
    weight = torch.randn_like(want)
    got_gradients, want_gradients = (
        torch.autograd.grad((out * weight).sum(), parameters, retain_graph=True) for out in (fusion(maps), want)
    )
    torch.testing.assert_close(got_gradients, want_gradients)


def test_concat_of_equal_sizes_some_equal_sizes_and_a_given_size() -> None:
    fusion = FeatureFusion(CHANNELS, 5).double()
    for sizes, target in (
        ([(8, 8)] * 3, (8, 8)),
        ([(4, 4), (8, 8), (8, 8)], (8, 8)),
        ([(4, 4), (8, 8), (2, 2)], (4, 4)),
        ([(4, 4), (2, 8), (3, 3)], (20, 30)),
        ([(4, 2), (2, 9), (16, 1)], (3, 5)),
    ):
        maps = [torch.randn(1, c, *s, dtype=torch.float64) for c, s in zip(CHANNELS, sizes, strict=True)]
        want = fusion.fuse.project(torch.cat(enlarged(maps, target), 1))
        torch.testing.assert_close(fusion(maps, size=target), want)


def test_the_largest_map_sets_the_size_wherever_it_stands() -> None:
    for method in ("concat", "sum", "attention"):
        fusion = FeatureFusion(CHANNELS[::-1], 5, method)
        assert fusion(pyramid(1, (9, 7), CHANNELS)[::-1]).shape == (1, 5, 9, 7)


def test_sum_projects_only_what_does_not_fit() -> None:
    plain = FeatureFusion([6, 6, 6], 6, "sum")
    assert not list(plain.parameters())
    maps = pyramid(2, (8, 6), [6, 6, 6])
    torch.testing.assert_close(plain(maps), sum(enlarged(maps, (8, 6))))
    mixed = FeatureFusion(CHANNELS, 6, "sum").double()
    maps = pyramid(2, (8, 6), CHANNELS, torch.float64)
    a, _, c = mixed.fuse.project
    assert sorted(dict(mixed.named_parameters())) == [
        f"fuse.project.{i}.{kind}" for i in (0, 2) for kind in ("bias", "weight")
    ]
    first, second, third = enlarged(maps, (8, 6))
    torch.testing.assert_close(mixed(maps), a(first) + second + c(third))


def test_attention_is_a_weighted_mean_over_the_sources() -> None:
    torch.manual_seed(0)
    fusion = AttentionFusion(CHANNELS, 5).double()
    maps = pyramid(2, (8, 6), CHANNELS, torch.float64)
    values = torch.stack([p(m) for p, m in zip(fusion.project, enlarged(maps, (8, 6)), strict=True)], 1)
    scores = sum(enlarged([s(m) for s, m in zip(fusion.score, maps, strict=True)], (8, 6)))
    weights = scores.softmax(1)
    out = fusion(maps)
    torch.testing.assert_close(out, (values * weights[:, :, None]).sum(1))
    assert weights.std(dim=(2, 3)).min() > 1e-4  # they differ from pixel to pixel
    assert (out <= values.amax(1) + 1e-9).all()
    assert (out >= values.amin(1) - 1e-9).all()


def test_attention_follows_its_scores() -> None:
    fusion = AttentionFusion(CHANNELS, 5)
    maps = pyramid(1, (8, 6), CHANNELS)
    for score in fusion.score:
        nn.init.zeros_(score[2].weight)
    fusion.score[0][2].bias.data = torch.tensor([0.0, 50.0, 0.0])
    torch.testing.assert_close(fusion(maps), enlarged([fusion.project[1](maps[1])], (8, 6))[0])


def test_one_source_is_only_projected() -> None:
    x = torch.randn(1, 4, 5, 5)
    for method in ("concat", "attention"):
        fusion = FeatureFusion([4], 6, method)
        project = fusion.fuse.project if method == "concat" else fusion.fuse.project[0]
        torch.testing.assert_close(fusion([x]), project(x))


def test_scale_one_sets_the_size_else_the_largest_scale() -> None:
    def maps(*sizes: int) -> list[Tensor]:
        return [torch.randn(1, 4, s, s + 1) for s in sizes]

    assert ScaleFusion([0.5, 1.0, 2.0], 4, 3)(maps(4, 8, 16)).shape == (1, 3, 8, 9)
    assert ScaleFusion([0.25, 0.5], 4, 3)(maps(2, 4)).shape == (1, 3, 4, 5)


def test_scale_fusion_reduces_finer_maps_without_aliasing() -> None:
    fusion = ScaleFusion([1.0, 4.0], 1, 1, "sum")
    stripes = (torch.arange(96) % 3 == 0).float().expand(1, 1, 96, 96)
    assert fusion([torch.zeros(1, 1, 24, 24), stripes]).std() < 0.02
    concat = ScaleFusion([1.0, 4.0], 2, 3).double()
    maps = [torch.randn(1, 2, s, s, dtype=torch.float64) for s in (5, 20)]
    want = concat.fuse.project(torch.cat(enlarged(maps, (5, 5)), 1))
    torch.testing.assert_close(concat(maps), want)


def test_inputs_are_left_alone_by_in_place_sums() -> None:
    for method in ("concat", "sum", "attention"):
        maps = pyramid(1, (8, 8), [6, 6, 6])
        before = [item.clone() for item in maps]
        FeatureFusion([6, 6, 6], 6, method)(maps)
        assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))


def test_few_channels_still_have_a_squeeze() -> None:
    assert AttentionFusion([2, 2], 3)(pyramid(1, (4, 4), [2, 2])).shape == (1, 3, 4, 4)
