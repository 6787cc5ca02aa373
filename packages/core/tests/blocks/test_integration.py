"""ABSI and hierarchical integration: weights per location, identity at start, use of every scale, size."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyscale.blocks.scales.integration import AttentionBasedScaleIntegrationUnit, HierarchicalScaleIntegration
from polyscale.blocks.scales.transforms import match_size
from polyscale.testing.contract import ModuleContract


class ScaleMaps(ModuleContract):
    """Maps of 8 channels at 0.5x, 1x and 1.5x of `size`, fused at 1x."""

    identity = True
    sizes = ((8, 8), (7, 11), (1, 1))

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        grids = [tuple(max(1, int(side * scale + 0.5)) for side in size) for scale in (0.5, 1.0, 1.5)]
        return ([torch.randn(batch, 8, *grid, dtype=dtype) for grid in grids],)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        return (batch, 8, *size)

    def identity_of(self, inputs: tuple[Any, ...]) -> Tensor:
        return inputs[0][1]


class TestABSI(ScaleMaps):
    bad_arguments = (
        (lambda: AttentionBasedScaleIntegrationUnit(0), "channels must be an integer of at least 1, got 0"),
        (lambda: AttentionBasedScaleIntegrationUnit(8, 1), "num_scales must be an integer of at least 2, got 1"),
        (lambda: AttentionBasedScaleIntegrationUnit(8, num_heads=0), "num_heads must be .* got 0"),
        (lambda: AttentionBasedScaleIntegrationUnit(8, reference=3), "reference must be an index from 0 to 2, got 3"),
    )
    bad_inputs = (
        (
            lambda block: block([torch.zeros(1, 8, 4, 4)] * 2),
            "scale_features must be a list of 3 maps, got a list of 2",
        ),
        (
            lambda block: block([torch.zeros(1, c, 4, 4) for c in (8, 9, 8)]),
            r"scale_features\[1\] must be \[B, 8, H, W\]",
        ),
    )

    def make(self) -> nn.Module:
        return AttentionBasedScaleIntegrationUnit(8)


class TestHierarchical(ScaleMaps):
    bad_arguments = (
        (lambda: HierarchicalScaleIntegration(-1), "channels must be an integer of at least 1, got -1"),
        (lambda: HierarchicalScaleIntegration(8, num_scales=1), "num_scales must be .* at least 2, got 1"),
        (lambda: HierarchicalScaleIntegration(8, reference=-1), "reference must be an index from 0 to 2, got -1"),
    )
    bad_inputs = TestABSI.bad_inputs

    def make(self) -> nn.Module:
        return HierarchicalScaleIntegration(8)


def trained(block: nn.Module) -> nn.Module:
    """Away from the identity, as after training."""
    with torch.no_grad():
        for p in block.parameters():
            p.add_(torch.randn_like(p), alpha=0.3)
    return block


def maps(channels: int = 8, sizes: tuple[int, ...] = (4, 8, 12)) -> list[Tensor]:
    return [torch.randn(2, channels, s, s) for s in sizes]


BLOCKS = [AttentionBasedScaleIntegrationUnit, HierarchicalScaleIntegration]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_scale_changes_the_output(block: type[nn.Module]) -> None:
    torch.manual_seed(0)
    fusion, features = trained(block(8)), maps()
    with torch.no_grad():
        out = fusion(features)
        for i in range(3):
            changed = list(features)
            changed[i] = features[i] + torch.randn_like(features[i])
            assert (fusion(changed) - out).abs().mean() > 0.01, f"scale {i} has no effect"


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("reference", range(4))
def test_any_number_of_scales_and_any_reference(block: type[nn.Module], reference: int) -> None:
    torch.manual_seed(0)
    features = maps(6, (2, 4, 8, 9))
    fusion = block(6, num_scales=4, reference=reference)
    torch.testing.assert_close(fusion(features), features[reference])
    other = fusion(features, target_size=(5, 7))
    torch.testing.assert_close(other, match_size(features[reference], (5, 7)))
    assert (trained(fusion)(features, (5, 7)) - other).abs().mean() > 0.01


def test_weights_are_a_distribution_at_every_location_and_head() -> None:
    torch.manual_seed(0)
    absi = trained(AttentionBasedScaleIntegrationUnit(8, num_heads=2))
    _, weights = absi(maps(), target_size=(8, 8), return_weights=True)
    assert weights.shape == (2, 2, 3, 8, 8)
    assert weights.min() > 0
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 2, 8, 8))
    assert weights.std(dim=(3, 4)).min() > 0.01  # not one weight for the whole image
    assert (weights[:, 0] - weights[:, 1]).abs().mean() > 0.01  # heads choose on their own


def test_weights_follow_the_place_where_a_scale_is_informative() -> None:
    # the fine map holds the answer in the left half, the coarse one in the right half: the weights must learn to move
    torch.manual_seed(0)
    absi = AttentionBasedScaleIntegrationUnit(8, num_scales=2, num_heads=1, reference=0)
    optimizer = torch.optim.Adam(absi.parameters(), lr=0.02)
    left = torch.zeros(1, 1, 8, 8)
    left[..., :4] = 1
    for _ in range(60):
        answer = torch.randn(8, 1, 8, 8)
        noise = torch.randn(2, 8, 1, 8, 8)
        good = [left, 1 - left]
        features = []
        for i in range(2):
            signal = good[i] * answer + (1 - good[i]) * noise[i]
            features.append(torch.cat([signal, good[i].expand(8, 1, 8, 8), torch.zeros(8, 6, 8, 8)], 1))
        fused, weights = absi(features, return_weights=True)
        loss = (fused[:, 2:3] - answer).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3  # a fixed mixture of the two cannot get below 0.5
    first = weights[:, 0, 0].mean(0)
    assert first[:, :4].mean() > 0.8
    assert first[:, 4:].mean() < 0.2


@pytest.mark.parametrize("block", BLOCKS)
def test_the_branch_learns_from_zero(block: type[nn.Module]) -> None:
    torch.manual_seed(0)
    fusion = block(8)
    optimizer = torch.optim.SGD(fusion.parameters(), lr=0.1)
    before = {name: p.clone() for name, p in fusion.named_parameters()}
    for _ in range(3):
        features = maps()
        optimizer.zero_grad()
        (fusion(features) - match_size(features[2], (8, 8))).square().mean().backward()
        optimizer.step()
    still = [name for name, p in fusion.named_parameters() if torch.equal(p, before[name])]
    assert not still, f"not moved after three steps: {still}"


@pytest.mark.parametrize("block", BLOCKS)
def test_size_against_the_seed(block: type[nn.Module]) -> None:
    # camoXpert's units hold 10.05 M (ABSI) and 8.87 M (hierarchical) for pvt_v2_b2's four levels
    theirs = {BLOCKS[0]: 10.05e6, BLOCKS[1]: 8.87e6}[block]
    ours = sum(p.numel() for c in (64, 128, 320, 512) for p in block(c).parameters())
    assert ours < 0.15 * theirs
