"""Losses of box detection: focal loss and the overlap losses of aligned boxes, safe where the usual ones are not.

Focal loss after Lin et al. 2017 (arXiv 1708.02002), GIoU after Rezatofighi et al. 2019 (1902.09630), DIoU and CIoU
after Zheng et al. 2020 (1911.08287), the squared IoU of YOLOX (2107.08430), NWD after Wang et al. 2021 (2110.13389).
Equal to torchvision's on proper boxes. What differs: CIoU stays finite, value and gradient, at zero width or height;
an inverted box (x2 < x1) counts as empty instead of scoring like a perfect one; no boolean indexing, so nothing waits
for the GPU and torch.compile keeps one graph; focal loss is divided by the number of positives.

Boxes are (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, pixels or fractions. Everything computes in float32 (float64
stays float64), also under autocast.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polyscale.losses._common import Reduction, at_least_one, reduce, upcast

Corners = Sequence[Tensor]  # x1, y1, x2, y2: whole coordinates compute faster than slices of [..., 4]


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    num_positives: float | Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Sigmoid focal loss, summed and divided by the number of positives: a scalar.

    `logits`, `targets`: any equal shape, targets in [0, 1]. `alpha` in [0, 1] weighs the positives against the
    negatives, -1 leaves them alone; `gamma` >= 0. `num_positives` defaults to the entries with target > 0, at least
    1; give the mean over processes when training on several. `weights` broadcast to the shape of `logits`.
    Raises ValueError on shapes that differ and on values out of range.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"targets must be {list(logits.shape)} like logits, got {list(targets.shape)}")
    if not (0 <= alpha <= 1 or alpha == -1):
        raise ValueError(f"alpha must be a number in [0, 1] or -1 for no balance, got {alpha}")
    if gamma < 0:
        raise ValueError(f"gamma must be a number >= 0, got {gamma}")
    logits = upcast(logits)
    targets = targets.to(logits.dtype)
    probability = logits.sigmoid()
    missed = torch.addcmul(probability, targets, 1 - 2 * probability)  # 1 - p where there is an object, p elsewhere
    if 0 < gamma < 1:  # the slope of 0 ** gamma is infinite there, and infinity times a zero cross-entropy is NaN
        missed = missed.clamp(min=torch.finfo(logits.dtype).tiny)
    loss = missed**gamma * nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if alpha >= 0:
        loss = loss * (1 - alpha + (2 * alpha - 1) * targets)
    if weights is not None:
        loss = loss * weights
    return loss.sum() / at_least_one((targets > 0).sum() if num_positives is None else num_positives)


def box_iou_loss(
    boxes: Tensor, targets: Tensor, power: float = 1.0, reduction: Reduction = "none", eps: float = 1e-7
) -> Tensor:
    """1 - IoU ** power of each box [..., 4] with its target [..., 4] -> [...], in [0, 1].

    `power=2` is the loss of YOLOX (and RVT): well-placed boxes pull harder. Boxes apart get no gradient. `eps` is
    the area at or below which an overlap counts as undefined: IoU 0, no gradient. Raises ValueError on bad shapes.
    """
    if power < 1:  # below 1 the slope at IoU 0 is infinite
        raise ValueError(f"power must be a number >= 1, got {power}")
    iou, _ = _iou_and_union(*_checked(boxes, targets), eps)
    return reduce(1 - (iou if power == 1 else iou**power), reduction)


def giou_loss(boxes: Tensor, targets: Tensor, reduction: Reduction = "none", eps: float = 1e-7) -> Tensor:
    """1 - GIoU of each box [..., 4] with its target [..., 4] -> [...], in [0, 2]; boxes apart are pulled together.

    The mean of no boxes is 0 with a graph. Raises ValueError on bad shapes or reduction.
    """
    return reduce(1 - _giou(*_checked(boxes, targets), eps), reduction)


def diou_loss(boxes: Tensor, targets: Tensor, reduction: Reduction = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU + squared centre distance over squared diagonal of the hull: [..., 4] twice -> [...], in [0, 2]."""
    corners, target_corners = _checked(boxes, targets)
    iou, _ = _iou_and_union(corners, target_corners, eps)
    return reduce(1 - iou + _centre_penalty(corners, target_corners, eps), reduction)


def ciou_loss(boxes: Tensor, targets: Tensor, reduction: Reduction = "none", eps: float = 1e-7) -> Tensor:
    """DIoU loss plus the aspect-ratio penalty of Complete IoU: [..., 4] twice -> [...].

    Finite for boxes without width or height, where torchvision's gives NaN; a box with neither has no aspect ratio
    and gets the DIoU loss.
    """
    corners, target_corners = _checked(boxes, targets)
    iou, _ = _iou_and_union(corners, target_corners, eps)
    slant, defined = _slant(corners, eps)
    target_slant, target_defined = _slant(target_corners, eps)
    v = (4 / math.pi**2) * (target_slant - slant) ** 2 * (defined & target_defined)
    with torch.no_grad():
        alpha = v / (1 - iou + v + eps)
    return reduce(1 - iou + _centre_penalty(corners, target_corners, eps) + alpha * v, reduction)


def nwd_loss(boxes: Tensor, targets: Tensor, size: float = 12.8, reduction: Reduction = "none") -> Tensor:
    """1 - exp(-W / size), W the Wasserstein distance of the boxes as Gaussians: [..., 4] twice -> [...], in [0, 1).

    Made for tiny objects: it falls smoothly with distance where IoU drops to 0 after a few pixels. `size` is the usual
    object size in the units of the boxes (12.8 px in the paper, that of AI-TOD).
    """
    if size <= 0:
        raise ValueError(f"size must be a length > 0 in the units of the boxes, got {size}")
    (x1, y1, x2, y2), (X1, Y1, X2, Y2) = _checked(boxes, targets)
    centre_x, centre_y = x1 + x2 - X1 - X2, y1 + y2 - Y1 - Y2  # twice the distance of the centres
    width, height = (x2 - x1) - (X2 - X1), (y2 - y1) - (Y2 - Y1)
    squared = (centre_x**2 + centre_y**2 + width**2 + height**2) / 4
    # The slope of a root is infinite at 0, where a perfect box is: shift it by a millionth of the size.
    tiny = (1e-6 * size) ** 2
    distance = (squared + tiny).sqrt() - math.sqrt(tiny)
    return reduce(1 - torch.exp(-distance / size), reduction)


def pairwise_giou(boxes: Tensor, targets: Tensor, eps: float = 1e-7) -> Tensor:
    """GIoU of every box [..., N, 4] with every target [..., T, 4] -> [..., N, T], in [-1, 1]; 0 for two empty boxes."""
    for name, given in (("boxes", boxes), ("targets", targets)):
        if given.ndim < 2 or given.shape[-1] != 4:
            raise ValueError(f"{name} must be [..., number, 4], got {list(given.shape)}")
    return _giou(upcast(boxes).unsqueeze(-2).unbind(-1), upcast(targets).unsqueeze(-3).unbind(-1), eps)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(centre x, centre y, width, height) -> (x1, y1, x2, y2), [..., 4]."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """Areas of (x1, y1, x2, y2) boxes, [..., 4] -> [...]; inverted boxes have none."""
    return _area(upcast(boxes).unbind(-1))  # 256 px x 256 px is already infinite in float16


def _checked(boxes: Tensor, targets: Tensor) -> tuple[Corners, Corners]:
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must be [..., 4] as (x1, y1, x2, y2), got {list(boxes.shape)}")
    if targets.shape != boxes.shape:
        raise ValueError(f"targets must be {list(boxes.shape)} like boxes, got {list(targets.shape)}")
    return upcast(boxes).unbind(-1), upcast(targets).unbind(-1)


def _positive(extent: Tensor) -> Tensor:
    # Not clamp(min=0): it has no slope at 0, where a flat box must find out that growing helps.
    return nn.functional.threshold(extent, -1e-30, 0.0)


def _ratio(part: Tensor, whole: Tensor, eps: float) -> Tensor:
    """Return part / whole, and 0 without gradient where the whole is nothing."""
    return part / nn.functional.threshold(whole, eps, math.inf)


def _area(corners: Corners) -> Tensor:
    x1, y1, x2, y2 = corners
    return _positive(x2 - x1) * _positive(y2 - y1)


def _hull(corners: Corners, targets: Corners) -> tuple[Tensor, Tensor]:
    """Width and height of the smallest box around both."""
    (x1, y1, x2, y2), (X1, Y1, X2, Y2) = corners, targets
    width = torch.maximum(x2, X2) - torch.minimum(x1, X1)
    return _positive(width), _positive(torch.maximum(y2, Y2) - torch.minimum(y1, Y1))


def _iou_and_union(corners: Corners, targets: Corners, eps: float) -> tuple[Tensor, Tensor]:
    (x1, y1, x2, y2), (X1, Y1, X2, Y2) = corners, targets
    width = _positive(torch.minimum(x2, X2) - torch.maximum(x1, X1))
    shared = width * _positive(torch.minimum(y2, Y2) - torch.maximum(y1, Y1))
    union = _area(corners) + _area(targets) - shared
    return _ratio(shared, union, eps), union


def _giou(corners: Corners, targets: Corners, eps: float) -> Tensor:
    iou, union = _iou_and_union(corners, targets, eps)
    width, height = _hull(corners, targets)
    hull = width * height
    return iou - _ratio(hull - union, hull, eps)


def _centre_penalty(corners: Corners, targets: Corners, eps: float) -> Tensor:
    (x1, y1, x2, y2), (X1, Y1, X2, Y2) = corners, targets
    width, height = _hull(corners, targets)
    apart = (x1 + x2 - X1 - X2) ** 2 + (y1 + y2 - Y1 - Y2) ** 2
    return _ratio(apart / 4, width**2 + height**2, eps)


def _slant(corners: Corners, eps: float) -> tuple[Tensor, Tensor]:
    """atan(width / height) in [0, pi / 2], and where it is defined: not for a point."""
    x1, y1, x2, y2 = corners
    width, height = _positive(x2 - x1), _positive(y2 - y1)
    defined = torch.maximum(width, height) > eps
    # atan2 has NaN as its gradient at (0, 0): give it another height there.
    return torch.atan2(width, torch.where(defined, height, 1.0)), defined
