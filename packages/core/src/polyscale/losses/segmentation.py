"""Losses of binary segmentation on logits: structure loss, BCE, per-image Dice and IoU, boundary and ambiguity loss.

All take logits and targets [B, 1, H, W] (targets in [0, 1]), compute in float32 also under autocast (in float64 where
the logits are), treat every image on its own before averaging (a library that sums over the batch lets large objects
outvote small ones), and raise ValueError for shapes that do not match. `reduction` is "mean" or
"sum" (a scalar), or "none" (one value per image, [B]).
"""

import math

import torch.nn.functional as F
from torch import Tensor

from polyscale.losses._common import Reduction, reduce, upcast


def bce_loss(logits: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Binary cross-entropy, averaged over the pixels of each image."""
    logits, target = _checked(logits, target)
    return reduce(F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2, 3)), reduction)


def dice_loss(logits: Tensor, target: Tensor, reduction: Reduction = "mean", smooth: float = 1.0) -> Tensor:
    """1 - Dice of each image, in [0, 1]; `smooth` in pixels.

    An image without foreground costs nothing where nothing is predicted and nearly 1 where much is; libraries that
    drop such images return 0 however wrong the prediction is.
    """
    logits, target = _checked(logits, target)
    p = logits.sigmoid()
    both, total = (p * target).sum((1, 2, 3)), (p + target).sum((1, 2, 3))
    return reduce(1 - (2 * both + smooth) / (total + smooth), reduction)


def iou_loss(logits: Tensor, target: Tensor, reduction: Reduction = "mean", smooth: float = 1.0) -> Tensor:
    """1 - soft IoU of each image, in [0, 1]; `smooth` in pixels, empty images as in `dice_loss`."""
    logits, target = _checked(logits, target)
    p = logits.sigmoid()
    both, total = (p * target).sum((1, 2, 3)), (p + target).sum((1, 2, 3))
    return reduce(1 - (both + smooth) / (total - both + smooth), reduction)


def structure_loss(logits: Tensor, target: Tensor, reduction: Reduction = "mean", window: int = 31) -> Tensor:
    """F3Net's loss (Wei et al., AAAI 2020): BCE + IoU, both weighted by how much a pixel differs from its surroundings.

    The weight is 1 + 5 |mean of target in a window x window box - target|, so borders and thin parts count up to six
    times. `window` (odd) is in pixels of `target`.
    """
    logits, target = _checked(logits, target)
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be an odd number of pixels, got {window}")
    weight = 1 + 5 * (_box_mean(target, window) - target).abs()
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weighted_bce = (weight * bce).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    p = logits.sigmoid()
    both, total = (p * target * weight).sum((1, 2, 3)), ((p + target) * weight).sum((1, 2, 3))
    return reduce(weighted_bce + 1 - (both + 1) / (total - both + 1), reduction)


def boundary_loss(
    logits: Tensor, target: Tensor, reduction: Reduction = "mean", tolerance: int = 2, smooth: float = 1.0
) -> Tensor:
    """1 - F1 of the contours of each image, in [0, 1] (Bokhovkin and Burnaev, ISNN 2019).

    A contour is what an erosion by one pixel takes away, soft where the map is. A predicted contour is right within
    `tolerance` pixels of a true one, a true one is found within `tolerance` pixels of a predicted one. The image's own
    border is no contour. `smooth` is in pixels; images without an object are as in `dice_loss`.
    """
    logits, target = _checked(logits, target)
    if tolerance < 0:
        raise ValueError(f"tolerance must be 0 pixels or more, got {tolerance}")
    found, true = _contour(logits.sigmoid()), _contour(target)
    near_found, near_true = (F.max_pool2d(x, 2 * tolerance + 1, 1, tolerance) for x in (found, true))
    precision = ((found * near_true).sum((1, 2, 3)) + smooth) / (found.sum((1, 2, 3)) + smooth)
    recall = ((true * near_found).sum((1, 2, 3)) + smooth) / (true.sum((1, 2, 3)) + smooth)
    return reduce(1 - 2 * precision * recall / (precision + recall), reduction)


def uncertainty_aware_loss(logits: Tensor, reduction: Reduction = "mean") -> Tensor:
    """ZoomNeXt's UAL (Pang et al., TPAMI 2024): mean of 1 - |2p - 1|^2, the cost of staying near one half.

    It knows no target: multiply it by `ual_weight`, which lets it grow once the map has formed.
    """
    if logits.ndim != 4 or logits.shape[1] != 1:
        raise ValueError(f"logits must be [B, 1, H, W], got {list(logits.shape)}")
    p = upcast(logits).sigmoid()
    return reduce((1 - (2 * p - 1).square()).mean((1, 2, 3)), reduction)


def ual_weight(done: float) -> float:
    """Weight of the ambiguity loss after the share `done` in [0, 1] of training: (1 - cos(pi done)) / 2."""
    return (1 - math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2


def _contour(x: Tensor) -> Tensor:
    """What an erosion of a map in [0, 1] by a 3 x 3 box takes away."""
    return F.max_pool2d(1 - x, 3, 1, 1) - (1 - x)


def _box_mean(x: Tensor, window: int) -> Tensor:
    """Mean over a window x window box, outside counted as 0, from running sums: avg_pool2d costs window^2 a pixel.

    One direction after the other: both sums at once (four corners) took as long, and as they grow with the area they
    left float32 a tenth of the precision for soft targets at 352 pixels.
    """
    for dim in (2, 3):
        before, length = window // 2 + 1, x.shape[dim]
        pad = [0, 0, before, window // 2] if dim == 2 else [before, window // 2, 0, 0]
        sums = F.pad(x, pad).cumsum(dim)
        x = (sums.narrow(dim, window, length) - sums.narrow(dim, 0, length)) / window
    return x


def _checked(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if logits.ndim != 4 or logits.shape[1] != 1 or logits.shape != target.shape:
        given = f"{list(logits.shape)} and {list(target.shape)}"
        raise ValueError(f"logits and target must be the same [B, 1, H, W], got {given}")
    logits = upcast(logits)
    return logits, target.to(logits.dtype)
