"""Losses that tie predicted quality scores to the order and the linearity of human ones.

`ranking_loss` is the pairwise hinge of the HyperIQA-Swin notes; what differs: the margin is in units of the
score and has no default, because their 0.1 on a scale of 0 to 100 did nothing; pairs may be left out that raters
did not tell apart, or that belong to different data sets. `norm_in_norm_loss` is "Norm-in-Norm" (Li, Jiang, Jiang, ACM
MM 2020, arXiv 2008.03889); what differs: a batch of equal predictions gets a bounded gradient towards the targets
instead of one of about 1e8, and a batch of equal targets gets none.

Scores and targets are [N] or [N, 1], both alike, with the same direction (higher is better, or both lower). Computed
in float32 (float64 stays float64), also under autocast. A batch of one, or none, has neither order nor linearity: both
losses are then 0 with zero gradient, so add them to a pointwise loss such as L1.
"""

import torch
from torch import Tensor

from polyscale.losses._common import upcast


def ranking_loss(
    scores: Tensor, targets: Tensor, margin: float, min_gap: float = 0.0, groups: Tensor | None = None
) -> Tensor:
    """Mean of max(0, margin - signed score difference) over the pairs whose targets differ: a scalar.

    `margin` >= 0, in units of the score: how far apart two predictions must be to cost nothing; about 5 % of the range
    (5 on 0 to 100). Only pairs whose targets differ by more than `min_gap` (same units) count; with min_gap >= margin
    no pair is pushed further apart than its targets are. `groups` [N]: only pairs of one group count (a data set, a
    reference image). Without any pair the loss is 0. Raises ValueError on shapes that differ and negative margins.
    """
    if margin < 0:
        raise ValueError(f"margin must be a number >= 0 in units of the score, got {margin}")
    if min_gap < 0:
        raise ValueError(f"min_gap must be a number >= 0 in units of the score, got {min_gap}")
    scores, targets = _flat(scores, targets)
    gap = targets[:, None] - targets[None, :]
    counted = gap.abs() > min_gap
    if groups is not None:
        if groups.numel() != scores.numel():
            raise ValueError(f"groups must be {scores.numel()} values like scores, got {groups.numel()}")
        counted = counted & (groups.reshape(-1, 1) == groups.reshape(1, -1))
    hinge = (margin - (scores[:, None] - scores[None, :]) * gap.sign()).clamp(min=0)
    return (hinge * counted).sum() / counted.sum().clamp(min=1)


def norm_in_norm_loss(scores: Tensor, targets: Tensor, p: float = 1.0, q: float = 2.0, eps: float = 1e-5) -> Tensor:
    """Distance in [0, 1] between the scores and the targets, each centred and divided by its q-norm: a scalar.

    sum |s - t|^p / (2 N^max(0, 1/p - 1/q))^p for the normalised s and t, with p, q >= 1 (p = 1, q = 2 as in the paper;
    p = q = 2 is (1 - PLCC) / 2). It ignores offset and scale of the scores: after training map them to the scale of
    the targets by least squares, or add an L1 loss. Scores, or targets, count as all equal when their centred norm is
    at most `eps` of their norm: equal scores are then divided by the norm of the targets.
    """
    if p < 1:
        raise ValueError(f"p must be a number >= 1, got {p}")
    if q < 1:
        raise ValueError(f"q must be a number >= 1, got {q}")
    scores, targets = _flat(scores, targets)
    centred_targets, targets_norm, targets_equal = _centred(targets, q, eps)
    centred_scores, scores_norm, scores_equal = _centred(scores, q, eps)
    divisor = torch.where(scores_equal, targets_norm, scores_norm)
    count = max(scores.numel(), 1)
    scale = 2 * count ** max(0.0, 1 / p - 1 / q)
    distance = (centred_scores / divisor - centred_targets / targets_norm).abs() / scale
    return torch.where(targets_equal, centred_scores.sum() * 0, (distance**p).sum())


def _flat(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if scores.ndim not in (1, 2) or (scores.ndim == 2 and scores.shape[1] != 1):
        raise ValueError(f"scores must be [N] or [N, 1], got {list(scores.shape)}")
    if targets.shape != scores.shape:
        # [N] against [N, 1] would broadcast to [N, N] and train on nonsense.
        raise ValueError(f"targets must be {list(scores.shape)} like scores, got {list(targets.shape)}")
    scores = upcast(scores)
    return scores.reshape(-1), targets.detach().to(scores.dtype).reshape(-1)


def _centred(values: Tensor, q: float, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The values minus their mean, the q-norm of that (1 where they are all equal), and whether they are."""
    centred = values - values.sum() / max(values.numel(), 1)
    spread = torch.linalg.vector_norm(centred.detach(), q)
    equal = spread <= eps * torch.linalg.vector_norm(values.detach(), q)
    # The norm of zeros has no slope: take it of ones instead, the caller does not use it.
    norm = torch.linalg.vector_norm(torch.where(equal, torch.ones_like(centred), centred), q)
    return centred, torch.where(equal, torch.ones_like(norm), norm), equal
