"""Every usage example of camoXpert's guide "MultiScaleProcessor", as a user would write it, at a small size.

Adapted where the guide is wrong or names modules of its own repository: `pvt_v2_b2(pretrained=True)` is
`create_backbone("pvt_v2_b2", pretrained=True)`, ScaleAwareLossModule is ScaleAwareLoss, `checkpoint(processor, images)`
(which gives no gradients with torch's old default) is `checkpoint_activations=True`. pvt_v2_b0 stands for b2.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale import (
    AttentionBasedScaleIntegrationUnit,
    HierarchicalScaleIntegration,
    MultiScaleInputGenerator,
    MultiScaleInputProcessor,
    ScaleAwareLoss,
    create_backbone,
    structure_loss,
)

CHANNELS = [32, 64, 160, 256]
LEVELS_AT_64 = [(32, 16, 16), (64, 8, 8), (160, 4, 4), (256, 2, 2)]


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    torch.manual_seed(0)
    return create_backbone("pvt_v2_b0")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, 10:40, 20:50] = 1
    masks[1, :, 30:34, 8:12] = 1
    images = torch.randn(2, 3, 64, 64) + 2 * masks
    return images, masks


class Decoder(nn.Module):
    """Stands for the guide's decoder: a logit for each level, summed at the size of the image."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in channels)

    def forward(self, features: list[Tensor], size: tuple[int, int] = (64, 64)) -> Tensor:
        maps = [F.interpolate(h(f), size, mode="bilinear") for h, f in zip(self.heads, features, strict=True)]
        return torch.stack(maps).sum(0)


def shapes(features: list[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(f.shape[1:]) for f in features]


# Architecture components


def test_component_1_generator() -> None:
    images = torch.rand(2, 3, 352, 352)
    generator = MultiScaleInputGenerator(scales=[0.5, 1.0, 1.5])
    multi_scale_inputs = generator(images)
    assert [image.shape[-1] for image in multi_scale_inputs] == [176, 352, 528]


@pytest.mark.parametrize("kind", ["absi", "hierarchical"])
def test_components_2_and_3_integration(kind: str) -> None:
    scale_features = [torch.randn(2, 128, s, s) for s in (22, 44, 66)]
    if kind == "absi":
        absi = AttentionBasedScaleIntegrationUnit(channels=128, num_scales=3)
        fused = absi(scale_features, target_size=(44, 44))
        _, weights = absi(scale_features, target_size=(44, 44), return_weights=True)
        assert weights.shape == (2, 4, 3, 44, 44)  # "adaptive scale selection per spatial location"
    else:
        hierarchical = HierarchicalScaleIntegration(channels=128)
        fused = hierarchical(scale_features, target_size=(44, 44))
    torch.testing.assert_close(fused, scale_features[1])


def test_component_4_loss_formula() -> None:
    targets = (torch.rand(2, 1, 16, 16) > 0.5).float()
    predictions = [torch.randn(2, 1, s, s) for s in (8, 16, 24)]
    criterion = F.binary_cross_entropy_with_logits
    loss_module = ScaleAwareLoss(scale_weights=[0.5, 1.0, 0.5])
    total_loss, loss_dict = loss_module(predictions, targets, criterion)
    single = [criterion(F.interpolate(p, (16, 16), mode="bilinear"), targets) for p in predictions]
    torch.testing.assert_close(total_loss, 0.5 * single[0] + 1.0 * single[1] + 0.5 * single[2])
    torch.testing.assert_close(list(loss_dict.values()), single)


# Basic usage


def test_basic_usage(backbone: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    processor = MultiScaleInputProcessor(
        backbone=backbone, channels_list=CHANNELS, scales=[0.5, 1.0, 1.5], use_hierarchical=True
    )
    features = processor(batch[0])
    assert shapes(features) == LEVELS_AT_64
    features = processor(torch.randn(1, 3, 45, 70))  # "original dimension preservation", for any size
    assert shapes(features) == [(32, 12, 18), (64, 6, 9), (160, 3, 5), (256, 2, 3)]


# Training integration


def test_method_1_simple_integration(batch: tuple[Tensor, Tensor]) -> None:
    processor = MultiScaleInputProcessor(create_backbone("pvt_v2_b0"), supervise=False)
    decoder = Decoder(processor.channels)
    optimizer = torch.optim.AdamW([*processor.parameters(), *decoder.parameters()], lr=1e-3)
    losses = []
    for images, masks in [batch] * 8:
        features = processor(images)
        predictions = decoder(features)
        loss = structure_loss(predictions, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_method_2_with_scale_specific_losses(backbone: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    processor = MultiScaleInputProcessor(backbone)
    decoder = Decoder(processor.channels)
    images, masks = batch
    criterion = structure_loss
    features, scale_preds = processor(images, return_loss_inputs=True)
    assert [tuple(p.shape) for p in scale_preds] == [(2, 1, 8, 8), (2, 1, 16, 16), (2, 1, 24, 24)]
    main_pred = decoder(features)
    loss_main = criterion(main_pred, masks)
    loss_scales, _ = processor.compute_loss(scale_preds, masks, criterion)
    total_loss = loss_main + 0.3 * loss_scales
    total_loss.backward()
    # the guide's trainer has a zero in place of loss_scales: here each scale's head learns from it
    for head in processor.heads:
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in head.parameters())


class ModelLevelMoE(nn.Module):
    """Stands for the guide's mixture of experts: it owns `.backbone` and sends its levels to gated decoders."""

    def __init__(self, backbone: str, num_experts: int) -> None:
        super().__init__()
        self.backbone: nn.Module = create_backbone(backbone)
        self.experts = nn.ModuleList(Decoder(self.backbone.channels) for _ in range(num_experts))
        self.router = nn.Linear(self.backbone.channels[-1], num_experts)

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        gates = self.router(features[-1].mean((2, 3))).softmax(1)
        maps = torch.stack([expert(features, images.shape[-2:]) for expert in self.experts], 1)
        return (gates[:, :, None, None, None] * maps).sum(1)


def test_method_3_with_model_level_moe(batch: tuple[Tensor, Tensor]) -> None:
    images, masks = batch
    moe_model = ModelLevelMoE(backbone="pvt_v2_b0", num_experts=4)
    before = moe_model(images)
    multi_scale_backbone = MultiScaleInputProcessor(
        backbone=moe_model.backbone, channels_list=CHANNELS, scales=[0.5, 1.0, 1.5], supervise=False
    )
    moe_model.backbone = multi_scale_backbone
    predictions = moe_model(images)
    torch.testing.assert_close(predictions, before)  # a trained model goes on from where it was
    structure_loss(predictions, masks).backward()
    assert [name for name, p in moe_model.named_parameters() if p.grad is None] == []


# Configuration options


@pytest.mark.parametrize("use_hierarchical", [True, False], ids=["hierarchical", "absi"])
@pytest.mark.parametrize("scales", [[0.75, 1.0, 1.25], [0.5, 1.0, 2.0], [0.25, 1.0, 1.75], [0.75, 1.0]], ids=str)
def test_alternatives_of_scales(backbone: nn.Module, scales: list[float], use_hierarchical: bool) -> None:
    processor = MultiScaleInputProcessor(backbone, scales=scales, use_hierarchical=use_hierarchical).eval()
    with torch.no_grad():
        features, scale_preds = processor(torch.randn(1, 3, 64, 64), return_loss_inputs=True)
    assert shapes(features) == LEVELS_AT_64
    assert [p.shape[-1] for p in scale_preds] == [round(16 * scale) for scale in scales]


@pytest.mark.parametrize("weights", [[0.3, 1.0, 0.7], [0.7, 1.0, 0.3], [1.0, 1.0, 1.0]], ids=str)
def test_alternatives_of_loss_weights(backbone: nn.Module, batch: tuple[Tensor, Tensor], weights: list[float]) -> None:
    processor = MultiScaleInputProcessor(backbone, scale_weights=weights)
    scale_preds = [torch.randn(2, 1, s, s) for s in (8, 16, 24)]
    total, parts = processor.compute_loss(scale_preds, batch[1], structure_loss)
    want = sum(weight * part for weight, part in zip(weights, parts.values(), strict=True))
    torch.testing.assert_close(total, want)


# Memory optimization tips


def _step(processor: nn.Module, images: Tensor) -> tuple[list[Tensor], int]:
    saved = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += 0 if isinstance(tensor, nn.Parameter) else tensor.numel() * tensor.element_size()
        return tensor

    processor.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = sum(f.square().mean() for f in processor(images))
    loss.backward()
    return [p.grad.clone() for p in processor.parameters()], saved


def test_gradient_checkpointing_gives_gradients_for_less_memory(backbone: nn.Module) -> None:
    images = torch.randn(2, 3, 64, 64)
    processor = MultiScaleInputProcessor(backbone, supervise=False)
    gradients, saved = _step(processor, images)
    processor.checkpoint_activations = True
    checkpointed_gradients, checkpointed_saved = _step(processor, images)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(checkpointed_gradients, gradients, rtol=1e-4, atol=1e-5)
    assert checkpointed_saved < 0.2 * saved


def test_supervision_is_switched_off_after_a_warm_up(batch: tuple[Tensor, Tensor]) -> None:
    processor = MultiScaleInputProcessor(create_backbone("pvt_v2_b0", depths=(1, 1, 1, 1)))
    decoder = Decoder(processor.channels)
    optimizer = torch.optim.SGD([*processor.parameters(), *decoder.parameters()], lr=0.01)
    images, masks = batch
    warmup_epochs, heads = 1, []
    for epoch in range(3):
        return_loss_inputs = epoch < warmup_epochs
        out = processor(images, return_loss_inputs=return_loss_inputs)
        features, scale_preds = out if return_loss_inputs else (out, None)
        loss = structure_loss(decoder(features), masks)
        if scale_preds is not None:
            loss = loss + 0.3 * processor.compute_loss(scale_preds, masks, structure_loss)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        heads.append([p.detach().clone() for p in processor.heads.parameters()])
    torch.testing.assert_close(heads[1], heads[0], rtol=0, atol=0)  # after the warm-up the heads rest
    torch.testing.assert_close(heads[2], heads[0], rtol=0, atol=0)
