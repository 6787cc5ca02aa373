"""The mixture of decoder experts: routing, balance, one pass per expert, the seed's three ways to several scales."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camo_seg.cli.info import cost_rows
from camo_seg.config import Config, LossSettings
from camo_seg.evaluation.assess import use_by_epoch
from camo_seg.model import CamoSegmenter, ModelLevelMoE
from camo_seg.model.mixture import MixtureDecoder, Routing, UseCounter, balance_loss, expert_names
from camo_seg.objective import Objective
from polyscale.blocks import MultiScaleInputProcessor
from polyscale.losses import bce_loss
from polyscale.testing import ModuleContract
from polyscale.testing.command import call, one_line
from polyscale.training import param_groups

CHANNELS = (4, 6, 8, 10)
TINY = {"backbone": "test_resnet", "width": 8, "image_size": 64}


def features(batch: int, size: tuple[int, int] = (16, 16), dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Levels whose channels have another mean in each image: plain noise looks the same to a router."""
    sides = [[max(1, -(-side // 2**i)) for side in size] for i in range(4)]
    return [
        torch.randn(batch, c, *side, dtype=dtype) + 2 * torch.randn(batch, c, 1, 1, dtype=dtype)
        for c, side in zip(CHANNELS, sides, strict=True)
    ]


class TestMixtureDecoder(ModuleContract):
    sizes = ((16, 16), (9, 13))
    autocast_tolerance = None  # bf16 may turn a close choice
    bad_arguments = (
        (lambda: MixtureDecoder(CHANNELS, 4, experts=1), "experts must be 2 or more, got 1"),
        (lambda: MixtureDecoder(CHANNELS, 4, experts=3, top_k=4), "top_k must be 1 to 3, the number of experts, got 4"),
        (lambda: MixtureDecoder(CHANNELS, 4, experts=3, top_k=0), "top_k must be 1 to 3"),
    )

    def make(self) -> nn.Module:
        # all are chosen, so that each has a gradient with the two images of a contract
        decoder = MixtureDecoder(CHANNELS, 4, experts=3, top_k=3, deep_heads=True)
        decoder.mix[0].body[-1].bias.requires_grad_(False)  # ahead of the experts' batch norms: without effect
        return WithLossInputs(decoder)

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        return (features(batch, size, dtype),)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        sides = [tuple(max(1, -(-side // 2**i)) for side in size) for i in range(4)]
        return [[(batch, 1, *side) for side in sides], [(batch, 3), (batch, 3)]]


class WithLossInputs(nn.Module):
    """The decoder with all of its outputs."""

    def __init__(self, decoder: MixtureDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, levels: list[Tensor]) -> Any:
        return self.decoder(levels, return_loss_inputs=True)


@pytest.mark.parametrize(("experts", "top_k"), [(2, 1), (4, 2), (5, 3), (6, 6)])
def test_each_expert_runs_once_on_its_images_alone(experts: int, top_k: int) -> None:
    torch.manual_seed(0)
    decoder = MixtureDecoder(CHANNELS, 8, experts, top_k).eval()
    seen: dict[int, list[int]] = {i: [] for i in range(experts)}
    for i, expert in enumerate(decoder.experts):
        expert.register_forward_pre_hook(lambda _, inputs, i=i: seen[i].append(len(inputs[0])))
    images = [4 * x for x in features(7)]
    (logits,), routing = decoder(images, return_loss_inputs=True)
    assert [seen[i] for i in range(experts)] == [[n] if n else [] for n in (routing.use * 7 * top_k).round().int()]
    assert routing.gates.shape == (7, top_k)
    for row in range(7):  # the textbook form: image by image
        levels, _ = decoder.descend([x[row : row + 1] for x in images])
        wanted = sum(
            gate * decoder.experts[int(i)](levels)
            for gate, i in zip(routing.gates[row], routing.chosen[row], strict=True)
        )
        torch.testing.assert_close(logits[row : row + 1], wanted, rtol=1e-4, atol=1e-5)


def test_training_and_inference_choose_alike() -> None:
    torch.manual_seed(0)
    decoder, images = MixtureDecoder(CHANNELS, 8), features(5)
    train, evaluation = (decoder.train(mode)(images, return_loss_inputs=True) for mode in (True, False))
    assert torch.equal(train[1].chosen, evaluation[1].chosen)
    assert torch.equal(train[1].probabilities, evaluation[1].probabilities)


def test_gates_sum_to_one_and_give_the_router_a_gradient_even_for_one_expert() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.2]], requires_grad=True)
    assert Routing(probabilities, torch.tensor([[0, 1]])).gates.tolist() == [pytest.approx([0.625, 0.375])]
    Routing(probabilities, torch.tensor([[0]])).gates.sum().backward()
    assert probabilities.grad is not None
    assert probabilities.grad.abs().sum() > 0


def test_balance_is_one_for_equal_use_and_its_gradient_takes_from_the_used() -> None:
    logits = torch.zeros(4, 4, requires_grad=True)
    equal = Routing(logits.softmax(1), torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]]))
    assert equal.use.tolist() == [0.25] * 4
    assert balance_loss(equal).item() == pytest.approx(1)
    collapsed = Routing(torch.tensor([[0.97, 0.01, 0.01, 0.01]]), torch.tensor([[0]]))
    assert balance_loss(collapsed).item() == pytest.approx(3.88)
    balance_loss(Routing(logits.softmax(1), torch.zeros(4, 1, dtype=torch.int64))).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0] > 0).all()
    assert (logits.grad[:, 1:] < 0).all()


def test_a_training_keeps_every_expert_in_use() -> None:
    """With a weight of .02 one expert decoded every image, on photographs two did."""
    torch.manual_seed(0)
    network = CamoSegmenter("test_resnet", (1.0,), width=8, image_size=32, experts=4)
    objective, optimizer = Objective(LossSettings(), (1.0,), 1), torch.optim.AdamW(network.parameters(), lr=3e-3)
    y, x = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
    use = []
    for _ in range(80):
        centre_y, centre_x, radius = torch.rand(3, 8, 1, 1)
        discs = ((y - centre_y) ** 2 + (x - centre_x) ** 2 < (0.1 + 0.3 * radius) ** 2).float()[:, None]
        output = network(0.5 * torch.rand(8, 3, 32, 32) + 0.4 * discs, return_loss_inputs=False)
        optimizer.zero_grad()
        objective(output, discs, 0)["loss"].backward()
        optimizer.step()
        use.append(output.routing.use)
    shares = torch.stack(use[40:]).mean(0)
    assert shares.min() > 0.1
    assert shares.max() < 0.4


def test_the_balance_loss_brings_a_collapsed_router_back() -> None:
    torch.manual_seed(0)
    decoder = MixtureDecoder(CHANNELS, 8)
    with torch.no_grad():
        decoder.router.layers[-1].bias[:2] += 3
    optimizer = torch.optim.Adam(decoder.router.parameters(), lr=1e-2)
    images = features(64, (8, 8))
    before = decoder.router(images).use
    for _ in range(60):
        optimizer.zero_grad()
        balance_loss(decoder.router(images)).backward()
        optimizer.step()
    assert before.min() == 0
    assert decoder.router(images).use.min() >= 0.1


def test_every_parameter_of_the_network_learns_and_is_optimised() -> None:
    torch.manual_seed(0)
    network = CamoSegmenter(**TINY, experts=3)
    images, masks = torch.rand(16, 3, 64, 64), (torch.rand(16, 1, 64, 64) > 0.5).float()
    with torch.no_grad():  # so that each expert has images
        network.decoder.router.layers[-1].weight.mul_(20)
    output = network(images, return_loss_inputs=True)
    parts = Objective(LossSettings(balance=0.5), (0.5, 1.0, 1.5), 1)(output, masks, 0)
    parts["loss"].backward()
    assert output.routing.use.min() > 0
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    optimised = {id(p) for group in param_groups(network, 0.05) for p in group["params"]}
    assert optimised == {id(p) for p in network.parameters()}
    losses = sum(value for name, value in parts.items() if name != "loss" and not name.startswith("use_"))
    assert parts["loss"].item() == pytest.approx(losses.item())
    assert parts["balance"].item() == pytest.approx(0.5 * balance_loss(output.routing).item())
    assert sum(parts[f"use_{name}"].item() for name in expert_names(3)) == pytest.approx(1)


def test_the_three_ways_of_the_seed_to_several_scales() -> None:
    """Simple, with the scales' losses, and ModelLevelMoE with its backbone wrapped."""
    torch.manual_seed(0)
    images, masks = torch.rand(2, 3, 64, 64), torch.ones(2, 1, 64, 64)
    moe_model = ModelLevelMoE(backbone="test_resnet", num_experts=4, pretrained=False)
    channels = moe_model.backbone.channels
    processor = MultiScaleInputProcessor(
        backbone=moe_model.backbone, channels_list=channels, scales=[0.5, 1.0, 1.5], use_hierarchical=True
    )
    predictions = moe_model.decoder(processor(images))
    bce_loss(predictions, masks[..., ::4, ::4]).backward()

    found, scale_preds = processor(images, return_loss_inputs=True)
    loss_scales, _ = processor.compute_loss(scale_preds, masks, bce_loss)
    (bce_loss(moe_model.decoder(found), masks[..., ::4, ::4]) + 0.3 * loss_scales).backward()

    moe_model.backbone = MultiScaleInputProcessor(
        backbone=moe_model.backbone, channels_list=channels, scales=[0.5, 1.0, 1.5]
    )
    assert moe_model(images).shape == (2, 1, 64, 64)
    output = moe_model(images, return_loss_inputs=True)
    assert len(output.scales) == 3
    Objective(LossSettings(), (0.5, 1.0, 1.5), 1)(output, masks, 0)["loss"].backward()
    assert all(p.grad is not None for p in moe_model.backbone.parameters())


@pytest.mark.parametrize("hierarchical", [True, False])
def test_a_mixture_with_a_wrapped_backbone_is_saved_with_its_scales(hierarchical: bool, tmp_path: Path) -> None:
    moe = ModelLevelMoE("test_resnet", num_experts=3, width=8, image_size=64)
    moe.backbone = MultiScaleInputProcessor(
        moe.backbone, scales=(0.75, 1.0), use_hierarchical=hierarchical, supervise=False
    )
    moe.eval().save_pretrained(tmp_path)
    again = CamoSegmenter.from_pretrained(tmp_path)
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(again(images), moe(images))


def test_use_is_counted_and_logged_by_epoch() -> None:
    assert expert_names(6) == ["edge", "texture", "context", "detail", "edge_2", "texture_2"]
    torch.manual_seed(0)
    network = CamoSegmenter(**TINY, scales=(1.0,), experts=5, top_k=3).eval()
    use = UseCounter(network)
    with use.counting(), torch.no_grad():
        network(torch.rand(4, 3, 64, 64))
        network(torch.rand(3, 3, 64, 64))
    network(torch.rand(2, 3, 64, 64))
    assert sum(use.counts.values()).item() == 7 * 3
    assert UseCounter(CamoSegmenter(**TINY)).counts == {}
    records = [
        {"kind": "training", "epoch": 0, "use_edge": 0.2, "loss": 1.0},
        {"kind": "training", "epoch": 0, "use_edge": 0.4},
        {"kind": "validation", "epoch": 0, "wF": 0.5},
        {"kind": "training", "epoch": 1, "use_edge": 0.5},
    ]
    assert use_by_epoch(records) == {"edge": [(1, pytest.approx(0.3)), (2, 0.5)]}


def test_a_mixture_that_cannot_be_is_one_line() -> None:
    with pytest.raises(ValueError, match="num_experts must be 2 or more, got 1"):
        ModelLevelMoE("test_resnet", num_experts=1)
    one_line(call("camo-seg", "train", "--model.experts", "1"), 2, "model.experts", "2 or more")
    words = ("--model.experts", "3", "--model.top_k", "4")
    one_line(call("camo-seg", "train", *words), 2, "model.top_k", "more than the 3 of model.experts")


def test_cost_counts_the_experts_that_decode() -> None:
    model = {"backbone": "test_resnet", "image_size": 64, "width": 16, "scales": (1.0,), "experts": 4}
    one, two, four = (
        cost_rows(Config.model_validate({"model": {**model, "top_k": k}}))[-1]["multiply_adds_G"] for k in (1, 2, 4)
    )
    assert two - one == pytest.approx((four - two) / 2)
    assert two > one
    assert json.dumps(one)
