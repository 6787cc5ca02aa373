"""Quality losses: the published formulas where those are sound, and bounded gradients where they are not."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from polyscale.losses.quality import norm_in_norm_loss, ranking_loss

MOS = torch.tensor([10.0, 80, 35, 62, 50, 21, 90, 44])


def noisy(seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (MOS + 15 * torch.randn(8, generator=generator)).to(dtype)


def test_ranking_by_hand() -> None:
    scores, targets = torch.tensor([50.0, 52, 40]), torch.tensor([60.0, 40, 40])
    # pairs (0, 1): wrong by 2, costs 5 + 2; (0, 2): right by 10, free; (1, 2): equal targets, not counted
    assert ranking_loss(scores, targets, margin=5).item() == pytest.approx(7 / 2)
    assert ranking_loss(scores, targets, margin=0).item() == pytest.approx(2 / 2)
    assert ranking_loss(scores[:, None], targets[:, None], margin=5).item() == pytest.approx(7 / 2)


def test_ranking_is_the_pairwise_hinge_of_the_notes() -> None:
    scores, margin, costs = noisy(0), 4.0, []
    for i in range(8):
        for j in range(8):
            if MOS[i] != MOS[j]:
                costs.append(max(0.0, margin - float((scores[i] - scores[j]) * torch.sign(MOS[i] - MOS[j]))))
    assert ranking_loss(scores, MOS, margin).item() == pytest.approx(sum(costs) / len(costs), rel=1e-5)


def test_ranking_min_gap_and_groups_leave_pairs_out() -> None:
    scores, targets = torch.tensor([50.0, 52, 40, 45]), torch.tensor([60.0, 57, 40, 20])
    # by more than 10: (0,2) (0,3) (1,2) (1,3) are right by >= 5; (2,3) is wrong by 5
    assert ranking_loss(scores, targets, margin=5, min_gap=10).item() == pytest.approx(10 / 5)
    groups = torch.tensor([0, 0, 1, 1])
    assert ranking_loss(scores, targets, margin=5, groups=groups).item() == pytest.approx((7 + 10) / 2)


def test_ranking_margin_is_in_units_of_the_score() -> None:
    scores = noisy(1)
    small, large = ranking_loss(scores / 100, MOS / 100, 0.05), ranking_loss(scores, MOS, 5)
    torch.testing.assert_close(small * 100, large)


def published(scores: np.ndarray, targets: np.ndarray, p: float, q: float) -> float:
    """The paper's formula in numpy, from its equations and constants."""
    s, t = scores - scores.mean(), targets - targets.mean()
    s, t = s / np.linalg.norm(s, q), t / np.linalg.norm(t, q)
    return float((np.linalg.norm(s - t, p) / (2 * len(s) ** max(0, 1 / p - 1 / q))) ** p)


@pytest.mark.parametrize(("p", "q"), [(1, 2), (2, 2), (1, 1), (3, 2), (1.5, 3)])
def test_norm_in_norm_is_the_papers(p: float, q: float) -> None:
    scores = noisy(2)
    expected = published(scores.double().numpy(), MOS.double().numpy(), p, q)
    assert norm_in_norm_loss(scores, MOS, p, q).item() == pytest.approx(expected, rel=1e-4)


def test_norm_in_norm_with_two_norms_is_half_of_one_minus_plcc() -> None:
    scores = noisy(3)
    plcc = np.corrcoef(scores.numpy(), MOS.numpy())[0, 1]
    assert norm_in_norm_loss(scores, MOS, p=2, q=2).item() == pytest.approx((1 - plcc) / 2, abs=1e-6)


@pytest.mark.parametrize(("p", "q"), [(1, 2), (2, 2), (2, 1)])
def test_norm_in_norm_ignores_scale_and_offset_and_is_0_to_1(p: float, q: float) -> None:
    assert norm_in_norm_loss(MOS * 0.03 - 7, MOS, p, q).item() == pytest.approx(0, abs=1e-4)
    assert 0.1 < norm_in_norm_loss(-MOS, MOS, p, q).item() <= 1 + 1e-6
    torch.testing.assert_close(norm_in_norm_loss(noisy(4) * 9 + 3, MOS, p, q), norm_in_norm_loss(noisy(4), MOS, p, q))


@pytest.mark.parametrize("value", [0.0, 0.1, 50.0, 1e4])
@pytest.mark.parametrize(("p", "q"), [(1, 2), (2, 2), (1.5, 3)])
def test_equal_scores_are_pulled_towards_the_targets(value: float, p: float, q: float) -> None:
    # A head that starts at zero, or rounding noise on it, must not give gradients of 1e8 or NaN.
    scores = torch.full((7,), value, requires_grad=True)
    loss = norm_in_norm_loss(scores, MOS[:7], p, q)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1
    step = scores.detach() - 1e3 * gradient
    assert torch.corrcoef(torch.stack([step, MOS[:7]]))[0, 1] > 0.8


@pytest.mark.parametrize("loss", [norm_in_norm_loss, lambda s, t: ranking_loss(s, t, 5)])
def test_equal_targets_one_image_and_none_give_zero_with_a_graph(loss: Callable[..., torch.Tensor]) -> None:
    for scores, targets in ((noisy(5), torch.full((8,), 3.3)), (noisy(5)[:1], MOS[:1]), (noisy(5)[:0], MOS[:0])):
        scores.requires_grad_()
        value = loss(scores, targets)
        assert value.item() == 0
        assert (torch.autograd.grad(value, scores)[0] == 0).all()


@pytest.mark.parametrize(
    "loss",
    [
        norm_in_norm_loss,
        lambda s, t: norm_in_norm_loss(s, t, 2, 2),
        lambda s, t: norm_in_norm_loss(s, t, 1.5, 3),
        lambda s, t: ranking_loss(s, t, 5.0),
    ],
)
def test_gradcheck_autocast_and_compile(loss: Callable[..., torch.Tensor]) -> None:
    targets = MOS.double()
    assert torch.autograd.gradcheck(lambda s: loss(s, targets), (noisy(6, torch.float64).requires_grad_(),))
    half = noisy(6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(half, MOS.bfloat16())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(half.double(), MOS.bfloat16().double()).float(), rtol=1e-4, atol=1e-6)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(noisy(6), MOS), loss(noisy(6), MOS))


def test_both_losses_train_a_linear_model() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 5)
    targets = x @ torch.tensor([1.0, -2, 0.5, 0, 3])
    for loss in (norm_in_norm_loss, lambda s, t: ranking_loss(s, t, margin=1.0)):
        weight = torch.zeros(5, requires_grad=True)
        optimizer = torch.optim.Adam([weight], 0.05)
        for _ in range(150):
            optimizer.zero_grad()
            loss(x @ weight, targets).backward()
            optimizer.step()
        plcc = torch.corrcoef(torch.stack([(x @ weight).detach(), targets]))[0, 1]
        assert plcc > 0.98
        assert math.isfinite(weight.norm().item())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranking_loss(MOS, MOS[:, None], 1), r"targets must be \[8\].*, got \[8, 1\]"),
        (lambda: norm_in_norm_loss(MOS[:, None], MOS), r"targets must be \[8, 1\].*, got \[8\]"),
        (lambda: norm_in_norm_loss(torch.zeros(2, 4), torch.zeros(2, 4)), r"scores must be .*, got \[2, 4\]"),
        (lambda: ranking_loss(MOS, MOS, -1), "margin must be .*, got -1"),
        (lambda: ranking_loss(MOS, MOS, 1, min_gap=-1), "min_gap must be .*, got -1"),
        (lambda: ranking_loss(MOS, MOS, 1, groups=torch.zeros(3)), "groups must be 8.*, got 3"),
        (lambda: norm_in_norm_loss(MOS, MOS, p=0.5), "p must be .*, got 0.5"),
        (lambda: norm_in_norm_loss(MOS, MOS, q=0), "q must be .*, got 0"),
    ],
)
def test_bad_input(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
