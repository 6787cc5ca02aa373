"""Box losses: equal to torchvision on proper boxes, finite with gradient where the plain formulas break."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision.ops as ops
from torch import Tensor

from polyscale.losses import boxes as box

OVERLAP_LOSSES = [box.box_iou_loss, box.giou_loss, box.diou_loss, box.ciou_loss, box.nwd_loss]


def random_boxes(number: int, seed: int, dtype: torch.dtype = torch.float32, size: float = 60.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(number, 2, generator=generator, dtype=dtype) * size
    return torch.cat([corner, corner + 0.5 + torch.rand(number, 2, generator=generator, dtype=dtype) * size], dim=-1)


@pytest.mark.parametrize("alpha", [0.25, 0.6, -1])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal_is_torchvisions_over_the_number_of_positives(alpha: float, gamma: float) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 7, 4) * 3, (torch.rand(3, 7, 4) < 0.2).float()
    expected = ops.sigmoid_focal_loss(logits, targets, alpha, gamma, reduction="sum") / targets.sum()
    torch.testing.assert_close(box.focal_loss(logits, targets, alpha, gamma), expected)


def test_focal_normalisers_and_weights() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 3), torch.eye(5, 3)
    base = box.focal_loss(logits, targets) * 3
    torch.testing.assert_close(box.focal_loss(logits, targets, num_positives=torch.tensor(6.0)), base / 6)
    weights = torch.tensor([[2.0], [0.0], [0.0], [0.0], [0.0]])
    expected = 2 * ops.sigmoid_focal_loss(logits[:1], targets[:1], reduction="sum") / 3
    torch.testing.assert_close(box.focal_loss(logits, targets, weights=weights), expected)
    nothing = torch.zeros(5, 3)  # no positives: divided by 1, not by 0
    torch.testing.assert_close(
        box.focal_loss(logits, nothing), ops.sigmoid_focal_loss(logits, nothing, reduction="sum")
    )
    assert box.focal_loss(logits[:0], targets[:0]) == 0


def test_focal_gradient_is_finite_for_saturated_logits() -> None:
    # torchvision's is NaN here: an infinite slope of (1 - p) ** 0.5 times a cross-entropy of 0.
    logits = torch.tensor([200.0, -200.0, 0.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(box.focal_loss(logits, torch.tensor([1.0, 0.0, 1.0]), gamma=0.5), logits)
    assert gradient.isfinite().all()
    assert gradient[2] < 0


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (box.giou_loss, ops.generalized_box_iou_loss),
        (box.diou_loss, ops.distance_box_iou_loss),
        (box.ciou_loss, ops.complete_box_iou_loss),
    ],
)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_equal_to_torchvision_on_proper_boxes(ours: Any, theirs: Any, reduction: str) -> None:
    boxes, targets = random_boxes(200, 1).requires_grad_(), random_boxes(200, 2)
    mine, reference = ours(boxes, targets, reduction=reduction), theirs(boxes, targets, reduction=reduction)
    torch.testing.assert_close(mine, reference)
    gradients = [torch.autograd.grad(value.sum(), boxes)[0] for value in (mine, reference)]
    torch.testing.assert_close(*gradients)


def test_iou_loss_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1]])
    targets = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 3, 3]])
    torch.testing.assert_close(box.box_iou_loss(boxes, targets), torch.tensor([0.0, 2 / 3, 1.0]))
    torch.testing.assert_close(box.box_iou_loss(boxes, targets, power=2), torch.tensor([0.0, 8 / 9, 1.0]))


def test_nwd_by_hand() -> None:
    boxes, targets = torch.tensor([[0.0, 0, 4, 6]]), torch.tensor([[3.0, 4, 9, 10]])
    # centres (2, 3), (6, 7): 16 + 16; half extents (2, 3), (3, 3): 1
    expected = 1 - math.exp(-math.sqrt(33) / 10)
    torch.testing.assert_close(box.nwd_loss(boxes, targets, size=10), torch.tensor([expected]), rtol=1e-5, atol=1e-5)
    assert box.nwd_loss(boxes, boxes).item() == 0


def test_pairwise_giou_is_torchvisions() -> None:
    boxes, targets = random_boxes(9, 3), random_boxes(4, 4)
    expected = ops.generalized_box_iou(boxes, targets)
    torch.testing.assert_close(box.pairwise_giou(boxes, targets), expected)
    batched = box.pairwise_giou(torch.stack([boxes, boxes + 1]), torch.stack([targets, targets]))
    torch.testing.assert_close(batched[1], ops.generalized_box_iou(boxes + 1, targets))
    empty = torch.zeros(1, 4)
    assert box.pairwise_giou(empty, empty).item() == 0  # torchvision: NaN


DEGENERATE = {
    "zero height": [3.0, 3, 7, 3],
    "zero width": [3.0, 3, 3, 7],
    "point": [3.0, 3, 3, 3],
    "perfect": [2.0, 2, 6, 8],
    "touching": [6.0, 2, 9, 8],
    "inverted": [5.0, 5, 3, 3],
}


@pytest.mark.parametrize("loss", OVERLAP_LOSSES)
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("target", [[2.0, 2, 6, 8], [2.0, 2, 2, 2], [2.0, 5, 6, 5]])
def test_finite_value_and_bounded_gradient_at_degenerate_boxes(
    loss: Callable[..., torch.Tensor], case: str, target: list[float]
) -> None:
    boxes = torch.tensor([DEGENERATE[case]], requires_grad=True)
    value = loss(boxes, torch.tensor([target]))
    (gradient,) = torch.autograd.grad(value.sum(), boxes)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 10


@pytest.mark.parametrize("loss", OVERLAP_LOSSES)
@pytest.mark.parametrize("case", ["zero height", "zero width", "point"])
def test_flat_boxes_still_learn(loss: Callable[..., torch.Tensor], case: str) -> None:
    """A flat box inside its target must get a gradient that moves it (IoU, GIoU) or it never recovers."""
    boxes = torch.tensor([DEGENERATE[case]], requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(boxes, torch.tensor([[2.0, 2, 6, 8]])).sum(), boxes)
    if case == "point" and loss in (box.box_iou_loss, box.giou_loss):
        assert (gradient == 0).all()  # area w * h has no slope where both are 0: documented, DIoU and NWD do move it
    else:
        assert gradient.abs().max() > 1e-3


def test_ciou_at_zero_height_has_torchvisions_value() -> None:
    flat, target = torch.tensor([[3.0, 3, 7, 3]]), torch.tensor([[2.0, 2, 6, 8]])
    torch.testing.assert_close(box.ciou_loss(flat, target), ops.complete_box_iou_loss(flat, target))
    point = torch.tensor([[3.0, 3, 3, 3]])
    torch.testing.assert_close(box.ciou_loss(point, target), box.diou_loss(point, target))


def test_inverted_box_is_not_rewarded() -> None:
    inverted, target = torch.tensor([[5.0, 5, 1, 1]]), torch.tensor([[0.0, 0, 4, 4]])
    assert ops.generalized_box_iou_loss(inverted, target).item() == pytest.approx(0, abs=1e-6)  # the trap
    for loss in (box.box_iou_loss, box.giou_loss, box.diou_loss, box.ciou_loss):
        assert loss(inverted, target).item() >= 1


@pytest.mark.parametrize("loss", OVERLAP_LOSSES)
def test_no_boxes(loss: Callable[..., torch.Tensor]) -> None:
    boxes = torch.zeros(0, 4, requires_grad=True)
    for reduction in ("mean", "sum"):
        value = loss(boxes, torch.zeros(0, 4), reduction=reduction)
        assert value.item() == 0
        assert torch.autograd.grad(value, boxes)[0].shape == (0, 4)


@pytest.mark.parametrize("loss", [loss for loss in OVERLAP_LOSSES if loss is not box.ciou_loss])
def test_gradcheck(
    loss: Callable[..., torch.Tensor],
) -> None:  # CIoU holds alpha constant, so its gradient is not its slope: torchvision's above
    boxes, targets = random_boxes(6, 5, torch.float64), random_boxes(6, 6, torch.float64)
    assert torch.autograd.gradcheck(loss, (boxes.requires_grad_(), targets.requires_grad_()))


def test_gradcheck_focal() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 4, dtype=torch.float64), torch.eye(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: box.focal_loss(x, targets), (logits.requires_grad_(),))


@pytest.mark.parametrize("loss", OVERLAP_LOSSES)
def test_half_precision_is_computed_in_float32(loss: Callable[..., torch.Tensor]) -> None:
    boxes, targets = (random_boxes(20, seed, size=900).bfloat16() for seed in (7, 8))
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(boxes, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(boxes.double(), targets.double()).float())


def test_focal_autocast() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 4).bfloat16(), (torch.rand(50, 4) < 0.1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = box.focal_loss(logits, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, box.focal_loss(logits.double(), targets.double()).float())


@pytest.mark.parametrize("loss", OVERLAP_LOSSES)
def test_compiles_without_graph_break(loss: Callable[..., torch.Tensor]) -> None:
    boxes, targets = random_boxes(5, 9), random_boxes(5, 10)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(boxes, targets), loss(boxes, targets))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box.giou_loss(torch.zeros(3, 5), torch.zeros(3, 5)), r"boxes must be \[\.\.\., 4\].*, got \[3, 5\]"),
        (lambda: box.ciou_loss(torch.zeros(3, 4), torch.zeros(1, 4)), r"targets must be \[3, 4\].*, got \[1, 4\]"),
        (lambda: box.diou_loss(torch.zeros(3, 4), torch.zeros(3, 4), "avg"), "reduction must be 'none'.*, got 'avg'"),
        (lambda: box.box_iou_loss(torch.zeros(3, 4), torch.zeros(3, 4), power=0.5), "power must be .*, got 0.5"),
        (lambda: box.nwd_loss(torch.zeros(3, 4), torch.zeros(3, 4), size=0), "size must be .*, got 0"),
        (lambda: box.pairwise_giou(torch.zeros(4), torch.zeros(3, 4)), r"boxes must be .*, got \[4\]"),
        (lambda: box.focal_loss(torch.zeros(3, 2), torch.zeros(3)), r"targets must be \[3, 2\].*, got \[3\]"),
        (lambda: box.focal_loss(torch.zeros(3), torch.zeros(3), alpha=1.5), "alpha must be .*, got 1.5"),
        (lambda: box.focal_loss(torch.zeros(3), torch.zeros(3), gamma=-1), "gamma must be .*, got -1"),
    ],
)
def test_bad_input(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
