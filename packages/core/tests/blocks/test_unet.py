"""UNet: the contract, both feature lists, the level arithmetic, and that it learns with a loss on logits."""

import gc
import weakref
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from polyscale.blocks.pyramids.unet import UNet
from polyscale.testing.contract import ModuleContract


class TestUNet(ModuleContract):
    channels = 3
    sizes: ClassVar = [(16, 16), (17, 23), (4, 4), (5, 4)]
    gradcheck_size = (4, 5)
    bad_arguments: ClassVar = [
        (lambda: UNet(0, 1), "in_channels must be an integer of at least 1, got 0"),
        (lambda: UNet(3, 0), "out_channels must be an integer of at least 1, got 0"),
        (lambda: UNet(3, 1, []), r"features must be a non-empty list of integers, got \[\]"),
        (lambda: UNet(3, 1, [4, 0]), r"features\[1\] must be an integer of at least 1, got 0"),
    ]
    bad_inputs: ClassVar = [
        (lambda block: block(torch.zeros(1, 1, 8, 8)), r"x must be \[B, 3, H, W\], got \[1, 1, 8, 8\]"),
        (lambda block: block(torch.zeros(3, 8, 8)), r"x must be \[B, 3, H, W\], got \[3, 8, 8\]"),
        (lambda block: block(torch.zeros(1, 3, 3, 8)), "x must be at least 4 x 4 pixels here, got 3 x 8"),
        (lambda block: block.get_encoder_features(), r"x is missing.*get_encoder_features\(x\)"),
        (lambda block: block.get_decoder_features(), r"x is missing.*get_decoder_features\(x\)"),
    ]

    def make(self) -> nn.Module:
        return UNet(3, 2, [4, 6, 8])

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 2, *size)


def network() -> UNet:
    torch.manual_seed(0)
    return UNet(3, 2, [4, 6, 8]).eval()


def test_features_have_the_channels_and_strides_of_their_level() -> None:
    block, x = network(), torch.randn(2, 3, 17, 24)
    encoder, decoder = block.get_encoder_features(x), block.get_decoder_features(x)
    assert [tuple(item.shape) for item in encoder] == [(2, 4, 17, 24), (2, 6, 9, 12), (2, 8, 5, 6)]
    assert [tuple(item.shape) for item in decoder] == [(2, 4, 17, 24), (2, 6, 9, 12)]
    torch.testing.assert_close(block(x), block.head(decoder[0]))


def test_a_level_up_is_enlarge_reduce_concatenate_convolve() -> None:
    block, x = network(), torch.randn(2, 3, 17, 23)
    encoder, decoder = block.get_encoder_features(x), block.get_decoder_features(x)
    up = block.decoder[0]
    # the textbook order, which computes at the large size: the same numbers
    enlarged = F.interpolate(encoder[2], encoder[1].shape[-2:], mode="bilinear", align_corners=False)
    want = up.convs(torch.cat([encoder[1], up.reduce(enlarged)], 1))
    torch.testing.assert_close(decoder[1], want)


def test_a_level_down_pools_the_odd_row_too() -> None:
    block = network()
    x = torch.randn(1, 3, 5, 5)
    first, second, _ = block.get_encoder_features(x)
    want = block.encoder[1].convs(F.max_pool2d(F.pad(first, (0, 1, 0, 1), value=float("-inf")), 2))
    torch.testing.assert_close(second, want)


def test_features_after_a_forward_pass_and_after_its_output() -> None:
    block, x = network(), torch.randn(1, 3, 8, 8)
    out = block(x)
    for last, given in (
        (block.get_encoder_features(), block.get_encoder_features(x)),
        (block.get_decoder_features(), block.get_decoder_features(x)),
    ):
        torch.testing.assert_close(last, given)
    del last, given
    dead = weakref.ref(block.get_decoder_features()[0])
    del out
    gc.collect()
    assert dead() is None
    with pytest.raises(ValueError, match="x is missing"):
        block.get_decoder_features()


def test_one_level_is_two_convolutions_and_a_head() -> None:
    block = UNet(3, 2, [4]).eval()
    x = torch.randn(1, 3, 1, 1)
    assert block.get_decoder_features(x) == []
    torch.testing.assert_close(block(x), block.head(block.encoder[0](x)))


def test_output_is_logits_and_learns_a_square() -> None:
    torch.manual_seed(0)
    block = UNet(1, 1, [8, 16]).train()
    image = torch.rand(4, 1, 13, 15) * 0.3
    mask = torch.zeros_like(image)
    mask[:, :, 4:9, 5:11] = 1
    image = image + 0.5 * mask
    optimizer = torch.optim.Adam(block.parameters(), lr=0.03)
    losses = []
    for _ in range(50):
        loss = F.binary_cross_entropy_with_logits(block(image), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 < losses[0]
    out = block(image)
    assert out.min() < -1  # logits, no probabilities
    assert out.max() > 1
    assert ((out > 0) == mask.bool()).float().mean() > 0.97


def test_channels_last_goes_through() -> None:
    block, x = network().to(memory_format=torch.channels_last), torch.randn(1, 3, 16, 16)
    out = block(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(out, network()(x), rtol=1e-4, atol=1e-5)
    assert all(
        item.is_contiguous(memory_format=torch.channels_last)
        for item in block.get_encoder_features() + block.get_decoder_features()
    )
