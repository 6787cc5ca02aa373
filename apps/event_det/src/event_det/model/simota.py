"""SimOTA (Ge et al. 2021, arXiv 2107.08430): which cells are responsible for which box, for all frames at once.

Equal to YOLOX's and RVT's assignment frame by frame, which waits for the GPU several times for each of them; here
frames are padded to the one with most boxes and nothing is copied to the processor.

    N frames, G boxes of the fullest frame, A cells, K classes
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from event_det.model.head import Cells

RADIUS = 1.5  # cells
CANDIDATES = 10
OVERLAP_COST = 3.0
FAR_COST = 1e6


class Targets(NamedTuple):
    """The boxes of N frames, padded to the fullest.

    Attributes:
        boxes: float32 [N, G, 4], (x1, y1, x2, y2) in pixels.
        labels: int64 [N, G].
        real: bool [N, G], False where padded.
    """

    boxes: Tensor
    labels: Tensor
    real: Tensor


class Assignment(NamedTuple):
    """What each cell is responsible for.

    Attributes:
        positive: bool [N, A], whether it is for a box.
        boxes: float32 [N, A, 4], that box; meaningless elsewhere.
        labels: int64 [N, A], its class; meaningless elsewhere.
        overlaps: float32 [N, A], IoU of the cell's box with it; 0 elsewhere.
    """

    positive: Tensor
    boxes: Tensor
    labels: Tensor
    overlaps: Tensor


def pad_targets(frames: Sequence[tuple[Tensor, Tensor]]) -> Targets:
    """Pad (boxes [n, 4], labels [n]) of N frames to Targets with G of at least 1."""
    nothing = frames[0][0].new_zeros((1, 4)), frames[0][1].new_zeros(1)
    padded = [pad_sequence([nothing[i], *(frame[i] for frame in frames)], batch_first=True)[1:] for i in (0, 1)]
    counts = torch.tensor([len(boxes) for boxes, _ in frames], device=nothing[0].device)
    real = torch.arange(padded[0].shape[1], device=counts.device) < counts[:, None]
    return Targets(padded[0], padded[1], real)


@torch.no_grad()
def assign(cells: Cells, targets: Targets) -> Assignment:
    """Assign cells to boxes: the dynamic-k cheapest near each box's centre, each cell to its cheapest box."""
    near_NGA = _near(cells, targets)
    candidate_NA = near_NGA.any(dim=1)
    overlap_NGA = pairwise_iou(targets.boxes, cells.boxes) * (candidate_NA[:, None] & targets.real[..., None])
    cost = _class_cost(cells, targets.labels) - OVERLAP_COST * (overlap_NGA + 1e-8).log() + FAR_COST * ~near_NGA
    impossible = ~candidate_NA[:, None] | ~targets.real[..., None]
    cost = cost.masked_fill(impossible, torch.inf)
    k = min(CANDIDATES, cost.shape[-1])
    wanted_NG = overlap_NGA.topk(k, dim=-1).values.sum(dim=-1).int().clamp(min=1)
    cheapest = cost.topk(k, dim=-1, largest=False)
    taken = (torch.arange(k, device=cost.device) < wanted_NG[..., None]) & cheapest.values.isfinite()
    matched_NGA = torch.zeros_like(near_NGA).scatter_(2, cheapest.indices, taken)
    times_NA = matched_NGA.sum(dim=1)
    # a cell that several boxes took goes to the box it is cheapest for, whether that took it or not
    best_NA = torch.where(times_NA > 1, cost.argmin(dim=1), matched_NGA.int().argmax(dim=1))
    positive = times_NA > 0
    boxes = targets.boxes.gather(1, best_NA[..., None].expand(-1, -1, 4))
    overlaps = overlap_NGA.gather(1, best_NA[:, None])[:, 0] * positive
    return Assignment(positive, boxes, targets.labels.gather(1, best_NA), overlaps)


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of each of boxes [N, G, 4] with each of others [N, A, 4]: [N, G, A]; 0 where both are empty."""
    x1, y1, x2, y2 = boxes.unsqueeze(2).unbind(-1)
    X1, Y1, X2, Y2 = others.unsqueeze(1).unbind(-1)
    width = (torch.minimum(x2, X2) - torch.maximum(x1, X1)).clamp(min=0)
    shared = width * (torch.minimum(y2, Y2) - torch.maximum(y1, Y1)).clamp(min=0)
    union = (x2 - x1) * (y2 - y1) + (X2 - X1) * (Y2 - Y1) - shared
    return shared / union.clamp(min=1e-9)


def _near(cells: Cells, targets: Targets) -> Tensor:
    """Whether the centre of a cell is within RADIUS of its own sides of a box's centre, bool [N, G, A]."""
    middle = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2
    apart = (middle[:, :, None] - cells.centres).abs().amax(dim=-1)
    return (apart < RADIUS * cells.strides) & targets.real[..., None]


def _class_cost(cells: Cells, labels: Tensor) -> Tensor:
    """Cross-entropy of sqrt(objectness * class) with each box's class, summed over classes: [N, G, A]."""
    p = (cells.classes.sigmoid() * cells.objectness.sigmoid()[..., None]).sqrt()
    absent = -(1 - p).log().clamp(min=-100)
    change = -p.log().clamp(min=-100) - absent  # where the class is the box's
    chosen = change.gather(2, labels[:, None].expand(-1, p.shape[1], -1))
    return absent.sum(dim=-1)[:, None] + chosen.mT
