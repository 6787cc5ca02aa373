"""SimOTA (Ge et al. 2021, arXiv 2107.08430): which cells are responsible for which box, for all frames at once.

Equal to YOLOX's and RVT's assignment frame by frame, which waits for the GPU several times for each of them; here
frames are padded to the one with most boxes and nothing is copied to the processor.

    N frames, G boxes of the fullest frame, A cells, M candidates of the frame with most of them, K classes
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
    """What the candidates, M cells of each frame, are responsible for; every other cell is for no box.

    Attributes:
        cells: int64 [N, M], their numbers; where a frame has fewer candidates, others that are not positive fill it up.
        positive: bool [N, M], whether the cell is for a box.
        boxes: float32 [N, M, 4], that box; meaningless elsewhere.
        labels: int64 [N, M], its class; meaningless elsewhere.
        overlaps: float32 [N, M], IoU of the cell's box with it; 0 elsewhere.
    """

    cells: Tensor
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
    index_NM = candidate_NA.to(torch.uint8).topk(_most(candidate_NA), dim=1, sorted=False).indices
    near_NGM = near_NGA.gather(2, index_NM[:, None].expand(-1, near_NGA.shape[1], -1))
    possible_NGM = candidate_NA.gather(1, index_NM)[:, None] & targets.real[..., None]
    overlap_NGM = pairwise_iou(targets.boxes, take_cells(cells.boxes, index_NM)) * possible_NGM
    cost = _class_cost(take_cells(cells.classes, index_NM), cells.objectness.gather(1, index_NM), targets.labels)
    cost = cost - OVERLAP_COST * (overlap_NGM + 1e-8).log() + FAR_COST * ~near_NGM
    cost = cost.masked_fill(~possible_NGM, torch.inf)
    k = min(CANDIDATES, cost.shape[-1])
    wanted_NG = overlap_NGM.topk(k, dim=-1).values.sum(dim=-1).int().clamp(min=1)
    cheapest = cost.topk(k, dim=-1, largest=False)
    taken = (torch.arange(k, device=cost.device) < wanted_NG[..., None]) & cheapest.values.isfinite()
    matched_NGM = torch.zeros_like(near_NGM).scatter_(2, cheapest.indices, taken)
    times_NM = matched_NGM.sum(dim=1)
    # a cell that several boxes took goes to the box it is cheapest for, whether that took it or not
    best_NM = torch.where(times_NM > 1, cost.min(dim=1).indices, matched_NGM.to(torch.uint8).max(dim=1).indices)
    positive = times_NM > 0
    overlaps = overlap_NGM.gather(1, best_NM[:, None])[:, 0] * positive
    boxes = take_cells(targets.boxes, best_NM)
    return Assignment(index_NM, positive, boxes, targets.labels.gather(1, best_NM), overlaps)


def take_cells(values: Tensor, index: Tensor) -> Tensor:
    """Take the rows index [N, M] of values [N, A, K]: [N, M, K]."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def _most(candidate_NA: Tensor) -> int:
    """The candidates of the frame with most of them; on a GPU, which would have to be waited for, all cells."""
    if candidate_NA.device.type != "cpu":
        return candidate_NA.shape[1]
    return max(1, int(candidate_NA.sum(dim=1).max()))


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
    middle = middle.masked_fill(~targets.real[..., None], torch.inf)
    reach = RADIUS * cells.strides
    beside, above = ((middle[..., i, None] - cells.centres[:, i]).abs_() < reach for i in (0, 1))
    return beside & above


def _class_cost(classes_NMK: Tensor, objectness_NM: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of sqrt(objectness * class) with each box's class, summed over classes: [N, G, M]."""
    p = (classes_NMK.sigmoid() * objectness_NM.sigmoid()[..., None]).sqrt()
    absent = -(1 - p).log().clamp(min=-100)
    change = -p.log().clamp(min=-100) - absent  # where the class is the box's
    chosen = change.gather(2, labels[:, None].expand(-1, p.shape[1], -1))
    return absent.sum(dim=-1)[:, None] + chosen.mT
