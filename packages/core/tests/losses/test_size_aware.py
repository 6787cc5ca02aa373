"""Size-aware weights: the numbers of the notes exactly, and the normalised form that keeps the balance of a loss."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from polyscale.losses.boxes import box_iou_loss, giou_loss
from polyscale.losses.size_aware import size_aware_iou_loss, size_aware_weights

AREAS = torch.tensor([0.0, 100.0, 500.0, 709.0, 711.0, 1024.0, 1025.0, 5000.0, 9216.0, 9217.0, 1e6])


def test_seed_exponential_is_exact() -> None:
    weights = size_aware_weights(AREAS, 2.0, "original")
    expected = [min(2.0, max(1.0, 2.0 * math.exp(-area / 1024))) for area in AREAS.tolist()]
    torch.testing.assert_close(weights, torch.tensor(expected))
    assert (weights > 1).tolist() == [True] * 4 + [False] * 7  # only boxes under 710 px^2 for W = 2


def test_seed_step_and_linear_are_exact() -> None:
    step = size_aware_weights(AREAS, 3.0, "original", "step")
    assert step.tolist() == [3, 3, 3, 3, 3, 3, 2, 2, 2, 1, 1]
    linear = size_aware_weights(AREAS, 2.0, "original", "linear")
    expected = [min(2.0, max(1.0, 2.0 * (1 - min(1.0, area / 9216)) + 1)) for area in AREAS.tolist()]
    torch.testing.assert_close(linear, torch.tensor(expected))


@pytest.mark.parametrize("curve", ["exponential", "step", "linear"])
def test_normalised_weights_have_mean_one_and_the_ratios_of_the_notes(curve: str) -> None:
    original = size_aware_weights(AREAS, 2.5, "original", curve)
    weights = size_aware_weights(AREAS, 2.5, curve=curve)
    assert weights.mean().item() == pytest.approx(1)
    torch.testing.assert_close(weights / weights[-1], original / original[-1])


def test_normalised_keeps_the_size_of_a_loss_where_the_seed_shifts_it() -> None:
    tiny, values = torch.full((6,), 50.0), torch.ones(6)
    assert (values * size_aware_weights(tiny)).sum().item() == pytest.approx(6)
    assert (values * size_aware_weights(tiny, variant="original")).sum().item() > 11
    given = size_aware_weights(tiny, mean_weight=1.5)
    torch.testing.assert_close(given, size_aware_weights(tiny, variant="original") / 1.5)


def test_limits_follow_the_frame() -> None:
    half_frame = size_aware_weights(AREAS, variant="original")
    sensor = size_aware_weights(AREAS * 4, variant="original", small_area=4 * 1024, medium_area=4 * 9216)
    torch.testing.assert_close(half_frame, sensor)


def test_iou_loss_is_weight_times_squared_iou_loss() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [1, 1, 120, 99]], requires_grad=True)
    targets = torch.tensor([[0.0, 0, 10, 10], [0, 0, 100, 100]])
    weights = torch.tensor([2 * math.exp(-100 / 1024), 1.0])
    expected = weights * (1 - (1 - box_iou_loss(boxes, targets)) ** 2)
    torch.testing.assert_close(size_aware_iou_loss(boxes, targets, variant="original"), expected)
    total = size_aware_iou_loss(boxes, targets, variant="original", reduction="sum")
    torch.testing.assert_close(total, expected.sum())
    with_giou = size_aware_iou_loss(boxes, targets, variant="original", loss=giou_loss)
    torch.testing.assert_close(with_giou, weights * giou_loss(boxes, targets))
    (gradient,) = torch.autograd.grad(total, boxes)
    assert (gradient != 0).any(dim=1).all()


def test_weights_carry_no_gradient() -> None:
    areas = AREAS.clone().requires_grad_()
    assert not size_aware_weights(areas).requires_grad


def test_no_boxes() -> None:
    assert size_aware_weights(torch.zeros(0)).shape == (0,)
    boxes = torch.zeros(0, 4, requires_grad=True)
    for reduction in ("sum", "mean"):
        value = size_aware_iou_loss(boxes, torch.zeros(0, 4), reduction=reduction)
        assert value.item() == 0
        value.backward()


def test_half_precision_and_gradcheck() -> None:
    boxes = torch.tensor([[0.0, 0, 600, 600], [0, 0, 8, 8]], dtype=torch.float16)  # the first area: infinite in float16
    value = size_aware_iou_loss(boxes, boxes + 1, variant="original")
    assert value.dtype == torch.float32
    expected = size_aware_iou_loss(boxes.double(), boxes.double() + 1, variant="original")
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    x = torch.tensor([[0.0, 0, 9, 9], [1, 1, 50, 60]], dtype=torch.float64)
    targets = x + 0.7
    assert torch.autograd.gradcheck(lambda b: size_aware_iou_loss(b, targets), (x.requires_grad_(),))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: size_aware_weights(torch.zeros(2, 4)), r"areas must be \[N\] in px\^2.*, got \[2, 4\]"),
        (lambda: size_aware_weights(AREAS, 0.5), "max_weight must be .*, got 0.5"),
        (
            lambda: size_aware_weights(AREAS, variant="none"),
            "variant must be one of normalised, original.*, got 'none'",
        ),
        (
            lambda: size_aware_weights(AREAS, curve="cubic"),
            "curve must be one of exponential, step, linear.*, got 'cubic'",
        ),
        (
            lambda: size_aware_weights(AREAS, small_area=99, medium_area=9),
            "small_area and medium_area must be .*, got 99, 9",
        ),
        (lambda: size_aware_iou_loss(torch.zeros(1, 4), torch.zeros(2, 4)), "targets must be"),
    ],
)
def test_bad_input(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
