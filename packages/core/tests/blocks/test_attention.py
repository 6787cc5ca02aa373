"""Spatial and channel attention: identity at the start, the formulas of the notes at scale 1, what they can see."""

from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks.attention.multiscale import MultiScaleSpatialAttention, ScaleAwareChannelAttention
from polyscale.testing.contract import ModuleContract


class TestSpatial(ModuleContract):
    identity = True
    bad_arguments: ClassVar = [
        (lambda: MultiScaleSpatialAttention(0), "channels must be an integer of at least 1, got 0"),
        (lambda: MultiScaleSpatialAttention(8, []), r"scales must be a non-empty list of integers, got \[\]"),
        (lambda: MultiScaleSpatialAttention(8, [1, 0]), r"scales\[1\] must be an integer of at least 1, got 0"),
    ]
    bad_inputs: ClassVar = [
        (lambda block: block(torch.zeros(1, 6, 4, 4)), r"x must be \[B, 8, H, W\], got \[1, 6, 4, 4\]"),
        (lambda block: block(torch.zeros(8, 4, 4)), r"x must be \[B, 8, H, W\], got \[8, 4, 4\]"),
    ]

    def make(self) -> nn.Module:
        return MultiScaleSpatialAttention(8)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        return (batch, 8, *size)


class TestChannel(ModuleContract):
    identity = True
    bad_arguments: ClassVar = [
        (lambda: ScaleAwareChannelAttention(-1, 8), "channels must be an integer of at least 1, got -1"),
        (lambda: ScaleAwareChannelAttention(8, 0), "stride must be an integer of at least 1, got 0"),
        (lambda: ScaleAwareChannelAttention(8, 0.5), "stride must be an integer of at least 1, got 0.5"),
    ]
    bad_inputs: ClassVar = [(lambda block: block(torch.zeros(1, 7, 4, 4)), r"x must be \[B, 8, H, W\]")]

    def make(self) -> nn.Module:
        return ScaleAwareChannelAttention(8, 16)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        return (batch, 8, *size)


def test_a_scale_of_one_is_the_spatial_attention_of_the_notes() -> None:
    torch.manual_seed(0)
    block = MultiScaleSpatialAttention(9, [1, 2, 4])
    x = torch.randn(2, 9, 12, 10)
    maps = [F.conv2d(x, c.weight, padding=d, dilation=d) for c, d in zip(block.context, (1, 2, 4), strict=True)]
    assert [m.shape[1] for m in maps] == [3, 3, 3]  # channels // len(scales) each
    combined = torch.cat(maps, dim=1)
    combined = (combined - combined.mean((1, 2, 3), keepdim=True)) / (
        combined.var((1, 2, 3), unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    hidden = F.conv2d(combined.relu(), block.gate[1].weight, block.gate[1].bias).relu()
    attention = F.conv2d(hidden, block.gate[3].weight, block.gate[3].bias).sigmoid()
    assert attention.shape == (2, 1, 12, 10)
    nn.init.ones_(block.scale)
    torch.testing.assert_close(block(x), x * attention + x)


@pytest.mark.parametrize(("scales", "reach"), [([1], 1), ([1, 2, 4], 4), ([3], 3)])
def test_the_largest_dilation_is_the_reach(scales: list[int], reach: int) -> None:
    torch.manual_seed(0)
    block = MultiScaleSpatialAttention(16, scales)
    block.norm = nn.Identity()  # the norm sees the whole image
    x = torch.randn(1, 16, 15, 15, requires_grad=True)
    block.attention(x)[0, 0, 7, 7].backward()
    assert x.grad is not None
    rows = x.grad[0].abs().sum((0, 2)).nonzero().flatten()
    assert (rows - 7).abs().max() == reach


def test_attention_learns_to_lift_small_objects() -> None:
    """A few steps must be enough to tell isolated pixels from noise: the zero scale does not block learning."""
    torch.manual_seed(0)
    block = MultiScaleSpatialAttention(6)
    x = 0.1 * torch.randn(4, 6, 16, 16)
    objects = torch.zeros(4, 1, 16, 16)
    objects[:, :, 5, 9] = objects[:, :, 11, 3] = 1
    x = x + objects
    target = x * (1 + objects)
    optimizer = torch.optim.Adam(block.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = F.mse_loss(block(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("stride", "hidden", "gate"), [(4, 8, 0.7311), (8, 8, 0.5), (16, 16, 0.2689), (32, 16, 0.1192)]
)
def test_channel_attention_knows_its_stride(stride: int, hidden: int, gate: float) -> None:
    block = ScaleAwareChannelAttention(128, stride)
    assert block.squeeze.out_features == hidden  # 128 // 16 up to stride 8, 128 // 8 above
    nn.init.zeros_(block.excite.weight)
    gates = block.attention(torch.randn(1, 128, 3, 3))
    torch.testing.assert_close(gates, torch.full((1, 128), gate), rtol=0, atol=1e-4)


def test_channel_attention_is_squeeze_and_excitation() -> None:
    torch.manual_seed(0)
    block = ScaleAwareChannelAttention(16, 16)
    x: Tensor = torch.randn(3, 16, 5, 4)
    weights = block.excite(block.squeeze(x.mean((2, 3))).relu()).sigmoid()
    torch.testing.assert_close(block.attention(x), weights)
    nn.init.ones_(block.scale)
    torch.testing.assert_close(block(x), x + x * weights[:, :, None, None])
    nn.init.constant_(block.scale, -1.0)  # a learnt scale may also suppress
    torch.testing.assert_close(block(x), x - x * weights[:, :, None, None])
