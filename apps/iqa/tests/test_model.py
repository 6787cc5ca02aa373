"""The quality network: HyperIQA-Swin's numbers reproduced, any size in one pass, one score per image in any batch."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa.model.hypernet import TARGET, HyperNet, LocalDistortion, target_forward
from iqa.model.network import QualityNet, max_std, soft_clip
from iqa.model.pooled import PooledHyperNet, Standardise
from polyscale.errors import UserError

SWIN_T = 27_517_818
SPREAD = TARGET[0] + TARGET[1] + 1  # the variance head, which HyperIQA-Swin does not have


def tiny(**changes: object) -> QualityNet:
    torch.manual_seed(0)
    arguments = {"backbone": "test_resnet", "drop_path": 0.0, "low": 1.0, "high": 5.0}
    return QualityNet(**{**arguments, **changes}).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [({"multiscale": False}, 28_979_523), ({}, 29_323_587), ({"fusion": "attention"}, 29_521_479)],
)
def test_parameter_counts_are_those_of_the_ancestor(arguments: dict[str, object], parameters: int) -> None:
    with torch.device("meta"):
        model = QualityNet(**arguments)  # type: ignore[arg-type]
    assert sum(p.numel() for p in model.backbone.parameters()) == SWIN_T
    assert sum(p.numel() for p in model.parameters()) - SPREAD == parameters


def test_adaptive_pools_are_the_ancestors_fixed_ones_at_224() -> None:
    torch.manual_seed(0)
    local = LocalDistortion((96, 192, 384, 768))
    stages = [torch.rand(2, c, s, s) for c, s in ((96, 56), (192, 28), (384, 14), (768, 7))]
    parts = [
        local.read[i](F.avg_pool2d(local.squeeze[i](stage), 7, 7).flatten(1)) for i, stage in enumerate(stages[:3])
    ]
    parts.append(local.read[3](F.avg_pool2d(stages[3], 7, 7).flatten(1)))
    assert torch.allclose(local(stages), torch.cat(parts, 1), atol=1e-5)


def test_judging_equals_one_linear_network_per_image() -> None:
    torch.manual_seed(0)
    layers = HyperNet(20)(torch.rand(3, 112, 7, 7))
    vectors = torch.rand(3, 224)
    for i in range(3):
        x = vectors[i]
        for n, (weight, bias) in enumerate(layers):
            x = F.linear(x, weight[i], bias[i])
            x = x.sigmoid() if n + 1 < len(layers) else x
        assert torch.allclose(target_forward(vectors, layers)[i], x[0], atol=1e-5)


@pytest.mark.parametrize("size", [(224, 224), (65, 130), (1, 1), (33, 400)])
@torch.no_grad()
def test_any_size_in_one_pass_alike_in_any_batch(size: tuple[int, int]) -> None:
    model = tiny()
    images = torch.rand(4, 3, *size)
    scores, spreads = model.score_with_spread(images)
    alone = torch.cat([model.score(image[None]) for image in images])
    assert scores.shape == spreads.shape == (4,)
    assert torch.allclose(scores, alone, atol=1e-5)
    assert torch.equal(model.score(images), scores)
    assert (scores >= 1).all()
    assert (scores <= 5).all()
    assert (spreads > 0).all()


@pytest.mark.parametrize("grid", [7, 1])
@torch.no_grad()
def test_look_then_judge_is_the_forward_pass(grid: int) -> None:
    model = tiny(grid=grid)
    images = torch.rand(2, 3, 90, 70)
    assert torch.equal(model.judge(model.backbone(model.backbone.normalise(images)))[0], model(images))


PARTS: list[dict[str, object]] = [
    {},
    {"fusion": "attention"},
    {"multiscale": False},
    {"grid": 1},
    {"grid": 1, "multiscale": False},
]


@pytest.mark.parametrize("arguments", PARTS)
def test_every_parameter_learns(arguments: dict[str, object]) -> None:
    model = tiny(dropout=0.0, **arguments).train()
    scores, log_variance = model(torch.rand(4, 3, 64, 64), details=True)
    (scores.square().sum() + log_variance.sum()).backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not dead


def test_bounded_scores_keep_their_order_and_leave_the_middle_alone() -> None:
    outputs = torch.linspace(-0.3, 1.3, 1601, dtype=torch.float64)
    scores = soft_clip(outputs)
    assert (scores.diff() > 0).all()
    assert scores.min() > 0
    assert scores.max() < 1
    middle = (outputs >= 0.05) & (outputs <= 0.95)
    assert torch.equal(scores[middle], outputs[middle])
    assert scores.diff().div(outputs.diff()).diff().abs().max() < 0.03  # no bend


def test_means_alone_have_no_left_and_right() -> None:
    torch.manual_seed(0)
    hyper = PooledHyperNet(30).eval()
    stages = [torch.rand(2, c, s, s) for c, s in ((4, 16), (6, 8), (8, 4), (12, 2))]
    content, vector, layers = hyper(stages)
    mirrored = hyper([stage.flip(3) for stage in stages])
    torch.testing.assert_close(mirrored, (content, vector, layers))
    assert [list(weight.shape) for weight, _ in layers] == [[2, 32, 64], [2, 16, 32], [2, 1, 16]]
    assert abs(target_forward(vector, layers, activation=F.gelu).mean().item() - 0.5) < 1


def test_standardising_remembers_all_rows_it_has_seen() -> None:
    rows = torch.randn(640, 5, generator=torch.Generator().manual_seed(0)) * 3 + 7
    layer = Standardise(5)
    for batch in rows.split(16):
        layer(batch)
    layer.eval()
    assert torch.allclose(layer.mean, rows.mean(0), atol=1e-3)
    assert torch.allclose(layer.variance, rows.var(0, correction=0), rtol=1e-3)
    before = layer.mean.clone()
    assert layer(rows).mean().abs() < 0.01
    assert torch.equal(layer.mean, before)


def test_one_cell_goes_without_attention() -> None:
    with pytest.raises(ValueError, match="grid: 1 given"):
        tiny(grid=1, fusion="attention")
    with pytest.raises(ValueError, match="grid: 3 given"):
        tiny(grid=3)


def test_frozen_norm_keeps_the_statistics_and_learns_the_rest() -> None:
    model = tiny()
    norm = next(module for module in model.backbone.modules() if isinstance(module, nn.BatchNorm2d))
    before = norm.running_mean.clone()  # type: ignore[union-attr]
    model.frozen_norm = True
    model.train()(torch.rand(4, 3, 64, 64)).sum().backward()
    assert torch.equal(norm.running_mean, before)  # type: ignore[arg-type]
    assert norm.weight.grad is not None
    assert model.training
    model.frozen_norm = False
    model.train()(torch.rand(4, 3, 64, 64))
    assert not torch.equal(norm.running_mean, before)  # type: ignore[arg-type]


@torch.no_grad()
def test_attention_weighs_the_stages() -> None:
    weights = tiny(fusion="attention").stage_weights(torch.rand(2, 3, 64, 64))
    assert weights.shape == (2, 4)
    assert torch.allclose(weights.sum(1), torch.ones(2))
    with pytest.raises(ValueError, match="concat"):
        tiny().stage_weights(torch.rand(2, 3, 64, 64))


def test_saved_and_loaded_scores_alike(tmp_path: object) -> None:
    model = tiny()
    model.save_pretrained(f"{tmp_path}/m")
    loaded = QualityNet.from_pretrained(f"{tmp_path}/m")
    image = torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(loaded.score(image), model.score(image))
    assert (loaded.low, loaded.high) == (1.0, 5.0)


def test_models_of_before_load_unless_they_read_statistics(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())

    def load(**old: object) -> QualityNet:
        file.write_text(json.dumps(config | {"arguments": config["arguments"] | old}))
        return QualityNet.from_pretrained(tmp_path)

    assert load(statistics=False, shrink=1).arguments == config["arguments"]
    with pytest.raises(UserError, match=r"has no statistics any more, as if always False; .*: train it again$"):
        load(statistics=True, shrink=4)
    with pytest.raises(UserError, match=r"has no shrink any more, as if always 1; .*: train it again$"):
        load(statistics=False, shrink=2)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="image_size"):
        tiny(image_size=8)
    with pytest.raises(ValueError, match="low, high"):
        tiny(low=3.0, high=3.0)
    with pytest.raises(UserError, match="backbone"):
        tiny(backbone="no_such_network")
    with pytest.raises(ValueError, match="images"):
        tiny()(torch.rand(1, 4, 32, 32))


def test_bf16_scores_stay_close() -> None:
    model = tiny()
    image: Tensor = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        full = model.score(image)
        with torch.autocast("cpu", torch.bfloat16):
            half = model.score(image)
    assert half.dtype == torch.float32
    assert torch.allclose(full, half, atol=0.1)


def test_no_spread_is_wider_than_the_range_allows() -> None:
    shares = torch.tensor([0.0, 0.01, 0.05, 0.3, 0.5, 1.0])
    two_ends = (shares.clamp(0.05, 0.95) * (1 - shares.clamp(0.05, 0.95))).sqrt()  # of opinions that are 0 or 1
    torch.testing.assert_close(max_std(shares), two_ends)
    assert max_std(shares).max() == 0.5
    model = tiny()
    with torch.no_grad():
        model.spread_scale.fill_(1e6)
        score, spread = model.score_with_spread(torch.rand(3, 3, 64, 64))
    torch.testing.assert_close(spread, 4 * max_std((score - 1) / 4))
