"""What the detector is trained on: YOLOX's loss as RVT has it, with size-aware weights of the box term by choice."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from event_det.config import LossSettings
from event_det.model.head import Cells
from event_det.model.simota import Assignment, Targets, assign, take_cells
from polyscale.losses import (
    box_area,
    box_iou_loss,
    ciou_loss,
    giou_loss,
    nwd_loss,
    size_aware_weights,
)

BOX_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "iou": lambda boxes, targets: box_iou_loss(boxes, targets, power=2),
    "giou": giou_loss,
    "ciou": ciou_loss,
    "nwd": nwd_loss,
}


class Objective:
    """(cells, targets, labelled) -> losses "loss" (the sum), "box", "objectness", "class"; the count of positives.

    All parts are sums divided by the number of positive cells, already weighted. Nothing waits for the GPU.
    """

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings
        self.box_loss = BOX_LOSSES[settings.box]

    def __call__(self, cells: Cells, targets: Targets, labelled: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses by name, and their count for `Run.backward`.

        Args:
            cells: of the head, for N frames.
            targets: their boxes.
            labelled: float [N], 1 where somebody looked for objects, also where there was none; frames with 0 count
                for nothing.

        Returns:
            (losses, count): the number of positive cells, at least 1 where a frame is labelled, else 0.
        """
        s = self.settings
        found = assign(cells, targets)
        boxes, classes = take_cells(cells.boxes, found.cells), take_cells(cells.classes, found.cells)
        positive = found.positive * labelled[:, None]
        count = torch.maximum(positive.sum(), labelled.amax())
        divisor = count.clamp(min=1)
        weights = positive * self._size_weights(found, positive)
        # apart from them boxes are made equal, so that no term of a cell that does not count can be infinite
        wanted_boxes = torch.where(found.positive[..., None], found.boxes, boxes.detach())
        box = (self.box_loss(boxes, wanted_boxes) * weights).sum()
        wanted = F.one_hot(found.labels, classes.shape[-1]) * found.overlaps[..., None]
        named = F.binary_cross_entropy_with_logits(classes, wanted, reduction="none").sum(dim=-1)
        there = torch.zeros_like(cells.objectness).scatter_(1, found.cells, found.positive.to(cells.objectness.dtype))
        seen = F.binary_cross_entropy_with_logits(cells.objectness, there, reduction="none")
        parts = {
            "box": s.box_weight * box / divisor,
            "objectness": (seen * labelled[:, None]).sum() / divisor,
            "class": (named * positive).sum() / divisor,
        }
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}, count

    def _size_weights(self, found: Assignment, positive: Tensor) -> Tensor | float:
        """Weights [N, M] by the area of the box that a cell is for."""
        s = self.settings
        if s.size_aware == "none":
            return 1.0
        areas = box_area(found.boxes).flatten()
        weights = size_aware_weights(
            areas, s.size_weight, "original", s.size_curve, s.small_area, max(9 * s.small_area, s.small_area)
        ).view_as(positive)
        if s.size_aware == "normalised":  # over the boxes at hand: all cells have an area, few are of a box
            weights = weights / ((weights * positive).sum() / positive.sum().clamp(min=1)).clamp(min=1)
        return weights
