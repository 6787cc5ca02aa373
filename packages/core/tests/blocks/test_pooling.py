"""MultiScalePooling, PyramidPooling and SpatialPyramidPooling against plain compositions of torch's pooling."""

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from polyscale.blocks.pyramids.pooling import MultiScalePooling, PyramidPooling, SpatialPyramidPooling
from polyscale.testing.contract import ModuleContract

POOL = {"avg": F.adaptive_avg_pool2d, "max": F.adaptive_max_pool2d}


class TestMultiScalePooling(ModuleContract):
    channels = 3
    bad_arguments: ClassVar = [
        (lambda: MultiScalePooling([]), r"pool_sizes must be a non-empty list of integers, got \[\]"),
        (lambda: MultiScalePooling([1, 0]), r"pool_sizes\[1\] must be an integer of at least 1, got 0"),
        (lambda: MultiScalePooling(pool_type="sum"), "pool_type must be one of 'avg', 'max', got 'sum'"),
    ]
    bad_inputs: ClassVar = [(lambda block: block(torch.zeros(3, 4, 4)), r"x must be \[B, C, H, W\]")]

    def make(self) -> nn.Module:
        return MultiScalePooling()

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 12, *size)


class TestPyramidPooling(ModuleContract):
    bad_arguments: ClassVar = [
        (lambda: PyramidPooling(0, 12), "in_channels must be an integer of at least 1, got 0"),
        (lambda: PyramidPooling(8, -1), "out_channels must be an integer of at least 1, got -1"),
        (lambda: PyramidPooling(8, 12, []), "pool_sizes must be a non-empty list"),
    ]
    bad_inputs: ClassVar = [
        (lambda block: block(torch.zeros(1, 7, 4, 4)), r"x must be \[B, 8, H, W\], got \[1, 7, 4, 4\]")
    ]

    def make(self) -> nn.Module:
        return PyramidPooling(8, 12)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 12, *size)


class TestSpatialPyramidPooling(ModuleContract):
    channels = 3
    bad_arguments: ClassVar = [
        (lambda: SpatialPyramidPooling(0), "num_levels must be an integer of at least 1, got 0"),
        (lambda: SpatialPyramidPooling(pool_type="mean"), "pool_type must be one of 'avg', 'max', got 'mean'"),
    ]
    bad_inputs: ClassVar = [(lambda block: block(torch.zeros(1, 3, 4)), r"x must be \[B, C, H, W\]")]

    def make(self) -> nn.Module:
        return SpatialPyramidPooling()

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 63)


@pytest.mark.parametrize("pool_type", ["avg", "max"])
@pytest.mark.parametrize("size", [(12, 12), (13, 7), (2, 3)])
def test_multi_scale_pooling_is_pool_enlarge_concatenate(pool_type: str, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    want = torch.cat(
        [F.interpolate(POOL[pool_type](x, k), size, mode="bilinear", align_corners=False) for k in (1, 2, 3, 6)], 1
    )
    torch.testing.assert_close(MultiScalePooling(pool_type=pool_type)(x), want)


@pytest.mark.parametrize("pool_type", ["avg", "max"])
@pytest.mark.parametrize("size", [(16, 16), (13, 7), (3, 2), (1, 1), (5, 64)])
def test_spatial_pyramid_is_adaptive_pooling_per_level(pool_type: str, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    want = torch.cat([POOL[pool_type](x, k).flatten(1) for k in (1, 2, 4, 8)], 1)
    got = SpatialPyramidPooling(4, pool_type)(x)
    torch.testing.assert_close(got, want)
    weight = torch.randn_like(want)
    gradients = [torch.autograd.grad((out * weight).sum(), x)[0] for out in (got, want)]
    torch.testing.assert_close(*gradients)


def test_pyramid_pooling_is_pspnet() -> None:
    torch.manual_seed(0)
    block = PyramidPooling(8, 12, [1, 3]).eval()
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.randn(2, 8, 9, 11)
    (conv, _), (conv3, norm3, _) = block.branches
    one = F.relu(conv(x.mean((2, 3), keepdim=True))).expand(-1, -1, 9, 11)
    three = F.relu(norm3(conv3(F.adaptive_avg_pool2d(x, 3))))
    three = F.interpolate(three, (9, 11), mode="bilinear", align_corners=False)
    merge, norm, _ = block.merge
    assert one.shape[1] == three.shape[1] == 4  # in_channels / number of branches
    torch.testing.assert_close(block(x), F.relu(norm(merge(torch.cat([x, one, three], 1)))))


def test_one_image_trains() -> None:
    block = PyramidPooling(8, 12).train()
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in block.branches[0].modules())
    block(torch.randn(1, 8, 5, 5)).sum().backward()
    assert all(p.grad.isfinite().all() for p in block.parameters())


def test_one_value_per_channel_takes_the_running_estimates() -> None:
    block = PyramidPooling(8, 12).train()
    before = {name: value.clone() for name, value in block.merge[1].state_dict().items()}
    x = torch.randn(1, 8, 1, 1)
    assert block(x).isfinite().all()
    for name, value in block.merge[1].state_dict().items():
        assert torch.equal(value, before[name]), f"{name} moved on a batch without variance"


def test_fewer_channels_than_branches() -> None:
    assert PyramidPooling(2, 3, [1, 2, 3, 6])(torch.randn(1, 2, 8, 8)).shape == (1, 3, 8, 8)
