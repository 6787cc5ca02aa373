"""The processor: a backbone from outside, all scales inside, within its budget of parameters."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from polyscale.blocks.scales.multiscale_input import MultiScaleInputProcessor, ScalePredictionHead
from polyscale.losses.segmentation import structure_loss
from polyscale.models.backbones import create_backbone
from polyscale.testing.contract import ModuleContract


class TinyBackbone(nn.Module):
    """Strided convolutions: levels at strides 4, 8, 16, 32 (as many as channels), each ceil(size / stride)."""

    def __init__(self, channels: tuple[int, ...] = (4, 5, 6, 8), norm: type[nn.Module] = nn.Identity) -> None:
        super().__init__()
        self.channels = list(channels)
        before = [3, *channels[:-1]]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 2 * s - 1, s, s - 1), norm(b), nn.Tanh())
            for a, b, s in zip(before, channels, (4, 2, 2, 2), strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


class ProcessorContract(ModuleContract):
    channels = 3
    sizes = ((32, 32), (33, 47), (1, 1))
    gradcheck_size = (16, 20)
    use_hierarchical = True
    supervise = True

    def make(self) -> nn.Module:
        return MultiScaleInputProcessor(
            TinyBackbone((4, 6)), use_hierarchical=self.use_hierarchical, supervise=self.supervise
        )

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        return (torch.rand(batch, 3, *size, dtype=dtype), self.supervise)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        def grid(scale: float, stride: int) -> tuple[int, ...]:
            return tuple(-(-max(1, int(side * scale + 0.5)) // stride) for side in size)

        features = [(batch, c, *grid(1.0, s)) for c, s in ((4, 4), (6, 8))]
        predictions = [(batch, 1, *grid(scale, 4)) for scale in (0.5, 1.0, 1.5)]
        return [features, predictions] if self.supervise else features


class TestHierarchicalProcessor(ProcessorContract):
    bad_arguments = (
        (lambda: MultiScaleInputProcessor(nn.Identity()), "channels_list is needed"),
        (
            lambda: MultiScaleInputProcessor(TinyBackbone(), [4, 5, 6]),
            r"the backbone's \[4, 5, 6, 8\], got \[4, 5, 6\]",
        ),
        (lambda: MultiScaleInputProcessor(TinyBackbone(), scales=[0.5, 1.5]), r"with 1.0 among them, got \[0.5, 1.5\]"),
        (lambda: MultiScaleInputProcessor(TinyBackbone(), scales=[1.0, 0.5]), "increasing"),
        (lambda: MultiScaleInputProcessor(TinyBackbone(), scales=[1.0]), "two or more"),
        (lambda: MultiScaleInputProcessor(TinyBackbone(), scales=[0.0, 1.0]), r"scales\[0\] must be .* above 0"),
        (lambda: MultiScaleInputProcessor(TinyBackbone(), scale_weights=[1, 1]), "one for each of 3 scales"),
    )
    bad_inputs = (
        (lambda block: block(torch.zeros(3, 8, 8)), r"images must be \[B, C, H, W\], got \[3, 8, 8\]"),
        (lambda block: block.scale_attention(torch.zeros(1, 3, 8, 8)), "build with use_hierarchical=False"),
        (lambda block: block.compute_loss([], torch.zeros(1, 1, 8, 8), structure_loss), "3 scales, got 0"),
    )


class TestABSIProcessor(ProcessorContract):
    use_hierarchical = False
    supervise = False
    bad_inputs = ((lambda block: block(torch.zeros(1, 3, 8, 8), return_loss_inputs=True), "build with supervise=True"),)


class TestScalePredictionHead(ModuleContract):
    bad_arguments = ((lambda: ScalePredictionHead([8], width=0), "width must be an integer of at least 1, got 0"),)
    bad_inputs = ((lambda block: block([torch.zeros(1, 4, 8, 8)]), "levels must be a list of 2 maps"),)

    def make(self) -> nn.Module:
        return ScalePredictionHead([4, 6], width=8)

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        half = tuple(-(-side // 2) for side in size)
        return ([torch.randn(batch, 4, *size, dtype=dtype), torch.randn(batch, 6, *half, dtype=dtype)],)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        return (batch, 1, *size)


@pytest.mark.parametrize("use_hierarchical", [True, False])
@pytest.mark.parametrize("scales", [(0.5, 1.0, 1.5), (0.75, 1.0), (1.0, 1.5, 2.0), (0.25, 0.5, 1.0, 1.75)])
def test_starts_as_the_plain_backbone(scales: tuple[float, ...], use_hierarchical: bool) -> None:
    torch.manual_seed(0)
    backbone = TinyBackbone()
    processor = MultiScaleInputProcessor(backbone, scales=scales, use_hierarchical=use_hierarchical)
    images = torch.rand(2, 3, 45, 64)
    torch.testing.assert_close(processor(images), backbone(images))
    assert processor.channels == backbone.channels
    assert processor.strides == [4, 8, 16, 32]


def test_only_the_chosen_integration_is_built() -> None:
    names = {h: {type(m).__name__ for m in MultiScaleInputProcessor(TinyBackbone(), use_hierarchical=h).modules()}
             for h in (True, False)}  # fmt: skip
    assert "HierarchicalScaleIntegration" in names[True]
    assert "AttentionBasedScaleIntegrationUnit" not in names[True]
    assert "AttentionBasedScaleIntegrationUnit" in names[False]
    assert "HierarchicalScaleIntegration" not in names[False]


@pytest.mark.parametrize("use_hierarchical", [True, False])
def test_without_heads_every_parameter_gets_a_gradient_in_one_step(use_hierarchical: bool) -> None:
    # what DDP asks for; zeros behind the zero-initialised residual are gradients too
    processor = MultiScaleInputProcessor(TinyBackbone(), use_hierarchical=use_hierarchical, supervise=False)
    sum(f.sum() for f in processor(torch.rand(1, 3, 32, 32))).backward()
    assert [name for name, p in processor.named_parameters() if p.grad is None] == []
    assert not any("heads" in name for name in processor.state_dict())


def test_predictions_are_those_of_each_scale_alone() -> None:
    torch.manual_seed(0)
    processor = MultiScaleInputProcessor(TinyBackbone())
    images = torch.rand(2, 3, 32, 32)
    _, predictions = processor(images, return_loss_inputs=True)
    for scaled, head, prediction in zip(processor.generator(images), processor.heads, predictions, strict=True):
        torch.testing.assert_close(prediction, head(processor.backbone(scaled)))


def test_compute_loss_is_the_weighted_sum() -> None:
    torch.manual_seed(0)
    processor = MultiScaleInputProcessor(TinyBackbone(), scales=(0.5, 1.0, 1.5), scale_weights=(0.3, 1.0, 0.7))
    images, masks = torch.rand(2, 3, 32, 32), (torch.rand(2, 1, 32, 32) > 0.7).float()
    _, predictions = processor(images, return_loss_inputs=True)
    total, parts = processor.compute_loss(predictions, masks, structure_loss)
    assert list(parts) == ["scale_0.5", "scale_1", "scale_1.5"]
    assert not any(part.requires_grad for part in parts.values())
    want = 0.3 * parts["scale_0.5"] + parts["scale_1"] + 0.7 * parts["scale_1.5"]
    torch.testing.assert_close(total.detach(), want)
    total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in processor.backbone.parameters())


def test_default_loss_weights_are_those_of_camoxpert_for_any_number_of_scales() -> None:
    assert MultiScaleInputProcessor(TinyBackbone()).loss.scale_weights == (0.5, 1.0, 0.5)
    four = MultiScaleInputProcessor(TinyBackbone(), scales=(0.25, 0.5, 1.0, 2.0))
    assert four.loss.scale_weights == (0.5, 0.5, 1.0, 0.5)


@pytest.mark.parametrize("use_hierarchical", [True, False])
def test_checkpointing_keeps_values_and_gradients(use_hierarchical: bool) -> None:
    def step(checkpoint: bool) -> tuple[list[Tensor], list[Tensor], int]:
        torch.manual_seed(0)
        backbone = TinyBackbone(norm=nn.BatchNorm2d)
        processor = MultiScaleInputProcessor(
            backbone, use_hierarchical=use_hierarchical, checkpoint_activations=checkpoint
        )
        saved = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal saved
            saved += 0 if isinstance(tensor, nn.Parameter) else tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            features, predictions = processor(torch.rand(2, 3, 64, 64), return_loss_inputs=True)
        sum(x.square().mean() for x in (*features, *predictions)).backward()
        gradients = [p.grad for p in processor.parameters()]
        return features, gradients, saved

    plain, kept = step(False), step(True)
    torch.testing.assert_close(kept[:2], plain[:2])
    assert plain[1][0].abs().max() > 0
    assert kept[2] < plain[2]  # how much less for a real backbone: test_ancestor_camoxpert_examples.py


def test_checkpointing_compiles() -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()
    processor = MultiScaleInputProcessor(TinyBackbone((4, 6)), supervise=False, checkpoint_activations=True)
    compiled = torch.compile(processor, fullgraph=True, backend="aot_eager")
    images, gradients = torch.rand(2, 3, 32, 32), []
    for function in (processor, compiled):
        processor.zero_grad()
        sum(f.square().mean() for f in function(images)).backward()
        gradients.append([p.grad.clone() for p in processor.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_scale_attention_is_a_distribution_over_scales() -> None:
    torch.manual_seed(0)
    processor = MultiScaleInputProcessor(TinyBackbone(), scales=(0.5, 1.0), use_hierarchical=False)
    weights = processor.scale_attention(torch.rand(2, 3, 33, 64))
    assert [tuple(w.shape) for w in weights] == [(2, 4, 2, h, w) for h, w in ((9, 16), (5, 8), (3, 4), (2, 2))]
    for w in weights:
        torch.testing.assert_close(w.sum(2), torch.ones_like(w[:, :, 0]))


def test_a_backbone_whose_levels_are_not_as_said_is_named() -> None:
    backbone = TinyBackbone()
    processor = MultiScaleInputProcessor(backbone)
    backbone.stages[3] = nn.Conv2d(6, 9, 3, 2, 1)
    with pytest.raises(ValueError, match=r"the backbone's levels\[3\] must be \[B, 8, H, W\], got \[1, 9"):
        processor(torch.rand(1, 3, 32, 32))


# camoXpert claims 15-20 % more parameters and its own code adds 92 % to pvt_v2_b2
@pytest.mark.parametrize("use_hierarchical", [True, False])
@pytest.mark.parametrize(("name", "millions", "most"), [("pvt_v2_b2", 24.85, 0.12), ("pvt_v2_b0", 3.41, 0.15)])
def test_budget_of_parameters(name: str, millions: float, most: float, use_hierarchical: bool) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name)
        processor = MultiScaleInputProcessor(backbone, use_hierarchical=use_hierarchical)
    own = sum(p.numel() for p in backbone.parameters())
    assert own / 1e6 == pytest.approx(millions, abs=0.01)
    assert sum(p.numel() for p in processor.parameters()) / own - 1 < most


def test_the_fusion_costs_little_against_the_backbone() -> None:
    def flops(module: nn.Module) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.empty(1, 3, 352, 352))
        return counter.get_total_flops()

    with torch.device("meta"):
        backbone = create_backbone("pvt_v2_b0")
        once, three = flops(backbone), flops(MultiScaleInputProcessor(backbone))
    passes = 0.347 + 1.535 + 4.076  # multiply-adds (10^9) of pvt_v2_b0 at 176, 352 and 528 pixels
    assert once / 2e9 == pytest.approx(1.535, abs=0.01)
    assert three / 2e9 == pytest.approx(passes, rel=0.04)
