"""From cells to boxes: the best class of each cell, a threshold, and suppression of those that overlap."""

from typing import NamedTuple

import torch
from torch import Tensor

from event_det.model.head import Cells

IOU = 0.45  # RVT's and YOLOX's
MAX_CANDIDATES = 1000  # cells of a frame that suppression looks at, the best by score
MAX_BOXES = 300


class Detections(NamedTuple):
    """The boxes of one frame, best score first.

    Attributes:
        boxes: float32 [n, 4], (x1, y1, x2, y2) in pixels of the frame.
        scores: float32 [n] in [0, 1], objectness times class probability.
        labels: int64 [n].
        class_scores: float32 [n], the class probability alone, by which RVT's evaluation ranks.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    class_scores: Tensor


def detect(cells: Cells, size: tuple[int, int], threshold: float = 0.001, iou: float = IOU) -> list[Detections]:
    """Return the Detections of each of N frames, on the device of the cells.

    Args:
        cells: of the head.
        size: (H, W) of the frame without padding; boxes are cut to it, and those beyond it left out.
        threshold: least score.
        iou: of two boxes of one class, above it the worse one goes.
    """
    from torchvision.ops import batched_nms

    class_scores, labels = cells.classes.sigmoid().max(dim=-1)
    scores = cells.objectness.sigmoid() * class_scores
    limits = torch.tensor([size[1], size[0]], device=scores.device).repeat(2)
    boxes = torch.minimum(cells.boxes.clamp(min=0), limits)
    inside = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    scores = torch.where(inside, scores, -1.0)
    best, order = scores.topk(min(MAX_CANDIDATES, scores.shape[1]), dim=1)
    frames = []
    for frame in range(len(scores)):
        cell = order[frame][best[frame] >= threshold]
        kept = cell[batched_nms(boxes[frame, cell], scores[frame, cell], labels[frame, cell], iou)[:MAX_BOXES]]
        frames.append(
            Detections(boxes[frame, kept], scores[frame, kept], labels[frame, kept], class_scores[frame, kept])
        )
    return frames
