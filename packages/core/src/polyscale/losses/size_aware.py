"""Size-aware weights: small boxes count for more in a detection loss.

From the eTram-rvt notes and the code they describe: w = clamp(W * exp(-area / 1024 px^2), 1, W)
on the term 5 * (1 - IoU^2). Kept exactly as variant "original". What differs in variant "normalised", the default: the
weights are divided by their mean, so that they move emphasis between sizes without raising the box term against
objectness and class, which "original" does, and by more the smaller the objects of a batch are.

Areas and their limits are in px^2 of one frame. The notes measure in the halved 640x360 frame of a 1280x720 sensor:
there W = 2 lifts only boxes under 710 px^2 (26.6 px a side; 53 px on the sensor), because the curve is below 1 after.
For the same weights on sensor boxes give 4 times the limits. N boxes.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from polyscale.losses._common import Reduction, reduce, upcast
from polyscale.losses.boxes import box_area, box_iou_loss

Variant = Literal["normalised", "original"]
Curve = Literal["exponential", "step", "linear"]


def size_aware_weights(
    areas: Tensor,
    max_weight: float = 2.0,
    variant: Variant = "normalised",
    curve: Curve = "exponential",
    small_area: float = 32.0**2,
    medium_area: float = 96.0**2,
    mean_weight: float | Tensor | None = None,
) -> Tensor:
    """Loss weights from target areas in px^2: [N] -> [N], without gradient.

    Before normalising they are in [1, `max_weight`]: "exponential" max_weight * exp(-area / small_area); "step"
    max_weight up to `small_area`, half way up to `medium_area`, then 1; "linear" max_weight * (1 - area / medium_area)
    + 1. "normalised" divides by their mean over `areas`, or by `mean_weight`: the mean over all processes, or over
    the training set where batches are too small to say. Raises ValueError on unknown names and limits out of order.
    """
    _check(areas, max_weight, variant, curve, (small_area, medium_area))
    areas = upcast(areas.detach())
    if curve == "exponential":
        weights = max_weight * torch.exp(-areas / small_area)
    elif curve == "linear":
        weights = max_weight * (1 - areas / medium_area) + 1
    else:
        at_most_medium = torch.where(areas <= medium_area, (max_weight + 1) / 2, 1.0)
        weights = torch.where(areas <= small_area, max_weight, at_most_medium).to(areas.dtype)
    weights = weights.clamp(1, max_weight)
    if variant == "original" or not areas.numel():
        return weights
    return weights / (weights.mean() if mean_weight is None else mean_weight)


def size_aware_iou_loss(
    boxes: Tensor,
    targets: Tensor,
    max_weight: float = 2.0,
    variant: Variant = "normalised",
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    reduction: Reduction = "none",
) -> Tensor:
    """1 - IoU^2 of each (x1, y1, x2, y2) box in px [N, 4] with its target [N, 4], times its size-aware weight -> [N].

    The exponential curve with the limits above; compose `size_aware_weights` for others. `loss` takes the place of
    1 - IoU^2: any function of (boxes, targets) that gives [N], such as `giou_loss`.
    """
    values = box_iou_loss(boxes, targets, power=2) if loss is None else loss(boxes, targets)
    weights = size_aware_weights(box_area(targets), max_weight, variant)
    return reduce(values * weights, reduction)


def _check(areas: Tensor, max_weight: float, variant: str, curve: str, limits: tuple[float, float]) -> None:
    if areas.ndim != 1:
        raise ValueError(f"areas must be [N] in px^2, got {list(areas.shape)}")
    if max_weight < 1:
        raise ValueError(f"max_weight must be a number >= 1, got {max_weight}")
    if variant not in get_args(Variant):
        raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}")
    if curve not in get_args(Curve):
        raise ValueError(f"curve must be one of {', '.join(get_args(Curve))}, got {curve!r}")
    small_area, medium_area = limits
    if not 0 < small_area <= medium_area:
        raise ValueError(
            f"small_area and medium_area must be 0 < small_area <= medium_area in px^2, got {small_area}, {medium_area}"
        )
