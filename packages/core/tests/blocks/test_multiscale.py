"""MultiScaleModel: alignment, the three ways to fuse, and scales that come and go without touching weights."""

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks.scales.model import MultiScaleModel
from polyscale.testing.contract import ModuleContract

SCALES = [1.0, 0.5, 1.5]


def base(stride: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=stride, padding=1), nn.ReLU())


class TestConcat(ModuleContract):
    channels = 3
    bad_arguments: ClassVar = [
        (lambda: MultiScaleModel([]), r"scales must be a non-empty list of numbers above 0, got \[\]"),
        (lambda: MultiScaleModel([1.0, -1]), r"scales\[1\] must be a number above 0, got -1"),
        (lambda: MultiScaleModel([1.0, 1]), "scales must differ"),
        (lambda: MultiScaleModel(fusion_method="max"), "fusion_method must be one of 'concat', 'sum', 'attention'"),
        (lambda: MultiScaleModel(fusion_method="attention"), "channels must be given"),
        (lambda: MultiScaleModel([1.0], base(), "attention", channels=0), "channels must be an integer of at least 1"),
    ]
    bad_inputs: ClassVar = [
        (lambda block: block(torch.zeros(3, 8, 8)), r"x must be \[B, C, H, W\], got \[3, 8, 8\]"),
        (lambda block: block.add_scale(0), "scale must be a number above 0, got 0"),
        (lambda block: block.add_scale(0.5), r"scale must be a new one, got 0.5 and have \[1.0, 0.5, 1.5\]"),
        (lambda block: block.remove_scale(0.3), r"scale must be one of \[1.0, 0.5, 1.5\], got 0.3"),
        (lambda: MultiScaleModel([0.5], base()).remove_scale(0.5), "scale 0.5 is the only one left"),
        (
            lambda: MultiScaleModel([0.1], base())(torch.zeros(1, 3, 4, 9)),
            "at least 5 x 5 pixels for scale 0.1, got 4 x 9",
        ),
        (
            lambda: MultiScaleModel([1.0], nn.Flatten(0))(torch.zeros(1, 3, 4, 4)),
            r"base_model must return .* got \[48\]",
        ),
        (lambda: MultiScaleModel([1.0], Pair())(torch.zeros(1, 3, 4, 4)), "base_model must return .* got list"),
        (
            lambda: MultiScaleModel([1.0], base(), "attention", channels=4)(torch.zeros(1, 3, 4, 4)),
            "channels must be 8, the channels base_model returns, got 4",
        ),
    ]

    def make(self) -> nn.Module:
        return MultiScaleModel(SCALES, base(), "concat")

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 24, *size)


class TestSum(ModuleContract):
    channels = 3
    bad_inputs: ClassVar = [(lambda block: block(torch.zeros(3, 8, 8)), r"x must be \[B, C, H, W\]")]

    def make(self) -> nn.Module:
        return MultiScaleModel(SCALES, base(stride=2), "sum")

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 8, *(-(-side // 2) for side in size))


class TestAttention(ModuleContract):
    channels = 3
    bad_inputs: ClassVar = [(lambda block: block(torch.zeros(3, 8, 8)), r"x must be \[B, C, H, W\]")]

    def make(self) -> nn.Module:
        return MultiScaleModel(SCALES, base(), "attention")

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 8, *size)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, x]


def by_hand(model: nn.Module, x: Tensor, scales: list[float]) -> list[Tensor]:
    """What `model` gives at each scale, at the size of its output at scale 1."""
    size = model(x).shape[-2:]
    outs = []
    for scale in scales:
        scaled = [int(side * scale + 0.5) for side in x.shape[-2:]]
        out = model(F.interpolate(x, scaled, mode="bilinear", antialias=True) if scale != 1 else x)
        outs.append(F.interpolate(out, size, mode="bilinear", antialias=True))
    return outs


@pytest.mark.parametrize("stride", [1, 2])
def test_concat_and_sum_are_the_aligned_outputs(stride: int) -> None:
    model, x = base(stride), torch.randn(2, 3, 17, 23)
    outs = by_hand(model, x, SCALES)
    torch.testing.assert_close(MultiScaleModel(SCALES, model, "concat")(x), torch.cat(outs, 1))
    torch.testing.assert_close(MultiScaleModel(SCALES, model, "sum")(x), sum(outs))


def test_attention_weights_the_aligned_outputs() -> None:
    model, x = base(), torch.randn(2, 3, 16, 12)
    fused = MultiScaleModel([1.0, 0.5], model, "attention")
    full, half = by_hand(model, x, [1.0, 0.5])
    small = model(F.interpolate(x, (8, 6), mode="bilinear", antialias=True))
    scores = [fused.score(full), F.interpolate(fused.score(small), (16, 12), mode="bilinear")]
    weight = torch.cat(scores, 1).softmax(1)
    torch.testing.assert_close(fused(x), weight[:, :1] * full + weight[:, 1:] * half)
    nn.init.zeros_(fused.score[2].weight)
    torch.testing.assert_close(fused(x), (full + half) / 2)


def test_without_a_model_the_images_are_fused() -> None:
    x = torch.rand(1, 3, 8, 8)
    out = MultiScaleModel()(x)
    assert out.shape == (1, 9, 8, 8)
    assert torch.equal(out[:, :3], x)


def test_without_scale_one_the_largest_sets_the_size() -> None:
    out = MultiScaleModel([0.25, 0.5], base())(torch.randn(1, 3, 16, 24))
    assert out.shape == (1, 16, 8, 12)


def test_vectors_are_fused_without_resizing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    x = torch.randn(2, 3, 16, 16)
    full, half = model(x), model(F.interpolate(x, (8, 8), mode="bilinear", antialias=True))
    torch.testing.assert_close(MultiScaleModel([1.0, 0.5], model, "concat")(x), torch.cat([full, half], 1))
    torch.testing.assert_close(MultiScaleModel([1.0, 0.5], model, "sum")(x), full + half)
    fused = MultiScaleModel([1.0, 0.5], model, "attention")
    assert fused.score[0].in_channels == 5
    out = fused(x)
    assert out.shape == (2, 5)
    low, high = torch.minimum(full, half), torch.maximum(full, half)
    assert (out >= low - 1e-6).all()
    assert (out <= high + 1e-6).all()


@pytest.mark.parametrize("method", ["concat", "sum", "attention"])
def test_scales_come_and_go_and_every_weight_stays(method: str) -> None:
    model, x = MultiScaleModel([1.0, 0.5], base(), method), torch.randn(1, 3, 16, 16)
    before, state, parameters = model(x), dict(model.state_dict()), list(model.parameters())
    model.add_scale(0.25)
    after = model(x)
    assert model.scales == [1.0, 0.5, 0.25]
    assert after.shape[1] == (24 if method == "concat" else 8)
    if method == "concat":
        torch.testing.assert_close(after[:, :16], before)  # old channels keep their place
    else:
        assert not torch.allclose(after, before)
    model.remove_scale(0.25)
    assert torch.equal(model(x), before)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))  # the optimizer's own
    fresh = MultiScaleModel([1.0, 0.25, 2.0], base(), method)
    fresh.load_state_dict(state)  # of a model with other scales
    model.remove_scale(1.0)
    assert model(x).shape[-2:] == (8, 8)


def test_the_scales_share_one_model() -> None:
    model = base()
    assert list(MultiScaleModel(SCALES, model, "sum").parameters()) == list(model.parameters())


@pytest.mark.parametrize(
    ("last", "channels"),
    [(nn.Conv2d(8, 6, 1), 6), (nn.ConvTranspose2d(8, 7, 2), 7), (nn.BatchNorm2d(8), 8)],
)
def test_attention_reads_the_channels_of_the_last_layer(last: nn.Module, channels: int) -> None:
    model = MultiScaleModel([1.0, 0.5], nn.Sequential(*base(), last, nn.ReLU()), "attention")
    assert model.score[0].in_channels == channels
    assert model(torch.randn(2, 3, 8, 8)).shape[1] == channels


def test_stripes_do_not_alias() -> None:
    stripes = (torch.arange(96) % 3 == 0).float().expand(1, 1, 96, 96)
    assert MultiScaleModel([0.25])(stripes).std() < 0.02
