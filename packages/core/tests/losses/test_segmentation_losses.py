"""Segmentation losses against independent formulas, and where libraries go wrong: empty masks, batches, autocast."""

import math
from collections.abc import Callable

import pytest
import torch

from polyscale.losses import (
    ScaleAwareLoss,
    bce_loss,
    boundary_loss,
    dice_loss,
    iou_loss,
    structure_loss,
    ual_weight,
    uncertainty_aware_loss,
)
from polyscale.losses.segmentation import _box_mean

LOSSES = [bce_loss, dice_loss, iou_loss, structure_loss]


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.zeros(2, 1, 24, 24)
    target[0, 0, 4:12, 6:20] = 1
    target[1, 0, 20:22, 20:22] = 1
    return torch.randn(2, 1, 24, 24, generator=generator), target


@pytest.mark.parametrize("loss", LOSSES)
def test_right_is_near_zero_and_wrong_is_large(
    loss: Callable[..., torch.Tensor], pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    target = pair[1]
    right, wrong = loss(40 * (target - 0.5), target), loss(-40 * (target - 0.5), target)
    assert right < 1e-3
    assert wrong > 0.9


@pytest.mark.parametrize("loss", LOSSES)
def test_images_count_alike_whatever_the_batch(
    loss: Callable[..., torch.Tensor], pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    logits, target = pair
    per_image = loss(logits, target, reduction="none")
    assert per_image.shape == (2,)
    alone = [loss(logits[i : i + 1], target[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(per_image, torch.stack(alone))
    torch.testing.assert_close(loss(logits, target), per_image.mean())


@pytest.mark.parametrize("loss", [dice_loss, iou_loss, structure_loss])
def test_a_prediction_on_an_empty_mask_costs(loss: Callable[..., torch.Tensor]) -> None:
    target = torch.zeros(1, 1, 16, 16)
    assert loss(torch.full_like(target, -20), target) < 1e-3
    assert loss(torch.full_like(target, 20), target) > 0.9


def test_boundary_loss_counts_contours_and_their_distance() -> None:
    target = torch.zeros(1, 1, 40, 40)
    target[..., 10:24, 8:26] = 1

    def moved(pixels: int, **options: int) -> float:
        return boundary_loss(40 * (target.roll(pixels, 3) - 0.5), target, smooth=1e-6, **options).item()

    assert moved(0) < 1e-4
    assert moved(2) < 1e-4
    assert 0.3 < moved(2, tolerance=0) < 0.6
    assert 0.3 < moved(6) < 0.9  # upper and lower edges still lie on each other
    hollow = target.clone()
    hollow[..., 15:19, 13:21] = 0  # right area but for the middle: a second contour
    assert 0.1 < boundary_loss(40 * (hollow - 0.5), target, smooth=1e-6).item() < 0.6
    with pytest.raises(ValueError, match="tolerance must be 0 pixels or more, got -1"):
        boundary_loss(target, target, tolerance=-1)


def test_boundary_loss_by_hand_and_without_an_object() -> None:
    empty = torch.zeros(1, 1, 16, 16)
    assert boundary_loss(empty - 20, empty).item() < 1e-3
    blob = empty.clone()
    blob[..., 4:12, 4:12] = 1
    assert boundary_loss(40 * (blob - 0.5), empty).item() > 0.9
    soft = boundary_loss(2 * (blob - 0.5), blob, tolerance=0, smooth=0).item()
    contour = 28 * (torch.sigmoid(torch.tensor(1.0)) - torch.sigmoid(torch.tensor(-1.0))).item()
    assert soft == pytest.approx(1 - 2 * (contour / 28) / (1 + contour / 28), abs=1e-6)
    logits = torch.randn(2, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    masks = (torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(1)) > 0.5).double()
    assert torch.autograd.gradcheck(lambda x: boundary_loss(x, masks), logits)
    assert boundary_loss(logits.bfloat16(), masks).dtype == torch.float32


def test_dice_and_iou_by_hand() -> None:
    target = torch.zeros(1, 1, 2, 2)
    target[..., 0] = 1
    logits = torch.tensor([[[[0.0, 0.0], [0.0, 0.0]]]])  # p = .5: intersection 1, sum 4
    assert dice_loss(logits, target, smooth=0).item() == pytest.approx(1 - 2 / 4)
    assert iou_loss(logits, target, smooth=0).item() == pytest.approx(1 - 1 / 3)


def test_structure_loss_by_hand(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """The published formula, pixel by pixel, with a window that counts padding as background."""
    logits, target = pair
    total = 0.0
    for x, y in zip(logits[:, 0].double(), target[:, 0].double(), strict=True):
        padded = torch.nn.functional.pad(y, (15, 15, 15, 15))
        mean = torch.tensor([[padded[i : i + 31, j : j + 31].mean() for j in range(24)] for i in range(24)])
        weight = 1 + 5 * (mean - y).abs()
        bce = torch.clamp(x, min=0) - x * y + torch.log1p(torch.exp(-x.abs()))
        p = 1 / (1 + torch.exp(-x))
        both, union = (p * y * weight).sum(), ((p + y - p * y) * weight).sum()
        total += float((weight * bce).sum() / weight.sum() + 1 - (both + 1) / (union + 1))
    assert structure_loss(logits, target).item() == pytest.approx(total / 2, rel=1e-5)


def test_structure_loss_weighs_a_border_pixel_more_than_an_inner_one() -> None:
    target = torch.zeros(1, 1, 64, 64)
    target[..., :32] = 1
    costs = []
    for column in (16, 30):
        logits = 40 * (target - 0.5)
        logits[..., 32, column] *= -1
        costs.append(structure_loss(logits, target).item())
    assert costs[1] > 1.5 * costs[0]


def test_ambiguity_loss_and_its_schedule() -> None:
    assert uncertainty_aware_loss(torch.zeros(2, 1, 4, 4)).item() == 1.0
    assert uncertainty_aware_loss(torch.full((2, 1, 4, 4), 30.0)).item() == pytest.approx(0.0, abs=1e-6)
    logit = math.log(0.75 / 0.25)
    assert uncertainty_aware_loss(torch.full((1, 1, 1, 1), logit)).item() == pytest.approx(1 - 0.25)
    assert [ual_weight(t) for t in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([0.0, 0.5, 1.0, 1.0])


def test_ambiguity_loss_keeps_float64_and_checks_its_shape() -> None:
    logits = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert uncertainty_aware_loss(logits, reduction="none").dtype == torch.float64
    assert torch.autograd.gradcheck(uncertainty_aware_loss, logits)
    assert uncertainty_aware_loss(torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16)).dtype == torch.float32
    for shape in ([3, 3], [2, 3, 3], [2, 3, 4, 4]):
        with pytest.raises(ValueError, match=r"logits must be \[B, 1, H, W\], got"):
            uncertainty_aware_loss(torch.zeros(shape))


def test_box_mean_keeps_float32_precision_on_large_soft_masks() -> None:
    soft = torch.rand(1, 1, 352, 480, generator=torch.Generator().manual_seed(0))
    exact = torch.nn.functional.avg_pool2d(soft.double(), 31, 1, 15)
    assert (_box_mean(soft, 31) - exact).abs().max() < 2e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_and_half_precision(
    loss: Callable[..., torch.Tensor], pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    logits, target = (t[:, :, :6, :6].double() for t in pair)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits.requires_grad_())
    assert loss(pair[0].bfloat16() * 100, pair[1].bfloat16()).dtype == torch.float32
    assert loss(pair[0] * 1e4, pair[1]).isfinite()


@pytest.mark.parametrize("loss", LOSSES)
def test_wrong_shapes_and_reductions_are_named(
    loss: Callable[..., torch.Tensor], pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    logits, target = pair
    with pytest.raises(ValueError, match=r"logits and target must be the same"):
        loss(logits, target[:1])
    with pytest.raises(ValueError, match=r"logits and target must be the same"):
        loss(logits[:, 0], target[:, 0])
    with pytest.raises(ValueError, match="reduction must be 'none', 'mean' or 'sum', got 'median'"):
        loss(logits, target, reduction="median")
    with pytest.raises(ValueError, match="window must be an odd number"):
        structure_loss(logits, target, window=4)


@pytest.mark.parametrize("weights", [(0.5, 1.0, 0.5), (0.3, 1.0, 0.7), (0.7, 1.0, 0.3), (1.0, 1.0, 1.0)])
def test_scale_aware_loss_applies_its_weights(
    weights: tuple[float, ...], pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    _, target = pair
    predictions = [torch.full((2, 1, s, s), v) for s, v in ((6, 0.0), (12, 1.0), (18, -1.0))]
    total, parts = ScaleAwareLoss(scale_weights=weights)(predictions, target, bce_loss)
    single = [bce_loss(torch.full_like(target, v), target).item() for v in (0.0, 1.0, -1.0)]
    assert total.item() == pytest.approx(sum(w * s for w, s in zip(weights, single, strict=True)), rel=1e-5)
    assert [parts[f"scale_{i}"].item() for i in range(3)] == pytest.approx(single, rel=1e-5)


def test_scale_aware_loss_skips_weight_zero_and_checks(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, target = pair
    predictions = [torch.zeros(2, 1, 6, 6, requires_grad=True) for _ in range(2)]
    total, parts = ScaleAwareLoss((0.0, 2.0))(predictions, target, bce_loss)
    total.backward()
    assert list(parts) == ["scale_1"]
    assert predictions[0].grad is None
    assert predictions[1].grad is not None
    with pytest.raises(ValueError, match="predictions must be one for each of the 2 scales, got 3"):
        ScaleAwareLoss((0.0, 2.0))([*predictions, predictions[0]], target, bce_loss)
    with pytest.raises(ValueError, match="scale_weights must be numbers >= 0"):
        ScaleAwareLoss((0.0, -1.0))
