"""Losses of box detection: focal loss and the overlap losses of aligned boxes, safe where the usual ones are not.

Focal loss after Lin et al. 2017 (arXiv 1708.02002), GIoU after Rezatofighi et al. 2019 (1902.09630), DIoU and CIoU
after Zheng et al. 2020 (1911.08287), the squared IoU of YOLOX (2107.08430), NWD after Wang et al. 2021 (2110.13389).
Equal to torchvision's on proper boxes. What differs: CIoU stays finite, value and gradient, at zero width or height;
an inverted box (x2 < x1) counts as empty instead of scoring like a perfect one; no boolean indexing, so nothing waits
for the GPU and torch.compile keeps one graph; focal loss is divided by the number of positives.

Boxes are (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, pixels or fractions. Everything computes in float32 (float64
stays float64), also under autocast. N boxes, K classes.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

Reduction = Literal["none", "mean", "sum"]


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
        raise ValueError(f"targets: shape {tuple(targets.shape)} given, {tuple(logits.shape)} as logits needed")
    if not (0 <= alpha <= 1 or alpha == -1):
        raise ValueError(f"alpha: {alpha} given, a number in [0, 1] or -1 for no balance accepted")
    if gamma < 0:
        raise ValueError(f"gamma: {gamma} given, a number >= 0 accepted")
    logits = upcast(logits)
    targets = targets.to(logits.dtype)
    probability = logits.sigmoid()
    missed = probability + targets - 2 * probability * targets
    # 0 ** gamma has an infinite slope for gamma < 1, and infinity times a zero cross-entropy is NaN.
    missed = missed.clamp(min=torch.finfo(logits.dtype).tiny)
    loss = missed**gamma * nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if alpha >= 0:
        loss = loss * (alpha * targets + (1 - alpha) * (1 - targets))
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
        raise ValueError(f"power: {power} given, a number >= 1 accepted")
    iou, _ = _iou_and_union(*_checked(boxes, targets), eps)
    return reduced(1 - iou**power, reduction)


def giou_loss(boxes: Tensor, targets: Tensor, reduction: Reduction = "none", eps: float = 1e-7) -> Tensor:
    """1 - GIoU of each box [..., 4] with its target [..., 4] -> [...], in [0, 2]; boxes apart are pulled together.

    The mean of no boxes is 0 with a graph. Raises ValueError on bad shapes or reduction.
    """
    return reduced(1 - _giou(*_checked(boxes, targets), eps), reduction)


def diou_loss(boxes: Tensor, targets: Tensor, reduction: Reduction = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU + squared centre distance over squared diagonal of the hull: [..., 4] twice -> [...], in [0, 2]."""
    boxes, targets = _checked(boxes, targets)
    iou, _ = _iou_and_union(boxes, targets, eps)
    return reduced(1 - iou + _centre_penalty(boxes, targets, eps), reduction)


def ciou_loss(boxes: Tensor, targets: Tensor, reduction: Reduction = "none", eps: float = 1e-7) -> Tensor:
    """DIoU loss plus the aspect-ratio penalty of Complete IoU: [..., 4] twice -> [...].

    Finite for boxes without width or height, where torchvision's gives NaN; a box with neither has no aspect ratio
    and gets the DIoU loss.
    """
    boxes, targets = _checked(boxes, targets)
    iou, _ = _iou_and_union(boxes, targets, eps)
    slant, defined = _slant(boxes, eps)
    target_slant, target_defined = _slant(targets, eps)
    v = (4 / math.pi**2) * (target_slant - slant) ** 2 * (defined & target_defined)
    with torch.no_grad():
        alpha = v / (1 - iou + v + eps)
    return reduced(1 - iou + _centre_penalty(boxes, targets, eps) + alpha * v, reduction)


def nwd_loss(boxes: Tensor, targets: Tensor, size: float = 12.8, reduction: Reduction = "none") -> Tensor:
    """1 - exp(-W / size), W the Wasserstein distance of the boxes as Gaussians: [..., 4] twice -> [...], in [0, 1).

    Made for tiny objects: it falls smoothly with distance where IoU drops to 0 after a few pixels. `size` is the usual
    object size in the units of the boxes (12.8 px in the paper, that of AI-TOD).
    """
    if size <= 0:
        raise ValueError(f"size: {size} given, a length > 0 in the units of the boxes accepted")
    boxes, targets = _checked(boxes, targets)
    (centre, extent), (target_centre, target_extent) = _centre_extent(boxes), _centre_extent(targets)
    squared = ((centre - target_centre) ** 2).sum(-1) + ((extent - target_extent) ** 2).sum(-1) / 4
    # The slope of a root is infinite at 0, where a perfect box is: shift it by a millionth of the size.
    tiny = (1e-6 * size) ** 2
    distance = (squared + tiny).sqrt() - math.sqrt(tiny)
    return reduced(1 - torch.exp(-distance / size), reduction)


def pairwise_giou(boxes: Tensor, targets: Tensor, eps: float = 1e-7) -> Tensor:
    """GIoU of every box [..., N, 4] with every target [..., T, 4] -> [..., N, T], in [-1, 1]; 0 for two empty boxes."""
    for name, given in (("boxes", boxes), ("targets", targets)):
        if given.ndim < 2 or given.shape[-1] != 4:
            raise ValueError(f"{name}: shape {tuple(given.shape)} given, [..., number, 4] needed")
    return _giou(upcast(boxes).unsqueeze(-2), upcast(targets).unsqueeze(-3), eps)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(centre x, centre y, width, height) -> (x1, y1, x2, y2), [..., 4]."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """Areas of (x1, y1, x2, y2) boxes, [..., 4] -> [...]; inverted boxes have none."""
    boxes = upcast(boxes)  # 256 px x 256 px is already infinite in float16
    return _product(boxes[..., 2:] - boxes[..., :2])


def upcast(x: Tensor) -> Tensor:
    """float32, or float64 where that is what came: losses of half precision tensors are computed in float32."""
    return x if x.dtype == torch.float64 else x.float()


def at_least_one(count: float | Tensor) -> float | Tensor:
    """A count to divide by, raised to 1, so that no positives give a loss of 0 and not NaN."""
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """`loss` as it is, its sum, or its mean, which for no elements is 0 with a graph and not NaN."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        return loss.sum() / max(loss.numel(), 1)
    raise ValueError(f"reduction: {reduction!r} given, 'none', 'mean' or 'sum' accepted")


def _checked(boxes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes: shape {tuple(boxes.shape)} given, [..., 4] as (x1, y1, x2, y2) needed")
    if targets.shape != boxes.shape:
        raise ValueError(f"targets: shape {tuple(targets.shape)} given, {tuple(boxes.shape)} as boxes needed")
    return upcast(boxes), upcast(targets)


def _centre_extent(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def _product(extent: Tensor) -> Tensor:
    """Width times height, 0 where one is negative."""
    # Not clamp: it has no slope at 0, where a flat box must find out that growing helps. Not prod: its backward pass
    # counts the zeros and so waits for the GPU.
    width, height = torch.where(extent >= 0, extent, 0).unbind(dim=-1)
    return width * height


def _hull(boxes: Tensor, targets: Tensor) -> Tensor:
    """Width and height of the smallest box around both, [..., 2]."""
    return torch.maximum(boxes[..., 2:], targets[..., 2:]) - torch.minimum(boxes[..., :2], targets[..., :2])


def _ratio(part: Tensor, whole: Tensor, eps: float) -> Tensor:
    """part / whole, and 0 without gradient where the whole is nothing."""
    return torch.where(whole > eps, part / whole.clamp(min=eps), torch.zeros_like(whole))


def _iou_and_union(boxes: Tensor, targets: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    overlap = torch.minimum(boxes[..., 2:], targets[..., 2:]) - torch.maximum(boxes[..., :2], targets[..., :2])
    shared = _product(overlap)
    union = box_area(boxes) + box_area(targets) - shared
    return _ratio(shared, union, eps), union


def _giou(boxes: Tensor, targets: Tensor, eps: float) -> Tensor:
    iou, union = _iou_and_union(boxes, targets, eps)
    hull = _product(_hull(boxes, targets))
    return iou - _ratio(hull - union, hull, eps)


def _centre_penalty(boxes: Tensor, targets: Tensor, eps: float) -> Tensor:
    apart = (_centre_extent(boxes)[0] - _centre_extent(targets)[0]).square().sum(dim=-1)
    return _ratio(apart, _hull(boxes, targets).square().sum(dim=-1), eps)


def _slant(boxes: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """atan(width / height) in [0, pi / 2], and where it is defined: not for a point."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(dim=-1)
    defined = (width > eps) | (height > eps)
    # atan2 has NaN as its gradient at (0, 0): give it a square there.
    one = torch.ones_like(width)
    return torch.atan2(torch.where(defined, width, one), torch.where(defined, height, one)), defined
