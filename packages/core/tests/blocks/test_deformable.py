"""Deformable attention: equal to transformers in value and gradient, by either kernel, and sound at the edges."""

import math
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from polyscale.blocks.attention import deformable
from polyscale.blocks.attention._deformable_cpu import sample_rows
from polyscale.blocks.attention.deformable import (
    MultiScaleDeformableAttention,
    _sample_grids,
    deformable_sample,
    flatten_levels,
    reference_grid,
)
from polyscale.testing.contract import ModuleContract

SHAPES = [(7, 5), (4, 3), (1, 2)]
PIXELS = sum(h * w for h, w in SHAPES)


def halved(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Two levels: `size` and half of it, rounded up."""
    return [size, (-(-size[0] // 2), -(-size[1] // 2))]


class AttentionContract(ModuleContract):
    coordinates: ClassVar[int] = 2
    sizes = ((6, 6), (7, 5), (1, 1))

    def make(self) -> nn.Module:
        return MultiScaleDeformableAttention(8, 2, 2, 3)

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        shapes = halved(size)
        pixels = sum(h * w for h, w in shapes)
        points = torch.rand(batch, 3, 2, self.coordinates, dtype=dtype)
        query, value = torch.randn(batch, 3, 8, dtype=dtype), torch.randn(batch, pixels, 8, dtype=dtype)
        return query, points, value, shapes, torch.rand(batch, pixels) > 0.2

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        return (batch, 3, 8)


def call(block: nn.Module, **changed: Any) -> Tensor:
    """Call with arguments that fit, except for those given."""
    arguments: dict[str, Any] = {
        "query": torch.zeros(2, 3, 8),
        "reference_points": torch.zeros(2, 3, 2, 2),
        "value": torch.zeros(2, 45, 8),
        "spatial_shapes": [(6, 6), (3, 3)],
    }
    return block(**(arguments | changed))


class TestWithPoints(AttentionContract):
    bad_arguments: ClassVar = [
        (lambda: MultiScaleDeformableAttention(0), "embed_dim must be an integer of at least 1, got 0"),
        (lambda: MultiScaleDeformableAttention(8, 2, 3), "num_heads must divide embed_dim = 8, got 3"),
        (lambda: MultiScaleDeformableAttention(8, 0, 2), "num_levels must be an integer of at least 1, got 0"),
        (lambda: MultiScaleDeformableAttention(8, 2, 2, -1), "num_points must be an integer of at least 1, got -1"),
    ]
    bad_inputs: ClassVar = [
        (lambda b: call(b, query=torch.zeros(2, 3, 9)), r"query must be \[B, Q, 8\], got \[2, 3, 9\]"),
        (lambda b: call(b, value=torch.zeros(2, 44, 8)), r"value must be \[B, 45, 8\] here, got \[2, 44, 8\]"),
        (lambda b: call(b, value=torch.zeros(1, 45, 8)), r"value must have the batch size of query, 2, got 1"),
        (lambda b: call(b, spatial_shapes=[(9, 5)]), "spatial_shapes must have 2 levels, got 1"),
        (lambda b: call(b, spatial_shapes=torch.tensor([[6, 6], [3, 3]])), "spatial_shapes must be a non-empty list"),
        (lambda b: call(b, spatial_shapes=[(6, 6), (0, 3)]), r"spatial_shapes .* at least 1, got \(0, 3\) in it"),
        (
            lambda b: call(b, reference_points=torch.zeros(2, 3, 2, 3)),
            r"reference_points must be \[2, 3, 2 or 1, 2 or 4\], got \[2, 3, 2, 3\]",
        ),
        (lambda b: call(b, reference_points=torch.zeros(3, 3, 2, 2)), "reference_points must have batch size 2 or 1"),
        (lambda b: call(b, mask=torch.ones(2, 45)), r"mask must be bool \[2, 45\] .* got torch.float32 \[2, 45\]"),
        (lambda b: call(b, mask=torch.ones(2, 36) > 0), r"mask must be bool \[2, 45\] .* \[2, 36\]"),
    ]


class TestWithBoxes(AttentionContract):
    coordinates = 4
    bad_inputs: ClassVar = [
        (lambda b: call(b, reference_points=torch.zeros(2, 2, 2, 4)), r"got \[2, 2, 2, 4\]"),
        (lambda: reference_grid([]), "spatial_shapes must be a non-empty list"),
        (lambda: flatten_levels(torch.zeros(1, 8, 2, 2)), "features must be a non-empty list"),
        (lambda: sample(locations=torch.zeros(2, 6, 2, 3, 4, 3)), r"locations must be \[2, Q, 2, 3, P, 2\]"),
        (lambda: sample(weights=torch.zeros(2, 6, 2, 3, 5)), r"weights must be \[2, 6, 2, 3, 4\]"),
        (lambda: sample(value=torch.zeros(2, 9, 2, 5)), rf"value must be \[B, {PIXELS}, H, D\]"),
    ]


def samples(dtype: torch.dtype = torch.float64, spread: float = 1.4) -> dict[str, Tensor]:
    """Values, locations (some outside of the maps) and weights for B = 2, Q = 6, H = 2, L = 3, P = 4, D = 5."""
    torch.manual_seed(0)
    locations = 0.5 + spread * (torch.rand(2, 6, 2, 3, 4, 2, dtype=dtype) - 0.5)
    weights = torch.randn(2, 6, 2, 3, 4, dtype=dtype)
    return {"value": torch.randn(2, PIXELS, 2, 5, dtype=dtype), "locations": locations, "weights": weights}


def sample(**changed: Tensor) -> Tensor:
    arguments = samples() | changed
    return deformable_sample(arguments["value"], SHAPES, arguments["locations"], arguments["weights"])


def results(function: Any, given: dict[str, Tensor]) -> list[Tensor]:
    """Output and the gradients of value, locations and weights."""
    tensors = [tensor.clone().requires_grad_() for tensor in given.values()]
    out = function(tensors[0], SHAPES, tensors[1], tensors[2])
    torch.manual_seed(1)
    return [out, *torch.autograd.grad(out, tensors, torch.randn(out.shape, dtype=out.dtype))]


@pytest.mark.parametrize("spread", [1.0, 1.4, 50.0])
def test_rows_and_grids_agree(spread: float) -> None:
    given = samples(spread=spread)
    for ours, grids in zip(results(deformable_sample, given), results(_sample_grids, given), strict=True):
        torch.testing.assert_close(ours, grids, rtol=1e-11, atol=1e-11)


def test_gradient_at_pixel_centres_and_borders_is_that_of_grid_sample() -> None:
    given = samples()
    # multiples of 1/8 pixel: a quarter of the coordinates are exact pixel centres, where the slope is ambiguous
    sizes = torch.tensor([[w, h] for h, w in SHAPES], dtype=torch.float64)[:, None]
    steps = torch.randint(-16, 64, given["locations"].shape)
    given["locations"] = (steps / 8 + 0.5) / sizes
    # grid_sample computes (2 * x - 1 + 1) / 2: keep only coordinates that this rounding leaves on the same side
    grid = ((2 * given["locations"] - 1 + 1) * sizes - 1) / 2
    same = (grid.floor() == (given["locations"] * sizes - 0.5).floor()).all(-1)
    assert same.float().mean() > 0.5
    given["weights"] = given["weights"] * same
    for ours, grids in zip(results(deformable_sample, given)[:3], results(_sample_grids, given)[:3], strict=True):
        torch.testing.assert_close(ours, grids, rtol=1e-11, atol=1e-11)


def test_pixel_centres_read_pixels_and_outside_reads_zero() -> None:
    value = torch.randn(1, PIXELS, 1, 3)
    grid = reference_grid(SHAPES)[:, :, 0]
    level = torch.repeat_interleave(torch.arange(3), torch.tensor([h * w for h, w in SHAPES]))
    locations = grid[:, :, None, None, None].expand(1, PIXELS, 1, 3, 1, 2)
    own_level = nn.functional.one_hot(level, 3).float()[None, :, None, :, None]
    torch.testing.assert_close(deformable_sample(value, SHAPES, locations, own_level), value[:, :, 0])
    far = deformable_sample(value, SHAPES, torch.full((1, 4, 1, 3, 1, 2), 3.0), torch.ones(1, 4, 1, 3, 1))
    assert torch.equal(far, torch.zeros(1, 4, 3))


def test_nan_reaches_the_output_and_infinity_is_outside() -> None:
    given = samples(torch.float32)
    given["locations"][0, 0, 0, 0, 0, 0] = math.nan
    given["locations"][1, 1] = math.inf
    out = sample(**given)
    assert out[0, 0, :5].isnan().all()
    assert out[0, 0, 5:].isfinite().all()
    assert torch.equal(out[1, 1], torch.zeros(10))


def test_bf16_values_are_summed_in_float32() -> None:
    given = samples(torch.float32)
    low = {"value": given["value"].bfloat16(), "locations": given["locations"], "weights": given["weights"].bfloat16()}
    exact = sample(**{name: tensor.float() for name, tensor in low.items()})
    out = sample(**low)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, exact.bfloat16())


def test_a_second_derivative_is_refused() -> None:
    given = {name: tensor.requires_grad_() for name, tensor in samples().items()}
    (grad,) = torch.autograd.grad(sample(**given).square().sum(), given["value"], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()


def test_no_queries() -> None:
    out = sample(locations=torch.zeros(2, 0, 2, 3, 4, 2), weights=torch.zeros(2, 0, 2, 3, 4))
    assert out.shape == (2, 0, 10)


def test_mask_hides_padding_and_reference_points_broadcast() -> None:
    torch.manual_seed(0)
    block = MultiScaleDeformableAttention(8, 3, 2, 4)
    value, mask = torch.randn(2, PIXELS, 8), torch.rand(2, PIXELS) > 0.5
    other = torch.where(mask[..., None], value, torch.randn(2, PIXELS, 8))
    points = torch.rand(2, 6, 3, 2)
    query = torch.randn(2, 6, 8)
    masked = block(query, points, value, SHAPES, mask)
    assert torch.equal(block(query, points, other, SHAPES, mask), masked)
    assert not torch.allclose(block(query, points, value, SHAPES), masked)
    shared = points[:1, :, :1]
    assert torch.equal(
        block(query, shared, value, SHAPES), block(query, shared.expand(2, -1, 3, -1).contiguous(), value, SHAPES)
    )


def test_offsets_start_as_a_ring_and_get_a_gradient() -> None:
    """qvision floored its sampling positions: no gradient could reach the offsets."""
    torch.manual_seed(0)
    block = MultiScaleDeformableAttention(32, 1, 8, 3)
    locations, weights = block.sampling(torch.randn(1, 1, 32), torch.full((1, 1, 1, 2), 0.5), [(10, 20)])
    offsets = (locations - 0.5)[0, 0, :, 0] * torch.tensor([20.0, 10.0])
    ring = torch.tensor([[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]])
    torch.testing.assert_close(offsets, ring[:, None] * torch.tensor([1.0, 2.0, 3.0])[:, None], atol=1e-5, rtol=0)
    torch.testing.assert_close(weights, torch.full((1, 1, 8, 1, 3), 1 / 3))
    block(torch.randn(1, 1, 32), torch.rand(1, 1, 1, 2), torch.randn(1, 200, 32), [(10, 20)]).sum().backward()
    assert block.sampling_offsets.bias.grad is not None
    assert (block.sampling_offsets.bias.grad.view(8, -1).abs().amax(1) > 1e-4).all()


@pytest.fixture(params=["deformable_detr", "rt_detr"])
def peer(request: pytest.FixtureRequest) -> nn.Module:
    """transformers' module of the same sizes, with its parent's initialisation."""
    pytest.importorskip("transformers")
    config = SimpleNamespace(d_model=32, num_feature_levels=3, disable_custom_kernels=True)
    torch.manual_seed(0)
    if request.param == "deformable_detr":
        from transformers.models.deformable_detr import modeling_deformable_detr as peers

        module: nn.Module = peers.DeformableDetrMultiscaleDeformableAttention(config, num_heads=4, n_points=2)
    else:
        from transformers.models.rt_detr import modeling_rt_detr as peers

        module = peers.RTDetrMultiscaleDeformableAttention(config, num_heads=4, n_points=2)
    return module


@pytest.mark.parametrize("coordinates", [2, 4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kernel", [sample_rows, _sample_grids])
def test_equal_to_transformers(
    peer: nn.Module, coordinates: int, masked: bool, kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyscale.blocks.attention.deformable.sample_rows", kernel)
    ours = MultiScaleDeformableAttention(32, 3, 4, 2)
    torch.manual_seed(0)
    for parameter in ours.parameters():  # away from the start, where all weights are equal
        nn.init.normal_(parameter, std=0.3)
    peer.load_state_dict(ours.state_dict(), strict=True)
    query, value = torch.randn(2, 6, 32), torch.randn(2, PIXELS, 32)
    points = torch.rand(2, 6, 3, coordinates)
    mask = torch.rand(2, PIXELS) > 0.3 if masked else None
    inputs = [tensor.clone().requires_grad_() for tensor in (query, points, value)]
    theirs, attention = peer(
        inputs[0],
        attention_mask=mask,
        encoder_hidden_states=inputs[2],
        reference_points=inputs[1],
        spatial_shapes=torch.tensor(SHAPES),
        spatial_shapes_list=SHAPES,
        level_start_index=torch.tensor([0, 35, 47]),
    )
    grad = torch.randn_like(theirs)
    expected = torch.autograd.grad(theirs, [*inputs, *peer.parameters()], grad)
    out = ours(*inputs, SHAPES, mask)
    torch.testing.assert_close(out, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.sampling(query, points, SHAPES)[1], attention, rtol=1e-5, atol=1e-6)
    named = dict(ours.named_parameters())
    parameters = [named[name] for name, _ in peer.named_parameters()]
    for got, want in zip(torch.autograd.grad(out, [*inputs, *parameters], grad), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def test_starts_like_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.DeformableDetrConfig(
        use_timm_backbone=False, backbone_config=transformers.ResNetConfig(), backbone=None,
        use_pretrained_backbone=False, d_model=32,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=8, decoder_ffn_dim=8, num_feature_levels=3, encoder_n_points=2,
    )  # fmt: skip
    from transformers.models.deformable_detr.modeling_deformable_detr import DeformableDetrModel

    theirs = DeformableDetrModel(config).encoder.layers[0].self_attn.state_dict()
    ours = MultiScaleDeformableAttention(32, 3, 4, 2).state_dict()
    assert theirs.keys() == ours.keys()
    for name in ("sampling_offsets.weight", "sampling_offsets.bias", "attention_weights.weight", "value_proj.bias"):
        torch.testing.assert_close(ours[name], theirs[name])


def test_reference_grid_equals_transformers() -> None:
    pytest.importorskip("transformers")
    from transformers.models.deformable_detr.modeling_deformable_detr import DeformableDetrEncoder

    valid_ratios = 0.5 + 0.5 * torch.rand(2, 3, 2)
    theirs = DeformableDetrEncoder.get_reference_points(SHAPES, valid_ratios, "cpu")
    torch.testing.assert_close(reference_grid(SHAPES, valid_ratios), theirs)
    torch.testing.assert_close(reference_grid(SHAPES), reference_grid(SHAPES, torch.ones(1, 3, 2)))


@pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="torch 2.6 fixes the sizes of a list of maps")
def test_export_takes_other_sizes_without_custom_operators() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = MultiScaleDeformableAttention(8, 2, 2, 3)

        def forward(self, features: list[Tensor]) -> Tensor:
            value, shapes = flatten_levels(features)
            return self.attention(value, reference_grid(shapes), value, shapes)

    torch.manual_seed(0)
    encoder = Encoder().eval()
    dynamic = ([{2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}] * 2,)
    features = [torch.randn(1, 8, 6, 8), torch.randn(1, 8, 3, 4)]
    program = torch.export.export(encoder, (features,), dynamic_shapes=dynamic, strict=False)
    assert not [node for node in program.graph.nodes if "polyscale" in str(node.target)]
    larger = [torch.randn(1, 8, 10, 9), torch.randn(1, 8, 5, 7)]
    torch.testing.assert_close(program.module()(larger), encoder(larger), rtol=1e-5, atol=1e-6)


def test_the_cpu_kernel_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    shapes = [(5, 4), (3, 2)]
    value, locations, weights = torch.randn(2, 26, 2, 4), torch.rand(2, 3, 2, 2, 4, 2), torch.rand(2, 3, 2, 2, 4)
    want = deformable_sample(value, shapes, locations, weights)
    monkeypatch.setattr(deformable, "CPU_KERNEL", False)
    monkeypatch.setattr(deformable, "sample_rows", None)
    torch.testing.assert_close(deformable_sample(value, shapes, locations, weights), want)
    code = "import polyscale.blocks.attention.deformable as d; assert not d.CPU_KERNEL"
    environment = {**os.environ, "POLYSCALE_DEFORMABLE_CPU": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
