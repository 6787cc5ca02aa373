"""Feature pyramids: equal to torchvision, to YOLOX's equations and to ViTDet's, at any size."""

from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks.pyramids.fpn import FPN, PAFPN, SimpleFeaturePyramid
from polyscale.testing.contract import ModuleContract

CHANNELS = [4, 6, 8]


def halvings(size: tuple[int, int], levels: int) -> list[tuple[int, int]]:
    """Sizes of the levels, sides rounded up."""
    return [(-(-size[0] // 2**i), -(-size[1] // 2**i)) for i in range(levels)]


def maps(batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    sizes = halvings(size, len(CHANNELS))
    return [torch.randn(batch, c, *s, dtype=dtype) for c, s in zip(CHANNELS, sizes, strict=True)]


class ListContract(ModuleContract):
    out_channels: ClassVar[Any] = CHANNELS
    bad_inputs: ClassVar = [
        (lambda block: block(maps(1, (8, 8))[:2]), "features must be a list of 3 maps, got a list of 2"),
        (lambda block: block(maps(1, (8, 8))[::-1]), r"features\[0\] must be \[B, 4, H, W\], got \[1, 8, 2, 2\]"),
    ]

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        return (maps(batch, size, dtype),)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        sizes = halvings(size, len(self.out_channels))
        return [(batch, c, *s) for c, s in zip(self.out_channels, sizes, strict=True)]


class TestFPN(ListContract):
    out_channels = (5, 5, 5, 5)
    bad_arguments: ClassVar = [
        (lambda: FPN([], 5), r"in_channels must be a non-empty list of integers, got \[\]"),
        (lambda: FPN([4, 0], 5), r"in_channels\[1\] must be an integer of at least 1, got 0"),
        (lambda: FPN([4], 0), "out_channels must be an integer of at least 1, got 0"),
    ]

    def make(self) -> nn.Module:
        return FPN(CHANNELS, 5, extra_level=True)


class TestPAFPN(ListContract):
    autocast_tolerance = 0.2
    bad_arguments: ClassVar = [
        (lambda: PAFPN([]), r"in_channels must be a non-empty list of integers, got \[\]"),
        (lambda: PAFPN([8]), r"in_channels must have at least 2 levels, got \[8\]"),
        (lambda: PAFPN([4, 8], depth=0), "depth must be a number above 0, got 0"),
    ]

    def make(self) -> nn.Module:
        return PAFPN(CHANNELS, depth=0.33)


class TestSimpleFeaturePyramid(ModuleContract):
    sizes = ((4, 4), (3, 5), (1, 1))
    gradcheck_size = (2, 3)
    bad_arguments: ClassVar = [
        (lambda: SimpleFeaturePyramid(0), "in_channels must be an integer of at least 1, got 0"),
        (lambda: SimpleFeaturePyramid(3), "in_channels must be at least 4 for stride 4, got 3"),
        (lambda: SimpleFeaturePyramid(8, strides=[]), r"strides must be a non-empty list of integers, got \[\]"),
        (lambda: SimpleFeaturePyramid(8, strides=[8, 4]), r"strides must grow, got \[8, 4\]"),
        (lambda: SimpleFeaturePyramid(8, strides=[4, 12]), "in_stride = 16 times a power of two .* got 12"),
        (lambda: SimpleFeaturePyramid(64, strides=[1]), "at most 8 times finer, got 1"),
        (lambda: SimpleFeaturePyramid(8, strides=[4, 48]), "in_stride = 16 times a power of two .* got 48"),
    ]
    bad_inputs: ClassVar = [(lambda block: block(torch.zeros(1, 7, 4, 4)), r"x must be \[B, 8, H, W\]")]

    def make(self) -> nn.Module:
        return SimpleFeaturePyramid(8, 6, extra_level=True)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        h, w = size
        finer = [(batch, 6, 4 * h, 4 * w), (batch, 6, 2 * h, 2 * w)]
        return finer + [(batch, 6, *s) for s in halvings(size, 3)]


def test_fpn_is_torchvisions() -> None:
    from torchvision.ops import FeaturePyramidNetwork
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

    torch.manual_seed(0)
    peer = FeaturePyramidNetwork(CHANNELS, 5, extra_blocks=LastLevelMaxPool())
    ours = FPN(CHANNELS, 5, extra_level=True)
    for name, value in ours.state_dict().items():  # the same initialisation: bounds of kaiming_uniform with a = 1
        bound = (3 / value[0].numel()) ** 0.5 if value.ndim == 4 else 0.0
        assert 0.7 * bound <= value.abs().max() <= bound
        assert 0.7 * bound <= peer.state_dict()[name].abs().max() <= bound
    ours.load_state_dict(peer.state_dict(), strict=True)
    features = maps(2, (11, 8))
    expected = peer({str(i): feature for i, feature in enumerate(features)})
    assert ours.channels == [5, 5, 5, 5]
    for got, want in zip(ours(features), expected.values(), strict=True):
        torch.testing.assert_close(got, want)


def unit(state: dict[str, Tensor], name: str, x: Tensor, stride: int = 1) -> Tensor:
    """Convolution, batch norm in eval mode, SiLU; or the depthwise pair."""
    if f"{name}.dconv.conv.weight" in state:
        return unit(state, f"{name}.pconv", unit(state, f"{name}.dconv", x, stride))
    weight = state[f"{name}.conv.weight"]
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1])
    statistics = [state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.silu(F.batch_norm(x, *statistics, training=False, eps=1e-5))


def csp(state: dict[str, Tensor], name: str, x: Tensor, n: int) -> Tensor:
    y = unit(state, f"{name}.conv1", x)
    for i in range(n):
        y = unit(state, f"{name}.m.{i}.conv2", unit(state, f"{name}.m.{i}.conv1", y))
    return unit(state, f"{name}.conv3", torch.cat([y, unit(state, f"{name}.conv2", x)], dim=1))


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(("depth", "n"), [(0.33, 1), (0.67, 2), (1.0, 3)])
def test_pafpn_is_yolox(depthwise: bool, depth: float, n: int) -> None:
    """The equations of YOLOX's figure, with its names mapped as the docstring says."""
    torch.manual_seed(0)
    block = PAFPN(CHANNELS, depth, depthwise).eval()
    for name, value in block.state_dict().items():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.5 if "var" in name else -0.5, 1.0)
    names = {
        "lateral.0": "lateral_conv0", "lateral.1": "reduce_conv1", "top_down.0": "C3_p4", "top_down.1": "C3_p3",
        "down.0": "bu_conv2", "down.1": "bu_conv1", "bottom_up.0": "C3_n3", "bottom_up.1": "C3_n4",
    }  # fmt: skip
    state = {}
    for name, value in block.state_dict().items():
        prefix = ".".join(name.split(".")[:2])
        state[name.replace(prefix, names[prefix], 1)] = value
    c3, c4, c5 = features = maps(2, (8, 12))
    p5 = unit(state, "lateral_conv0", c5)
    p4 = csp(state, "C3_p4", torch.cat([p5.repeat_interleave(2, 2).repeat_interleave(2, 3), c4], 1), n)
    p4_lateral = unit(state, "reduce_conv1", p4)
    n3 = csp(state, "C3_p3", torch.cat([p4_lateral.repeat_interleave(2, 2).repeat_interleave(2, 3), c3], 1), n)
    n4 = csp(state, "C3_n3", torch.cat([unit(state, "bu_conv2", n3, 2), p4_lateral], 1), n)
    n5 = csp(state, "C3_n4", torch.cat([unit(state, "bu_conv1", n4, 2), p5], 1), n)
    for got, want in zip(block(features), (n3, n4, n5), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("levels", [2, 4])
def test_pafpn_has_any_number_of_levels_and_takes_maps_rounded_down(levels: int) -> None:
    channels = [4, 4, 6, 8][:levels]
    block = PAFPN(channels, 0.33)
    features = [torch.randn(1, c, 25 // 2**i, 31 // 2**i) for i, c in enumerate(channels)]
    assert [out.shape for out in block(features)] == [feature.shape for feature in features]
    features = [feature.requires_grad_() for feature in features]
    finest, coarsest = (out.square().sum() for out in (block(features)[0], block(features)[-1]))
    assert all(grad.abs().max() > 0 for grad in torch.autograd.grad(finest, features))  # top-down
    assert all(grad.abs().max() > 0 for grad in torch.autograd.grad(coarsest, features))  # bottom-up


def test_simple_feature_pyramid_is_vitdets() -> None:
    """Every layer written out: (de)convolutions of the last map, norm over channels, GELU between enlargements."""
    torch.manual_seed(0)
    block = SimpleFeaturePyramid(8, 6)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 8, 4, 6)

    def norm(y: Tensor, layer: nn.LayerNorm) -> Tensor:
        y = (y - y.mean(1, keepdim=True)) / (y.var(1, unbiased=False, keepdim=True) + layer.eps).sqrt()
        return y * layer.weight[:, None, None] + layer.bias[:, None, None]

    def head(y: Tensor, stage: nn.Sequential) -> Tensor:
        first, first_norm, second, second_norm = stage[-4:]
        y = norm(F.conv2d(y, first.weight), first_norm)
        return norm(F.conv2d(y, second.weight, padding=1), second_norm)

    four, two, one, half = block.stages
    assert [len(stage) for stage in block.stages] == [8, 5, 4, 5]
    wide = F.conv_transpose2d(x, four[0].weight, four[0].bias, stride=2)
    wide = F.conv_transpose2d(F.gelu(norm(wide, four[1])), four[3].weight, four[3].bias, stride=2)
    expected = [
        head(wide, four),
        head(F.conv_transpose2d(x, two[0].weight, two[0].bias, stride=2), two),
        head(x, one),
        head(F.max_pool2d(x, 2), half),
    ]
    for got, want in zip(block(x), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_simple_feature_pyramid_of_other_patch_sizes() -> None:
    x = torch.randn(1, 16, 7, 7)  # CLIP ViT-B/32 at 224 px
    clip = SimpleFeaturePyramid(16, 6, strides=(4, 8, 16, 32, 64), in_stride=32, extra_level=True)
    assert [out.shape[-1] for out in clip(x)] == [56, 28, 14, 7, 4, 2]
    assert clip.strides == [4, 8, 16, 32, 64, 128]
    dino = SimpleFeaturePyramid(16, 6, strides=(7, 14, 28), in_stride=14)
    assert [out.shape[-1] for out in dino(x)] == [14, 7, 4]
