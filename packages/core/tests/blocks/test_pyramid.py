"""PyramidNetwork: the contract, its features in both forms, and the top-down path against torchvision's FPN."""

import copy
import gc
import pickle
import weakref
from functools import partial
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks.pyramids.network import PyramidNetwork
from polyscale.testing.contract import ModuleContract


class TestPyramidNetwork(ModuleContract):
    channels = 3
    sizes: ClassVar = [(16, 16), (17, 23), (4, 4)]
    gradcheck_size = (4, 5)
    bad_arguments: ClassVar = [
        (lambda: PyramidNetwork(0, 1), "in_channels must be an integer of at least 1, got 0"),
        (lambda: PyramidNetwork(3, 0), "out_channels must be an integer of at least 1, got 0"),
        (lambda: PyramidNetwork(3, 1, 0), "num_levels must be an integer of at least 1, got 0"),
        (lambda: PyramidNetwork(3, 1, 3, 0), "base_channels must be an integer of at least 1, got 0"),
    ]
    bad_inputs: ClassVar = [
        (lambda block: block(torch.zeros(1, 1, 8, 8)), r"x must be \[B, 3, H, W\], got \[1, 1, 8, 8\]"),
        (lambda block: block(torch.zeros(1, 3, 8, 3)), "x must be at least 4 x 4 pixels here, got 8 x 3"),
        (lambda block: block.get_features(torch.zeros(1, 3, 2, 2)), "x must be at least 4 x 4 pixels"),
        (lambda block: block.get_features(), r"x is missing.*get_features\(x\)"),
    ]

    def make(self) -> nn.Module:
        return PyramidNetwork(3, 5, num_levels=3, base_channels=4)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 5, *size)


def network() -> PyramidNetwork:
    torch.manual_seed(0)
    return PyramidNetwork(3, 5, num_levels=3, base_channels=4).eval()


def test_features_double_their_channels_and_halve_their_sides() -> None:
    block = network()
    maps = block.get_features(torch.randn(2, 3, 17, 24))
    assert [tuple(item.shape) for item in maps] == [(2, 4, 17, 24), (2, 8, 9, 12), (2, 16, 5, 6)]
    assert block.channels == [4, 8, 16]
    assert block.strides == [1, 2, 4]


def test_output_is_the_top_down_path_over_the_features() -> None:
    block, x = network(), torch.randn(2, 3, 17, 23)
    c0, c1, c2 = block.get_features(x)
    l0, l1, l2 = block.lateral
    p1 = l1(c1) + F.interpolate(l2(c2), c1.shape[-2:], mode="bilinear", align_corners=False)
    p0 = l0(c0) + F.interpolate(p1, c0.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(block(x), block.head(p0))


def test_top_down_path_is_that_of_torchvision_fpn(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.ops import FeaturePyramidNetwork

    block, x = network(), torch.randn(2, 3, 17, 23)
    fpn = FeaturePyramidNetwork(block.channels, 4)
    for inner, lateral in zip(fpn.inner_blocks, block.lateral, strict=True):
        inner[0].load_state_dict(lateral.state_dict())
    block.head = fpn.layer_blocks[0][0] = nn.Conv2d(4, 4, 3, padding=1)
    # torchvision enlarges by the nearest pixel; with that in place of bilinear the numbers are the same
    nearest = partial(F.interpolate, mode="nearest")
    monkeypatch.setattr("polyscale.blocks.pyramids.network.resize", nearest)
    features = {str(i): item for i, item in enumerate(block.get_features(x))}
    torch.testing.assert_close(block(x), fpn(features)["0"])


def test_features_after_a_forward_pass_are_those_of_that_pass() -> None:
    block, x = network().train(), torch.randn(2, 3, 17, 23)
    out = block(x)
    features = block.get_features()
    assert [item.shape[1] for item in features] == block.channels
    (gradient,) = torch.autograd.grad(out.sum(), features[0])  # the very tensors, still in the graph
    assert gradient.abs().sum() > 0
    newer = block(x + 1)
    del out
    assert block.get_features()[0] is not features[0]
    assert newer.isfinite().all()


def test_nothing_is_kept_once_the_output_is_gone() -> None:
    block = network()
    out = block(torch.randn(1, 3, 8, 8))
    dead = weakref.ref(block.get_features()[0])
    assert dead() is not None
    for clone in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        with pytest.raises(ValueError, match="x is missing"):
            clone.get_features()
    del out
    gc.collect()
    assert dead() is None
    with pytest.raises(ValueError, match="x is missing"):
        block.get_features()


def test_compiled_and_exported_graphs_hold_no_features() -> None:
    torch._dynamo.reset()
    block, x = network(), torch.randn(1, 3, 8, 8)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), block(x))
    with pytest.raises(ValueError, match="x is missing"):
        block.get_features()
    exported = torch.export.export(block, (x,), strict=False)
    assert len(exported.graph_signature.user_outputs) == 1
    features = torch.compile(block.get_features, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(features, block.get_features(x))


def test_features_inside_a_wrapping_network_train_under_compile() -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pyramid = network().train()
            self.head = nn.Linear(16, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.pyramid.get_features(x)[-1].mean((2, 3)))

    torch._dynamo.reset()
    model, x = Classifier(), torch.randn(2, 3, 8, 8)
    torch.compile(model, fullgraph=True, backend="aot_eager")(x).sum().backward()
    assert all(p.grad is not None for p in model.pyramid.stages.parameters())


def test_export_takes_any_size() -> None:
    block = network()
    side = torch.export.Dim("side", min=8, max=64)
    exported = torch.export.export(
        block, (torch.randn(1, 3, 32, 32),), dynamic_shapes=({2: 4 * side, 3: 32},), strict=False
    ).module()
    x = torch.randn(1, 3, 64, 32)
    torch.testing.assert_close(exported(x), block(x))
